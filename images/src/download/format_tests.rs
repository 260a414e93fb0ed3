//! Each kind of file that is no usable image, imported: its name in the error, and its cure, which the tests follow.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::import;
use crate::architecture::Architecture;
use crate::error::ImageError;
use crate::exec;
use crate::image::{Boot, Image};
use crate::store::Store;

/// A folder with a store, and a disk with a boot sector and some data.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        bench.write("disk.raw", &disk());
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.at(name), bytes).unwrap();
    }

    /// Runs a command in the folder.
    fn sh(&self, command: &str) {
        let command = format!("cd {} && {command}", self.dir.path().display());
        exec::run("sh", &["-c".to_owned(), command]).unwrap();
    }

    fn store(&self) -> Store {
        Store::open(&self.at("state"))
    }

    fn import(&self, name: &str) -> Result<Image, ImageError> {
        let path = self.at(name);
        import(&self.store(), &path, "x", Architecture::Amd64, Boot::Bios)
    }

    /// As [`Self::sh`], again where QEMU could not measure how fast it derives a key, as on a busy host.
    fn sh_at_last(&self, command: &str) {
        self.sh(&format!(
            "n=0; until {command}; do n=$((n + 1)); test $n -lt 30; done"
        ));
    }

    /// The error and the cure of an import. They have the user's file, and no file of the store.
    fn refused(&self, name: &str) -> (String, String) {
        let error = self.import(name).unwrap_err();
        let cure = error.cure().unwrap_or_default().to_owned();
        let text = error.to_string();
        for text in [&text, &cure] {
            for inner in ["/unpacked", "/copy", "/pulls/", "make-"] {
                assert!(!text.contains(inner), "{name}: {text}");
            }
        }
        assert!(
            text.starts_with(&self.at(name).display().to_string()),
            "{name}: {text}"
        );
        assert!(self.store().list().unwrap().is_empty());
        (text, cure)
    }

    /// Checks the name of a file, follows its cure, and imports the result.
    fn cured(&self, name: &str, words: &str, result: &str) {
        let (error, cure) = self.refused(name);
        assert!(error.contains(words), "{name}: {error}");
        for command in cure.split('`').skip(1).step_by(2) {
            self.sh(&command.replace("KEYFILE", "key"));
        }
        let image = self.import(result).unwrap();
        assert_eq!(image.virtual_size, 4 << 20, "{name}");
        self.store().remove_all().unwrap();
    }
}

fn disk() -> Vec<u8> {
    let mut disk = vec![0; 4 << 20];
    disk[..64].fill(0x90);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[1 << 20..2 << 20].fill(7);
    disk
}

#[test]
fn a_disk_of_another_program_is_named_and_its_cure_makes_an_image() {
    let bench = Bench::new();
    for (format, options, file, words) in [
        (
            "vpc",
            "-o subformat=fixed,force_size=on",
            "a fixed.vhd",
            "it is a fixed VHD",
        ),
        (
            "vpc",
            "-o subformat=dynamic,force_size=on",
            "b.vhd",
            "it is a dynamic VHD",
        ),
        ("vhdx", "", "c.vhdx", "it is a VHDX"),
        ("vhdx", "-o subformat=fixed", "d.vhdx", "it is a VHDX"),
        ("vmdk", "", "e.vmdk", "it is a VMDK"),
        (
            "vmdk",
            "-o subformat=streamOptimized",
            "f.vmdk",
            "it is a VMDK",
        ),
        (
            "vmdk",
            "-o subformat=monolithicFlat",
            "g.vmdk",
            "the description of a VMDK",
        ),
        ("vdi", "", "h.vdi", "it is a VDI"),
        ("vdi", "-o static=on", "i.img", "it is a VDI"),
        ("qcow", "", "j.qcow", "it is a qcow of version 1"),
        ("qcow", "", "k.qcow2", "it is a qcow of version 1"),
        ("qed", "", "l.qed", "it is a QED"),
        ("parallels", "", "m.hds", "it is a disk of Parallels"),
    ] {
        bench.sh(&format!(
            "qemu-img convert -f raw -O {format} {options} disk.raw '{file}'"
        ));
        let (stem, form) = file.rsplit_once('.').unwrap();
        let result = match form {
            "qcow2" => format!("{stem}-whole.qcow2"),
            _ => format!("{stem}.qcow2"),
        };
        bench.cured(file, words, &result);
    }
}

