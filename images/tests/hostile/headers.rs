//! Images whose first bytes lie: qcow2 headers, and heads of other formats.

use crate::bench::{Bench, Case, Gift, case};

/// Where the extensions of the sound image's header begin.
const EXTENSIONS: usize = 112;

/// An extension of a qcow2's header.
fn extension(kind: u32, length: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend(length.to_be_bytes());
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend([0; 8]);
    bytes
}

/// A header that names a backing file.
fn backing(bench: &Bench, name: &str, file: &str, length: u32) -> Gift {
    let header = [
        512_u64.to_be_bytes().as_slice(),
        length.to_be_bytes().as_slice(),
    ]
    .concat();
    let mut none = extension(0, 0, &[]);
    none.truncate(8);
    Gift::Disk(bench.qcow2(name, &[(8, &header), (104, &none), (512, file.as_bytes())]))
}

/// A field of 4 or 8 bytes.
fn field(name: &'static str, words: &'static str, at: usize, value: &'static [u8]) -> Case {
    case(name, words, move |bench| {
        Gift::Disk(bench.qcow2(name, &[(at, value)]))
    })
}

fn start(name: &'static str, words: &'static str, at: usize, magic: &'static [u8]) -> Case {
    case(name, words, move |bench| {
        Gift::Disk(bench.disk(name, &[(at, magic)]))
    })
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = references();
    all.extend(fields());
    all.extend(tables());
    all.extend(heads());
    all
}

/// What leads to other files, or to none.
fn references() -> Vec<Case> {
    let shadow = "/etc/shadow";
    let json = r#"json:{"driver":"file","filename":"/etc/shadow"}"#;
    vec![
        case("backing", "its backing file is `/etc/shadow`", move |b| {
            backing(b, "backing", shadow, 11)
        }),
        case("backing-json", "its backing file is `json:{", move |b| {
            backing(b, "backing-json", json, json.len() as u32)
        }),
        case("backing-long", "a name of 65535 bytes", move |b| {
            backing(b, "backing-long", shadow, 65535)
        }),
        case("data-file", "in another file, `/etc/shadow`", move |b| {
            let name = extension(0x4441_5441, 11, shadow.as_bytes());
            Gift::Disk(b.qcow2("data-file", &[(79, &[4]), (EXTENSIONS, &name)]))
        }),
        case("extension-long", "a header extension of 4294967295", |b| {
            let long = extension(0x6803_f857, u32::MAX, b"x");
            Gift::Disk(b.qcow2("extension-long", &[(EXTENSIONS, &long)]))
        }),
        case(
            "header-in-raw",
            "its backing file is `/etc/hostname`",
            |b| {
                let head = b.qcow2(
                    "head",
                    &[(8, &512_u64.to_be_bytes()), (16, &13_u32.to_be_bytes())],
                );
                let mut head = std::fs::read(head).unwrap();
                head[512..525].copy_from_slice(b"/etc/hostname");
                // The boot sector's signature lies behind what makes a qcow2.
                Gift::Disk(b.disk(
                    "header-in-raw",
                    &[(0, &head[..510]), (512, &head[512..600])],
                ))
            },
        ),
        case("cut", "damaged or cut short", |b| {
            let bytes = std::fs::read(b.qcow2("cut", &[])).unwrap();
            Gift::Disk(b.write("cut", &bytes[..bytes.len() / 2]))
        }),
        case("cut-header", "is cut short", |b| {
            let bytes = std::fs::read(b.qcow2("cut-header", &[])).unwrap();
            Gift::Disk(b.write("cut-header", &bytes[..60]))
        }),
        case("table-in-itself", "damaged or cut short: ", |b| {
            let bytes = std::fs::read(b.qcow2("table-in-itself", &[])).unwrap();
            let l1 = u64::from_be_bytes(bytes[40..48].try_into().unwrap());
            let entry = (l1 | 1 << 63).to_be_bytes();
            Gift::Disk(b.qcow2("table-in-itself", &[(l1 as usize, &entry)]))
        }),
    ]
}

