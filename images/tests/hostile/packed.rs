//! Small files that hold much, or ask for much memory.

use std::io::Write;

use crate::bench::{Bench, Case, Gift, case};

/// Bytes of zeros in one part of a bomb, and the number of parts.
const PART: usize = 64 << 20;
const PARTS: usize = 20;

fn bomb(bench: &Bench, name: &str, part: &[u8]) -> Gift {
    let path = bench.write(name, &part.repeat(PARTS));
    assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);
    Gift::Disk(path)
}

fn xz(plain: &[u8]) -> Vec<u8> {
    let mut packer = liblzma::write::XzEncoder::new(Vec::new(), 0);
    packer.write_all(plain).unwrap();
    packer.finish().unwrap()
}

/// The checksum of xz's headers.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc >>= 1;
            if low == 1 {
                crc ^= 0xedb8_8320;
            }
        }
    }
    !crc
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("xz-bomb", "unpacked as xz: it is larger than 1.", |b| {
            bomb(b, "bomb.xz", &xz(&vec![0; PART]))
        }),
        case("zstd-bomb", "unpacked as zstd: it is larger than 1.", |b| {
            bomb(
                b,
                "bomb.zst",
                &zstd::encode_all(vec![0; PART].as_slice(), 1).unwrap(),
            )
        }),
        case("gzip-in-gzip", "packed with gzip, packed with gzip", |b| {
            let pack = |plain: &[u8]| {
                let level = flate2::Compression::best();
                let mut packer = flate2::write::GzEncoder::new(Vec::new(), level);
                packer.write_all(plain).unwrap();
                packer.finish().unwrap()
            };
            let inner = pack(&vec![0; PART]).repeat(PARTS);
            let path = b.write("bomb.gz", &pack(&inner));
            assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);
            Gift::Disk(path)
        }),
        case("xz-memory", "unpacked as xz: memory limit", |b| {
            let mut bytes = xz(&[7; 4096]);
            // The block's header follows the stream's 12 bytes: size, flags, filter, its one property.
            assert_eq!(bytes[12..16], [2, 0, 0x21, 1]);
            bytes[16] = 39;
            let crc = crc32(&bytes[12..20]).to_le_bytes();
            bytes[20..24].copy_from_slice(&crc);
            Gift::Disk(b.write("memory.xz", &bytes))
        }),
        case("zstd-memory", "unpacked as zstd: ", |b| {
            // A window of 2^31 bytes, and one block of a byte that repeats.
            let mut bytes = b"\x28\xb5\x2f\xfd\x00\xa8".to_vec();
            bytes.extend([0x03, 0x00, 0x02, 0x00]);
            Gift::Disk(b.write("memory.zst", &bytes))
        }),
        case(
            "tar-leads-out",
            "its first file is `../../etc/cron.d/x`",
            |b| {
                Gift::Disk(b.write(
                    "out.tar",
                    &crate::archives::tar(&[("../../etc/cron.d/x", b'0', b"x")]),
                ))
            },
        ),
    ]
}
