//! Chains of images that a QEMU which its guest has taken over may have written.

use std::path::{Path, PathBuf};

use crate::bench::{Bench, Case, Gift, case, sh};

/// A sound image, and one above it after changes of its bytes.
fn pair(bench: &Bench, changes: impl Fn(&mut Vec<u8>)) -> (PathBuf, PathBuf) {
    let below = bench.qcow2("below", &[]);
    let above = bench.at("above");
    let (below_text, above_text) = (below.display(), above.display());
    sh(&format!(
        "rm -f {above_text}; qemu-img create -q -f qcow2 -F qcow2 -b {below_text} {above_text} 2G && qemu-io -f qcow2 -c 'write 1G 4k' {above_text} >/dev/null"
    ));
    let mut bytes = std::fs::read(&above).unwrap();
    changes(&mut bytes);
    std::fs::write(&above, bytes).unwrap();
    (below, above)
}

fn diff(below: &Path, above: &Path) -> Gift {
    Gift::Chains(
        vec![below.to_owned()],
        vec![above.to_owned(), below.to_owned()],
    )
}

/// Sets an entry of the L1 table.
fn set(bytes: &mut [u8], entry: usize, value: u64) {
    let l1 = usize::try_from(u64::from_be_bytes(bytes[40..48].try_into().unwrap())).unwrap();
    let at = l1 + entry * 8;
    bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

/// The entry of the table that holds the bytes at 1 GiB.
fn used(bytes: &[u8]) -> u64 {
    let l1 = usize::try_from(u64::from_be_bytes(bytes[40..48].try_into().unwrap())).unwrap();
    u64::from_be_bytes(bytes[l1 + 16..l1 + 24].try_into().unwrap())
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("chain-in-a-ring", "above is its own backing file", |b| {
            let (below, above) = pair(b, |_| {});
            Gift::Chains(vec![below.clone()], vec![above.clone(), below, above])
        }),
        case("merge-in-a-ring", "below is its own backing file", |b| {
            let (below, above) = pair(b, |_| {});
            Gift::Merge(vec![below.clone(), above, below])
        }),
        case(
            "merge-cut",
            "above has an L1 table of 99999999 entries",
            |b| {
                let (below, above) = pair(b, |bytes| {
                    bytes[36..40].copy_from_slice(&99_999_999_u32.to_be_bytes());
                });
                Gift::Merge(vec![above, below])
            },
        ),
        case("chain-long", "lies on more images than kvmc reads", |b| {
            let chain: Vec<_> = (0..70).map(|n| b.qcow2(&format!("link{n}"), &[])).collect();
            Gift::Chains(vec![b.qcow2("below", &[])], chain)
        }),
        case(
            "table-in-two-places",
            "has an L2 table in two places",
            |b| {
                let (below, above) = pair(b, |bytes| {
                    let entry = used(bytes);
                    set(bytes, 0, entry);
                });
                diff(&below, &above)
            },
        ),
        case("table-far", "has an L2 table beyond its end", |b| {
            let (below, above) = pair(b, |bytes| set(bytes, 1, 1 << 45));
            diff(&below, &above)
        }),
        case(
            "chain-size",
            "above says that its disk has 18446744073709551615",
            |b| {
                let (below, above) = pair(b, |bytes| bytes[24..32].fill(0xff));
                diff(&below, &above)
            },
        ),
        case("chain-clusters", "above has clusters of 2^255 bytes", |b| {
            let (below, above) = pair(b, |bytes| bytes[23] = 255);
            diff(&below, &above)
        }),
        case(
            "chain-compressed",
            "has a compressed cluster that cannot",
            |b| {
                let (below, above) = pair(b, |bytes| {
                    let table = usize::try_from(used(bytes) & 0x00ff_ffff_ffff_fe00).unwrap();
                    let entry = (1_u64 << 62 | 1 << 61 | 0x1_0000).to_be_bytes();
                    bytes[table..table + 8].copy_from_slice(&entry);
                });
                diff(&below, &above)
            },
        ),
    ]
}
