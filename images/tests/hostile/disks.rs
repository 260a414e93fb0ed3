//! Disks of nodes whose guests wrote partition tables and file systems by hand.

use crate::bench::{Bench, Case, Gift, START, SYSTEM, case};

/// Offsets in an ext4's superblock, which begins at 1024.
const LOG_BLOCK: u64 = 1024 + 24;
/// The group descriptors of a file system of 1 KiB blocks, and the place of the inode table in one.
const GROUPS: u64 = 2048;
const TABLE: u64 = 8;

/// A GPT's header and first entry in the raw disk.
fn gpt(bench: &Bench, name: &str, table: u64, count: u32, size: u32, first: u64) -> Gift {
    let mut header = b"EFI PART".to_vec();
    header.resize(92, 0);
    header[72..80].copy_from_slice(&table.to_le_bytes());
    header[80..84].copy_from_slice(&count.to_le_bytes());
    header[84..88].copy_from_slice(&size.to_le_bytes());
    let mut entry = vec![1; 16];
    entry.resize(128, 0);
    entry[32..40].copy_from_slice(&first.to_le_bytes());
    Gift::Node(bench.disk(name, &[(512, &header), (1024, &entry)]))
}

/// Where the root folder's inode is in the file system: the second of the first table.
fn root(bench: &Bench) -> u64 {
    let disk = std::fs::read(bench.at("disk.raw")).unwrap();
    let at = usize::try_from(START + GROUPS + TABLE).unwrap();
    let block = u32::from_le_bytes(disk[at..at + 4].try_into().unwrap());
    u64::from(block) * 1024 + 256
}

/// Bytes of a header of extents: number of entries, of places, and depth.
fn extents(count: u16, depth: u16) -> Vec<u8> {
    let words = [0xf30a, count, 84, depth, 0, 0];
    words.iter().flat_map(|w: &u16| w.to_le_bytes()).collect()
}

fn tables() -> Vec<Case> {
    vec![
        case("gpt-count", "a table of 4294967295 partitions", |b| {
            gpt(b, "gpt", 2, u32::MAX, 128, 2048)
        }),
        case("gpt-entry", "entries of 2147483648 bytes", |b| {
            gpt(b, "gpt", 2, 4, 1 << 31, 2048)
        }),
        case(
            "gpt-far",
            "its table of partitions at byte 1099511627776",
            |b| gpt(b, "gpt", 1 << 31, 4, 128, 2048),
        ),
        case(
            "gpt-beyond",
            "a partition at byte 562949953421312, beyond",
            |b| gpt(b, "gpt", 2, 4, 128, 1 << 40),
        ),
        case(
            "gpt-overflow",
            "a partition at byte 18446744073709551615",
            |b| gpt(b, "gpt", 2, 4, 128, u64::MAX),
        ),
    ]
}

/// File systems that `commit` reads by e2fsprogs.
fn nodes() -> Vec<Case> {
    let journal = "cd /var/log/journal\n";
    vec![
        case(
            "node-block-size",
            "no ext2, ext3 or ext4 with /etc/passwd",
            |b| Gift::Node(b.edited("node", "", &[(LOG_BLOCK, &21_u32.to_le_bytes())])),
        ),
        case("node-deep", "folders more than 32 deep", move |b| {
            let commands = format!("{journal}{}", "mkdir d\ncd d\n".repeat(10_000));
            Gift::Node(b.edited("node", &commands, &[]))
        }),
        case("node-in-itself", "a folder that has two names", move |b| {
            let commands = format!("{journal}mkdir a\nln a a/again\n");
            Gift::Node(b.edited("node", &commands, &[]))
        }),
        case(
            "node-long-path",
            "a path of more than 4095 bytes",
            move |b| {
                let name = "n".repeat(250);
                let commands = format!(
                    "{journal}{}",
                    format!("mkdir {name}\ncd {name}\n").repeat(20)
                );
                Gift::Node(b.edited("node", &commands, &[]))
            },
        ),
        case(
            "node-huge-file",
            "debugfs writes a file of more than 8M",
            |b| {
                let size = "sif /etc/shadow size 1099511627776\n";
                Gift::Node(b.edited("node", size, &[]))
            },
        ),
        case("node-unmounted", "was not unmounted", |b| {
            Gift::Node(b.edited("node", "feature needs_recovery\n", &[]))
        }),
        case("node-damaged", "the disk has a damaged file system", |b| {
            // The first block of this file is the one of the file system's superblock.
            Gift::Node(b.edited("node", "sif /etc/passwd block[5] 1\n", &[]))
        }),
    ]
}

/// File systems that `snapshot diff` reads by itself.
fn states() -> Vec<Case> {
    vec![
        case("states-block-size", "blocks of more than 64K", |b| {
            b.states(&b.edited("state", "", &[(LOG_BLOCK, &21_u32.to_le_bytes())]))
        }),
        case(
            "states-inode-table",
            "has inodes beyond the end of the disk",
            |b| {
                let far = u32::MAX.to_le_bytes();
                b.states(&b.edited("state", "", &[(GROUPS + TABLE, &far)]))
            },
        ),
        case(
            "states-extents",
            "a tree of extents that leads back to itself",
            |b| {
                // The root's tree leads to a block whose header leads to itself.
                let block = (SYSTEM / 1024 - 5) as u32;
                let mut index = 0_u32.to_le_bytes().to_vec();
                index.extend(block.to_le_bytes());
                index.extend([0; 4]);
                let node = [extents(1, 1), index].concat();
                let at = root(b) + 40;
                b.states(&b.edited(
                    "state",
                    "",
                    &[(at, &node), (u64::from(block) * 1024, &node)],
                ))
            },
        ),
        case(
            "states-wide-tree",
            "has a part beyond the end of the disk",
            |b| {
                let mut extent = 0_u32.to_le_bytes().to_vec();
                extent.extend([1, 0, 0, 0]);
                extent.extend(0x7fff_ffff_u32.to_le_bytes());
                let node = [extents(1, 0), extent].concat();
                b.states(&b.edited("state", "", &[(root(b) + 40, &node)]))
            },
        ),
        case("states-in-itself", "has a folder with two names", |b| {
            b.states(&b.edited("state", "mkdir /a\nln /a /a/again\n", &[]))
        }),
        case("states-huge-folder", "a larger folder or journal", |b| {
            let size = [0xff, 0xff, 0xff, 0x7f];
            b.states(&b.edited("state", "", &[(root(b) + 4, &size)]))
        }),
        case("states-deep", "has folders deeper than kvmc reads", |b| {
            b.states(&b.edited("state", &"mkdir d\ncd d\n".repeat(10_000), &[]))
        }),
        case(
            "states-long-path",
            "has longer paths than kvmc reads",
            |b| {
                let name = "n".repeat(250);
                let commands = format!("mkdir {name}\ncd {name}\n").repeat(20);
                b.states(&b.edited("state", &commands, &[]))
            },
        ),
        case(
            "states-inode-size",
            "has no file system that kvmc can read",
            |b| b.states(&b.edited("state", "", &[(1024 + 88, &[0xff, 0xff])])),
        ),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = tables();
    all.extend(nodes());
    all.extend(states());
    all
}