#[test]
fn a_qcow2_that_is_no_whole_disk_is_named_and_its_cure_makes_an_image() {
    let bench = Bench::new();
    let convert = |options: &str, file: &str| {
        bench.sh(&format!(
            "qemu-img convert -f raw -O qcow2 {options} disk.raw {file}"
        ));
    };
    /// Sets bits of the incompatible features.
    fn set(path: &Path, at: usize, bits: u8) {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[at] |= bits;
        std::fs::write(path, bytes).unwrap();
    }
    bench.write("key", b"secret");
    bench.sh_at_last("qemu-img convert -f raw -O qcow2 --object secret,id=k,file=key -o encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10 disk.raw luks.qcow2");
    bench.cured("luks.qcow2", "is encrypted", "luks-whole.qcow2");
    convert(
        "--object secret,id=k,file=key -o encrypt.format=aes,encrypt.key-secret=k",
        "aes.qcow2",
    );
    bench.cured("aes.qcow2", "is encrypted", "aes-whole.qcow2");
    bench.sh_at_last("qemu-img convert -f raw -O luks --object secret,id=k,file=key -o key-secret=k,iter-time=10 disk.raw disk.luks");
    bench.cured("disk.luks", "it is encrypted (LUKS)", "disk.qcow2");
    convert("", "base.qcow2");
    bench.sh("qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2");
    bench.cured(
        "over.qcow2",
        "its backing file is `base.qcow2`",
        "over-whole.qcow2",
    );
    convert("-o data_file=data.raw", "outer.qcow2");
    bench.cured(
        "outer.qcow2",
        "keeps its data in another file, `data.raw`",
        "outer-whole.qcow2",
    );
    convert("", "dirty.qcow2");
    set(&bench.at("dirty.qcow2"), 79, 1);
    bench.cured("dirty.qcow2", "is dirty", "dirty.qcow2");
    convert("", "corrupt.qcow2");
    set(&bench.at("corrupt.qcow2"), 79, 2);
    bench.cured("corrupt.qcow2", "is marked as corrupt", "corrupt.qcow2");
    convert("", "newer.qcow2");
    set(&bench.at("newer.qcow2"), 75, 1);
    let (error, cure) = bench.refused("newer.qcow2");
    assert!(
        error.contains("features that kvmc does not know: bit 32"),
        "{error}"
    );
    assert!(cure.contains("`qemu-img convert -O qcow2 "), "{cure}");
    convert("", "version.qcow2");
    set(&bench.at("version.qcow2"), 7, 4);
    assert!(
        bench
            .refused("version.qcow2")
            .0
            .contains("is a qcow2 of version 7")
    );
    for extra in [
        "-o compression_type=zstd -c",
        "-o extended_l2=on",
        "-o compat=0.10",
        "-o cluster_size=2M",
    ] {
        convert(extra, "fine.qcow2");
        bench.import("fine.qcow2").unwrap();
        bench.store().remove_all().unwrap();
    }
}

#[test]
fn a_disk_that_nothing_boots_from_is_named() {
    let bench = Bench::new();
    let raw = |name: &str, parts: &[(usize, &[u8])]| {
        let mut disk = vec![0; 1 << 20];
        for (at, part) in parts {
            disk[*at..*at + part.len()].copy_from_slice(part);
        }
        bench.write(name, &disk);
    };
    let boot: (usize, &[u8]) = (510, &[0x55, 0xaa]);
    raw("zeros", &[]);
    raw("gpt4k", &[boot, (4096, b"EFI PART")]);
    raw("iso", &[(0x8001, b"CD001")]);
    raw("hybrid.iso", &[boot, (0x8001, b"CD001")]);
    raw("udf.iso", &[(0x8001, b"BEA01")]);
    raw("vmlinuz", &[boot, (0x202, b"HdrS")]);
    raw("root.ext4", &[(0x438, b"\x53\xef")]);
    raw("random", &[(0, b"\x01\x02\x03")]);
    for (name, words) in [
        ("zeros", "begins with zeros"),
        ("gpt4k", "of 4096-byte sectors"),
        ("iso", "an installer or a live system (ISO 9660)"),
        ("hybrid.iso", "an installer or a live system (ISO 9660)"),
        ("udf.iso", "an installer or a live system (UDF)"),
        ("vmlinuz", "a Linux kernel"),
        ("root.ext4", "an ext4 without a partition table"),
        ("random", "has no partition table"),
    ] {
        let (error, cure) = bench.refused(name);
        assert!(
            error.contains("is not a usable disk image: it ") && error.contains(words),
            "{error}"
        );
        assert!(!cure.is_empty(), "{name}");
        // The same in a qcow2, and packed.
        bench.sh(&format!(
            "qemu-img convert -f raw -O qcow2 {name} {name}.qcow2; gzip -k {name}"
        ));
        let (error, _) = bench.refused(&format!("{name}.qcow2"));
        let words = if name == "zeros" {
            "is empty: its disk of 1M"
        } else {
            words
        };
        assert!(error.contains(words), "{error}");
        bench.refused(&format!("{name}.gz"));
    }
    bench.sh("qemu-img create -q -f qcow2 none.qcow2 8G; qemu-img create -q -f qcow2 nil.qcow2 0");
    assert!(
        bench
            .refused("none.qcow2")
            .0
            .contains("is empty: its disk of 8.0G")
    );
    assert!(
        bench
            .refused("nil.qcow2")
            .0
            .contains("is empty: its disk of 0M")
    );
    bench.sh("qemu-img convert -f raw -O vmdk disk.raw inner.vmdk; qemu-img convert -f raw -O qcow2 inner.vmdk inner.qcow2");
    let (error, cure) = bench.refused("inner.qcow2");
    assert!(
        error.contains("its disk is a VMDK") && cure.contains("its own format"),
        "{error}: {cure}"
    );
    for (name, bytes, words) in [
        ("a", b"".as_slice(), "it is empty"),
        ("b", b"  <!DOCTYPE html>", "it is a web page"),
        ("c", b"\xef\xbb\xbf<HTML><body>", "it is a web page"),
        ("d", b"{\"error\": \"not found\"}\n", "it is a text"),
        (
            "e",
            b"version https://git-lfs.github.com/spec/v1\n",
            "Git LFS",
        ),
    ] {
        bench.write(name, bytes);
        let (error, cure) = bench.refused(name);
        assert!(error.contains(words) && !cure.is_empty(), "{error}: {cure}");
    }
}

