//! Archives that `image export` did not write.

use crate::bench::{Bench, Case, Gift, case};

const CONTENTS: &str = "kvmc-image.json";

/// A tar archive of entries by name, type and content.
pub(crate) fn tar(entries: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind, content) in entries {
        bytes.extend(head(name, *kind, content.len() as u64));
        bytes.extend(*content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend([0; 1024]);
    bytes
}

/// An entry's header, ustar.
fn head(name: &str, kind: u8, size: u64) -> [u8; 512] {
    let mut head = [0; 512];
    head[..name.len()].copy_from_slice(name.as_bytes());
    head[100..107].copy_from_slice(b"0000644");
    // In base 256, so that any size fits.
    head[124] = 0x80;
    head[128..136].copy_from_slice(&size.to_be_bytes());
    head[148..156].fill(b' ');
    head[156] = kind;
    head[157..168].copy_from_slice(b"/etc/passwd");
    head[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = head.iter().map(|b| u32::from(*b)).sum();
    head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    head
}

fn contents(ids: &[String]) -> Vec<u8> {
    format!(r#"{{"format":1,"tag":null,"images":{ids:?}}}"#).into_bytes()
}

fn archive(bench: &Bench, name: &str, bytes: &[u8]) -> Gift {
    Gift::Archive(bench.write(name, bytes))
}

/// `image.json` of an image with a parent.
fn meta(bench: &Bench, parent: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(bench.parent().directory.join("image.json")).unwrap();
    let at = text.find("\"parent\": null").unwrap();
    let mut text = text;
    text.replace_range(at..at + 14, &format!("\"parent\": {parent}"));
    text.into_bytes()
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case(
            "archive-leads-out",
            "it has `../../etc/cron.d/x` where",
            |b| {
                let out = tar(&[("../../etc/cron.d/x", b'0', b"* * * * * root id")]);
                archive(b, "leads-out", &out)
            },
        ),
        case(
            "archive-link",
            "it has a link or folder `kvmc-image.json`",
            |b| archive(b, "link", &tar(&[(CONTENTS, b'2', b"")])),
        ),
        case(
            "archive-10000-folders",
            "it has a link or folder `././@LongLink`",
            |b| {
                let long = "d/".repeat(10_000);
                let entries: [(&str, u8, &[u8]); 2] =
                    [("././@LongLink", b'L', long.as_bytes()), ("x", b'0', b"")];
                archive(b, "folders", &tar(&entries))
            },
        ),
        case(
            "archive-long-name",
            "a link or folder `./PaxHeaders`",
            |b| {
                // 2^40 bytes of a name, which follow in a packed file of a few.
                let mut bytes = head("./PaxHeaders", b'x', 1 << 40).to_vec();
                bytes.extend([b'x'; 4096]);
                archive(
                    b,
                    "long-name",
                    &zstd::encode_all(bytes.as_slice(), 1).unwrap(),
                )
            },
        ),
        case("archive-many", "holds more than 33 images", |b| {
            let ids: Vec<_> = (0..5000).map(|n| format!("{n:032x}")).collect();
            archive(b, "many", &tar(&[(CONTENTS, b'0', &contents(&ids))]))
        }),
        case("archive-huge-text", "is damaged or cut short: ", |b| {
            let text = vec![b'['; 8 << 20];
            let packed = zstd::encode_all(tar(&[(CONTENTS, b'0', &text)]).as_slice(), 1);
            archive(b, "huge-text", &packed.unwrap())
        }),
        case(
            "archive-bomb",
            "holds more than 1.0G, more than any sound",
            |b| {
                let id = b.parent().id.clone();
                let mut bytes = tar(&[
                    (CONTENTS, b'0', &contents(std::slice::from_ref(&id))),
                    (&format!("{id}/image.json"), b'0', &meta(b, "null")),
                ]);
                bytes.truncate(bytes.len() - 1024);
                bytes.extend(head(&format!("{id}/disk.qcow2"), b'0', 1 << 50));
                bytes.extend([0; 8192]);
                archive(b, "bomb", &zstd::encode_all(bytes.as_slice(), 1).unwrap())
            },
        ),
        case("archive-parent", "names another parent for", |b| {
            let id = b.parent().id.clone();
            let json = meta(b, &format!("{id:?}"));
            let entries: [(&str, u8, &[u8]); 2] = [
                (CONTENTS, b'0', &contents(std::slice::from_ref(&id))),
                (&format!("{id}/image.json"), b'0', &json),
            ];
            archive(b, "parent", &tar(&entries))
        }),
        case(
            "archive-backing",
            "its backing file is `../../../etc/shadow`",
            |b| {
                let id = b.parent().id.clone();
                let name = b"../../../etc/shadow";
                let mut place = 512_u64.to_be_bytes().to_vec();
                place.extend((name.len() as u32).to_be_bytes());
                let changes: [(usize, &[u8]); 3] = [(8, &place), (104, &[0; 8]), (512, name)];
                let disk = std::fs::read(b.qcow2("inner", &changes)).unwrap();
                let entries: [(&str, u8, &[u8]); 3] = [
                    (CONTENTS, b'0', &contents(std::slice::from_ref(&id))),
                    (&format!("{id}/image.json"), b'0', &meta(b, "null")),
                    (&format!("{id}/disk.qcow2"), b'0', &disk),
                ];
                archive(b, "backing", &tar(&entries))
            },
        ),
    ]
}