/// Fields with values that no program writes.
fn fields() -> Vec<Case> {
    vec![
        field("version", "a qcow2 of version 4", 4, &[0, 0, 0, 4]),
        field("aes", "is encrypted (AES)", 32, &[0, 0, 0, 1]),
        field("luks-inside", "is encrypted (LUKS)", 32, &[0, 0, 0, 2]),
        field("no-method", "by an unknown method, 77", 32, &[0, 0, 0, 77]),
        field("dirty", "is dirty", 79, &[1]),
        field("corrupt", "is marked as corrupt", 79, &[2]),
        field("feature", "does not know: bit 62", 72, &[0x40]),
        field("clusters-63", "clusters of 2^63 bytes", 20, &[0, 0, 0, 63]),
        field("clusters-3", "clusters of 2^3 bytes", 20, &[0, 0, 0, 3]),
        field(
            "size",
            "has 9223372036854775808 bytes",
            24,
            &[0x80, 0, 0, 0, 0, 0, 0, 0],
        ),
        field(
            "size-64T",
            "has 70368744177665 bytes",
            24,
            &[0, 0, 0x40, 0, 0, 0, 0, 1],
        ),
        field(
            "refcount-width",
            "refcounts of 2^31 bits",
            96,
            &[0, 0, 0, 31],
        ),
        field(
            "header-length",
            "a header of 131072 bytes",
            100,
            &[0, 2, 0, 0],
        ),
        field(
            "header-uneven",
            "a header of 105 bytes",
            100,
            &[0, 0, 0, 105],
        ),
    ]
}

/// Tables with impossible places and sizes.
fn tables() -> Vec<Case> {
    const FAR: &[u8] = &[0, 0, 1, 0, 0, 0, 0, 0];
    vec![
        field(
            "l1-huge",
            "an L1 table of 4294967295 entries",
            36,
            &[0xff; 4],
        ),
        field("l1-small", "of 0 entries; its disk needs 1", 36, &[0; 4]),
        field(
            "l1-uneven",
            "its L1 table at byte 196609,",
            40,
            &[0, 0, 0, 0, 0, 3, 0, 1],
        ),
        field(
            "l1-far",
            "its L1 table at byte 1099511627776, beyond",
            40,
            FAR,
        ),
        field("l1-nowhere", "its L1 table at byte 0", 40, &[0; 8]),
        field("refcounts-huge", "a refcount table of", 56, &[0xff; 4]),
        field(
            "refcounts-far",
            "its refcount table at byte 1099511627776,",
            48,
            FAR,
        ),
        field("snapshots", "holds 65536 snapshots", 60, &[0, 1, 0, 0]),
        case("snapshots-far", "its table of snapshots at byte", |b| {
            Gift::Disk(b.qcow2("snapshots-far", &[(60, &[0, 0, 0, 9]), (64, FAR)]))
        }),
        case("sparse-l1", "L1 table of 4194305 entries", |b| {
            // A file of 32 MB with holes, which takes a few blocks.
            let path = b.qcow2("sparse-l1", &[(36, &4_194_305_u32.to_be_bytes())]);
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_len(64 << 20).unwrap();
            Gift::Disk(path)
        }),
    ]
}

/// Heads of formats that kvmc does not take.
fn heads() -> Vec<Case> {
    vec![
        start("vmdk", "it is a VMDK", 0, b"KDMV"),
        start(
            "vmdk-text",
            "the description of a VMDK",
            0,
            b"# Disk DescriptorFile\nRW 1 FLAT \"/etc/shadow\" 0\n",
        ),
        start(
            "vdi",
            "it is a VDI",
            0,
            b"<<< Oracle VM VirtualBox Disk Image >>>",
        ),
        start("vhdx", "it is a VHDX", 0, b"vhdxfile"),
        start("vhd", "it is a dynamic VHD", 0, b"conectix"),
        start("qed", "it is a QED", 0, b"QED\0"),
        start("luks", "it is encrypted (LUKS)", 0, b"LUKS\xba\xbe\0\x01"),
        start(
            "parallels",
            "it is a disk of Parallels",
            0,
            b"WithoutFreeSpace",
        ),
        start(
            "bochs",
            "it is a disk of Bochs",
            0,
            b"Bochs Virtual HD Image",
        ),
        start(
            "qcow-1",
            "it is a qcow of version 1",
            0,
            b"QFI\xfb\0\0\0\x01",
        ),
        start("iso", "(ISO 9660)", 0x8001, b"CD001"),
        case("dmg", "a disk image of macOS (DMG)", |b| {
            let end = std::fs::metadata(b.at("disk.raw")).unwrap().len() as usize - 512;
            Gift::Disk(b.disk("dmg", &[(end, b"koly")]))
        }),
    ]
}
