//! Names what is no usable disk image, each with what makes one of it.

use super::head::Head;
use super::subject::Cure;
use super::tarball;
use crate::shell::quote;

/// What a file is instead of a usable image.
pub(super) struct Unusable {
    pub(super) what: String,
    pub(super) cure: Cure,
    /// qemu-img converts it.
    pub(super) converts: bool,
    /// The cure's program reads it packed, too.
    reads_packed: bool,
}

/// How a file becomes usable.
#[derive(Clone, Copy)]
enum How {
    /// `qemu-img convert` reads it by this format.
    Convert(&'static str),
    /// A program writes the content to its standard output.
    Unpack(&'static str),
    /// A command before the file's name.
    Run(&'static str),
    Say(&'static str),
}
use How::{Convert, Run, Say, Unpack};

/// The first bytes of the format before qcow2.
pub(super) const QCOW_1: &[u8] = b"QFI\xfb\0\0\0\x01";
const CLOUD: &str =
    "take the image that its publisher made for clouds, with a boot loader and cloud-init";
/// First bytes, what they are of, and the way out.
const STARTS: [(&[u8], &str, How); 32] = [
    (QCOW_1, "a qcow of version 1", Convert("qcow")),
    (b"KDMV", "a VMDK", Convert("vmdk")),
    (b"COWD", "a VMDK", Convert("vmdk")),
    (
        b"# Disk DescriptorFile",
        "the description of a VMDK, with its data in other files",
        Convert("vmdk"),
    ),
    (b"conectix", "a dynamic VHD", Convert("vpc")),
    (b"vhdxfile", "a VHDX", Convert("vhdx")),
    (b"<<< ", "a VDI", Convert("vdi")),
    (b"QED\0", "a QED", Convert("qed")),
    (
        b"WithoutFreeSpace",
        "a disk of Parallels",
        Convert("parallels"),
    ),
    (
        b"WithouFreSpacExt",
        "a disk of Parallels",
        Convert("parallels"),
    ),
    (
        b"Bochs Virtual HD Image",
        "a disk of Bochs",
        Convert("bochs"),
    ),
    (b"VMA\0", "a backup of Proxmox", Run("vma extract")),
    (b"BZh", "packed with bzip2", Unpack("bzip2 -dc")),
    (b"\x04\x22\x4d\x18", "packed with lz4", Unpack("lz4 -dc")),
    (b"LZIP", "packed with lzip", Unpack("lzip -dc")),
    (b"\x89LZO", "packed with lzop", Unpack("lzop -dc")),
    (b"\x1f\x9d", "packed with compress", Unpack("gzip -dc")),
    (
        b"\x5d\0\0\x80\0",
        "packed with lzma",
        Unpack("xz -dc --format=lzma"),
    ),
    (b"PK\x03\x04", "a zip archive", Run("unzip")),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", Run("7z x")),
    (b"Rar!", "a rar archive", Run("unrar x")),
    (b"MSWIM\0\0\0", "an installer of Windows (WIM)", Say(CLOUD)),
    (b"hsqs", "a squashfs without a boot loader", Say(CLOUD)),
    (b"XFSB", "an XFS without a partition table", Say(CLOUD)),
    (b"\x7fELF", "a program (ELF)", Say(CLOUD)),
    (b"070701", "an initrd (cpio)", Say(CLOUD)),
    (b"!<arch>", "a package (ar)", Say(CLOUD)),
    (b"\xed\xab\xee\xdb", "a package (RPM)", Say(CLOUD)),
    (b"%PDF", "a PDF", Say(CLOUD)),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file itself",
        Say("`git lfs pull` fetches the file"),
    ),
    (b"SQLite format 3\0", "a database (SQLite)", Say(CLOUD)),
    (
        b"d8:announce",
        "a torrent, not the file itself",
        Say("download what it names"),
    ),
];
/// The same for bytes elsewhere, by their place.
const PLACES: [(usize, &[u8], &str, How); 10] = [
    (0x40, b"\xbe\xda\x10\x7f", "a VDI", Convert("vdi")),
    (
        0x8001,
        b"CD001",
        "an installer or a live system (ISO 9660), not an installed one",
        Say(CLOUD),
    ),
    (
        0x8001,
        b"BEA01",
        "an installer or a live system (UDF), not an installed one",
        Say(CLOUD),
    ),
    (
        0x9001,
        b"NSR0",
        "an installer or a live system (UDF), not an installed one",
        Say(CLOUD),
    ),
    // Documentation/arch/x86/boot.rst of the kernel.
    (0x202, b"HdrS", "a Linux kernel", Say(CLOUD)),
    (0x38, b"ARMd", "a Linux kernel", Say(CLOUD)),
    (
        0x438,
        b"\x53\xef",
        "an ext4 without a partition table",
        Say(CLOUD),
    ),
    (
        0x1_0040,
        b"_BHRfS_M",
        "a btrfs without a partition table",
        Say(CLOUD),
    ),
    (
        0x218,
        b"LVM2",
        "an LVM volume without a partition table",
        Say(CLOUD),
    ),
    (
        4096,
        b"EFI PART",
        "of 4096-byte sectors (its GPT says so), and kvmc's disks have 512-byte sectors",
        Say(
            "take its publisher's image for 512-byte sectors, or install it anew on a disk that has them",
        ),
    ),
];
/// How pages and other texts from web servers begin, in lower case.
const PAGES: [&str; 3] = ["<!doctype", "<html", "<?xml"];

impl Unusable {
    fn new(what: &str, how: How) -> Self {
        Self {
            what: format!("is {what}"),
            cure: Box::new(move |file| how.words(file)),
            converts: matches!(how, Convert(_)),
            reads_packed: false,
        }
    }

    pub(super) fn says(what: &str, cure: &'static str) -> Self {
        Self::new(what, Say(cure))
    }

    /// What a file or the disk in a qcow2 is, if anything is known of it that cannot be used.
    pub(super) fn of(head: &Head) -> Option<Self> {
        if head.start.is_empty() {
            return Some(Self::says("empty", "copy or download it again"));
        }
        if let Some(text) = text(&head.start) {
            return Some(text);
        }
        if head.start.starts_with(b"LUKS\xba\xbe") {
            return Some(Self {
                what: "is encrypted (LUKS)".to_owned(),
                cure: Box::new(|file| decrypt("luks", "", file)),
                converts: false,
                reads_packed: false,
            });
        }
        // The gpt of 4096-byte sectors is the only one of these that a disk with a boot sector may have.
        if let Some((_, _, what, how)) = PLACES.iter().find(|(at, magic, ..)| head.has(*at, magic))
        {
            return Some(Self::new(what, *how));
        }
        if let Some((magic, what, how)) = STARTS.iter().find(|(m, ..)| head.start.starts_with(m)) {
            let zip = b"PK\x03\x04";
            return Some(match *magic == zip {
                true => Self::zip(&head.start),
                false => Self::new(what, *how),
            });
        }
        match head.end.get(..8) {
            // A footer's disk type at 60; Microsoft's "Virtual Hard Disk Image Format Specification".
            Some(b"conectix") => Some(match head.end.get(60..64) {
                Some([0, 0, 0, 4]) => Self::says(
                    "a differencing VHD, with most of its data in another file",
                    "merge it with its parent in the program that made it",
                ),
                _ => Self::new("a fixed VHD", Convert("vpc")),
            }),
            Some(end) if end.starts_with(b"koly") => {
                Some(Self::new("a disk image of macOS (DMG)", Convert("dmg")))
            }
            _ => None,
        }
    }

    /// A zip archive, with the name of its first file; APPNOTE.TXT section 4.3.7.
    fn zip(start: &[u8]) -> Self {
        let word = |at: usize| {
            let bytes = start.get(at..at + 2)?;
            Some(usize::from(u16::from_le_bytes(bytes.try_into().ok()?)))
        };
        let name = word(26).and_then(|length| start.get(30..30 + length));
        let name = name.map(|n| String::from_utf8_lossy(n).into_owned());
        let inner = name.filter(|n| !n.is_empty() && !n.ends_with('/'));
        Self {
            what: match &inner {
                Some(inner) => format!("is a zip archive with `{}`", inner.escape_debug()),
                None => "is a zip archive".to_owned(),
            },
            cure: Box::new(move |file| {
                let inner = inner
                    .as_deref()
                    .map_or_else(String::new, |i| format!(" {}", quote(i)));
                format!("`unzip {}{inner}` unpacks it", quote(file))
            }),
            converts: false,
            reads_packed: false,
        }
    }

    /// A tar archive, with the names in it.
    pub(super) fn tar(contents: tarball::Contents) -> Self {
        Self {
            what: contents.what(),
            cure: Box::new(move |file| contents.cure(file)),
            converts: false,
            reads_packed: true,
        }
    }

    /// A file in a packed one that is packed itself.
    pub(super) fn packed_with(packer: &str, unpack: &'static str) -> Self {
        Self {
            what: format!("is packed with {packer}"),
            ..Self::new("", Unpack(unpack))
        }
    }

    /// A disk without the signature of a boot sector.
    pub(super) fn without_table(head: &Head) -> Self {
        let what = match head.is_blank() {
            true => "begins with zeros, without a partition table, so nothing can boot from it",
            false => "has no partition table, so nothing can boot from it",
        };
        Self {
            what: what.to_owned(),
            ..Self::new("", Say(CLOUD))
        }
    }

    /// The same of what a packed file holds.
    pub(super) fn packed(self, unpack: &'static str, packer: &str) -> Self {
        Self {
            what: format!("{}, packed with {packer}", self.what),
            cure: Box::new(move |file| {
                if self.reads_packed {
                    return (self.cure)(file);
                }
                let inner = unpacked(file);
                let rest = (self.cure)(&inner);
                match rest.contains('`') {
                    true => format!("{}; then {rest}", How::Unpack(unpack).words(file)),
                    false => rest,
                }
            }),
            converts: self.converts,
            reads_packed: false,
        }
    }
}

impl How {
    fn words(self, file: &str) -> String {
        match self {
            Convert(format) => format!(
                "`qemu-img convert -f {format} -O qcow2 {} {}` converts it",
                quote(file),
                quote(&beside(file, "qcow2"))
            ),
            Unpack(program) => format!(
                "`{program} {} > {}` unpacks it",
                quote(file),
                quote(&unpacked(file))
            ),
            Run(command) => format!("`{command} {}` unpacks it", quote(file)),
            Say(text) => text.to_owned(),
        }
    }
}

/// The command that writes an encrypted disk without encryption. `options` are of its format, with a comma before each.
pub(super) fn decrypt(format: &str, options: &str, file: &str) -> String {
    let key = if format == "luks" {
        "key-secret"
    } else {
        "encrypt.key-secret"
    };
    format!(
        "`qemu-img convert --object secret,id=k,file=KEYFILE --image-opts driver={format},{key}=k{options},file.filename={} -O qcow2 {}` decrypts it; KEYFILE holds the passphrase without a line's end",
        quote(&file.replace(',', ",,")),
        quote(&beside(file, "qcow2"))
    )
}

/// A name beside a file for its copy in another format.
pub(super) fn beside(file: &str, format: &str) -> String {
    let (folder, name) = file
        .rfind('/')
        .map_or(("", file), |at| file.split_at(at + 1));
    let (stem, form) = match name.rsplit_once('.') {
        Some((stem, form)) if !stem.is_empty() => (stem, form),
        _ => (name, ""),
    };
    match form == format {
        true => format!("{folder}{stem}-whole.{format}"),
        false => format!("{folder}{stem}.{format}"),
    }
}

/// The name of a packed file's content.
pub(super) fn unpacked(file: &str) -> String {
    for (packed, plain) in [
        (".tgz", ".tar"),
        (".txz", ".tar"),
        (".tbz2", ".tar"),
        (".tzst", ".tar"),
    ] {
        if let Some(stem) = file.strip_suffix(packed) {
            return format!("{stem}{plain}");
        }
    }
    for form in [
        ".gz", ".xz", ".zst", ".bz2", ".lz4", ".lz", ".lzo", ".lzma", ".Z", ".zip",
    ] {
        if let Some(stem) = file
            .strip_suffix(form)
            .filter(|s| !s.is_empty() && !s.ends_with('/'))
        {
            return stem.to_owned();
        }
    }
    format!("{file}.unpacked")
}

/// A page or another text that a server sent in place of an image.
fn text(start: &[u8]) -> Option<Unusable> {
    const LOOKED_AT: usize = 512;
    let head = start.get(..LOOKED_AT).unwrap_or(start);
    let words: String = head
        .iter()
        .skip_while(|b| b.is_ascii_whitespace() || b"\xef\xbb\xbf".contains(b))
        .map(|b| char::from(b.to_ascii_lowercase()))
        .collect();
    if PAGES.iter().any(|page| words.starts_with(page)) {
        return Some(Unusable::says("a web page", "check the address"));
    }
    let known = STARTS.iter().any(|(magic, ..)| start.starts_with(magic));
    let is_text = |b: &u8| (32..127).contains(b) || b"\t\r\n".contains(b);
    (!known && head.iter().all(is_text))
        .then(|| Unusable::says("a text", "check the address or the file's name"))
}