#[test]
fn an_archive_is_named_with_the_disk_in_it_and_its_cure_makes_an_image() {
    let bench = Bench::new();
    bench.write("box.ovf", b"<Envelope/>");
    bench
        .sh("qemu-img convert -f raw -O vmdk -o subformat=streamOptimized disk.raw box-disk1.vmdk");
    bench.sh("tar -cf box.ova box.ovf box-disk1.vmdk && rm box-disk1.vmdk");
    bench.cured(
        "box.ova",
        "it is an OVA, a tar archive with `box.ovf`",
        "box-disk1.qcow2",
    );
    bench.sh("cp disk.raw inner.raw; tar -cf plain.tar inner.raw; tar -czf packed.tar.gz inner.raw; tar --format=v7 -cf old.tar inner.raw; rm inner.raw");
    for (name, words) in [
        ("plain.tar", "it is a tar archive with `inner.raw`"),
        (
            "packed.tar.gz",
            "it is a tar archive with `inner.raw`, packed with gzip",
        ),
        ("old.tar", "it is a tar archive with `inner.raw`"),
    ] {
        bench.cured(name, words, "inner.raw");
        bench.sh("rm -f inner.raw packed.tar");
    }
    bench.sh("cp box.ovf box.txt && tar -cf root.tar box.txt");
    let (error, cure) = bench.refused("root.tar");
    assert!(
        error.contains("without a disk; its first file is `box.txt`"),
        "{error}"
    );
    assert!(cure.contains("`tar -tf "), "{cure}");
    // A packed file in a packed one.
    bench.sh("xz -k disk.raw && gzip -k disk.raw.xz");
    bench.cured(
        "disk.raw.xz.gz",
        "it is packed with xz, packed with gzip",
        "disk.raw",
    );
    bench.sh("qemu-img convert -f raw -O vdi disk.raw v.vdi && gzip v.vdi");
    bench.cured("v.vdi.gz", "it is a VDI, packed with gzip", "v.qcow2");
    let mut zip = b"PK\x03\x04".to_vec();
    zip.resize(26, 0);
    zip.extend([8, 0, 0, 0]);
    zip.extend(b"disk.vhd");
    bench.write("a.zip", &zip);
    let (error, cure) = bench.refused("a.zip");
    assert!(error.contains("a zip archive with `disk.vhd`"), "{error}");
    assert!(cure.contains("a.zip disk.vhd` unpacks it"), "{cure}");
    bench.write("b.bz2", b"BZh91AY");
    let (error, cure) = bench.refused("b.bz2");
    assert!(
        error.contains("it is packed with bzip2") && cure.contains("`bzip2 -dc "),
        "{error}: {cure}"
    );
    let mut cut = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    cut.write_all(&disk()).unwrap();
    let whole = cut.finish().unwrap();
    bench.write("cut.gz", &whole[..whole.len() / 2]);
    assert!(bench.refused("cut.gz").0.contains("cannot be unpacked"));
}
