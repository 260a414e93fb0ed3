use super::*;
use crate::changes::tests::{overlay, run};

fn qemu_img(arguments: &[&str]) {
    run("qemu-img", arguments);
}

fn io(image: &Path, commands: &[&str]) {
    let mut arguments = vec!["-f", "qcow2"];
    for command in commands {
        arguments.extend(["-c", command]);
    }
    let image = image.display().to_string();
    arguments.push(&image);
    run("qemu-io", &arguments);
}

#[test]
fn a_chain_reads_as_qemu_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let text = |name: &str| path(name).display().to_string();
    // A small base of small clusters, compressed, below two overlays of other sizes.
    let mut raw = vec![0_u8; 3 << 20];
    for (n, byte) in raw.iter_mut().enumerate() {
        *byte = u8::try_from((n / 997) % 251).unwrap();
    }
    std::fs::write(path("raw"), &raw).unwrap();
    qemu_img(&[
        "convert",
        "-c",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "-o",
        "cluster_size=4k",
        &text("raw"),
        &text("base"),
    ]);
    for (over, below, size) in [("mid", "base", "4M"), ("top", "mid", "5M")] {
        overlay(&path(over), &path(below), size);
    }
    io(
        &path("mid"),
        &[
            "write -P 200 70k 3k",
            "write -z 1M 64k",
            "write -P 201 3500k 64k",
        ],
    );
    io(
        &path("top"),
        &[
            "write -P 202 1M 512",
            "write -P 203 5119k 1k",
            "discard 2M 64k",
        ],
    );
    qemu_img(&[
        "convert",
        "-f",
        "qcow2",
        "-O",
        "raw",
        &text("top"),
        &text("flat"),
    ]);
    let flat = std::fs::read(path("flat")).unwrap();
    let chain = Chain::open(&[path("top"), path("mid"), path("base")]).unwrap();
    assert_eq!(chain.size(), 5 << 20);
    let mut read = vec![1; 5 << 20];
    chain.read(0, &mut read).unwrap();
    assert!(read == flat);
    for at in [0_usize, 511, 4095, 65_530, 70_000, (1 << 20) - 3, 3 << 20] {
        let mut part = vec![1; 9000];
        chain.read(at as u64, &mut part).unwrap();
        assert!(part == flat[at..at + 9000], "{at}");
    }
    let mut beyond = [1; 8];
    chain.read((5 << 20) - 4, &mut beyond).unwrap();
    assert_eq!(beyond, [203, 203, 203, 203, 0, 0, 0, 0]);
    let held = |count| -> Vec<_> {
        let all = chain.held(count).unwrap();
        all.iter().map(|r| (r.start >> 16, r.end >> 16)).collect()
    };
    assert_eq!(held(1), [(16, 17), (32, 33), (79, 80)]);
    assert_eq!(held(2), [(1, 2), (16, 17), (32, 33), (54, 56), (79, 80)]);
}

#[test]
fn hostile_images_are_read_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    kvmc_fuzz::run("qcow2-tables", |bytes| {
        std::fs::write(&path, bytes).unwrap();
        let chain = match Chain::open(std::slice::from_ref(&path)) {
            Ok(chain) => chain,
            Err(ImageError::Unfit { why, .. }) => return why,
            Err(e) => return e.to_string(),
        };
        let mut buffer = [0; 4096];
        let ends = [0, 1 << 16, chain.size().saturating_sub(5), u64::MAX - 9];
        let read: Vec<_> = ends
            .iter()
            .map(|at| chain.read(*at, &mut buffer).is_ok())
            .collect();
        // Larger tables are read as well, but slowly.
        let held = (chain.size() < 1 << 36).then(|| chain.held(1).map(|h| h.len()).is_ok());
        format!("{read:?} {held:?}")
    });
}
