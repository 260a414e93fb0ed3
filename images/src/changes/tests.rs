use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::*;
use crate::exec;

pub(super) fn run(program: &str, arguments: &[&str]) {
    let arguments: Vec<_> = arguments.iter().map(|a| (*a).to_owned()).collect();
    exec::run(program, &arguments).unwrap();
}

/// Makes an empty overlay.
pub(super) fn overlay(top: &Path, base: &Path, size: &str) {
    let (base, top) = (text(base), text(top));
    let backing = ["-F", "qcow2", "-b", &base];
    let mut words = vec!["create", "-q", "-f", "qcow2"];
    words.extend(backing.iter().chain(&[top.as_str(), size]));
    run("qemu-img", &words);
}

pub(super) fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A disk with a file system of some files, and a changed copy of it, as a base and an overlay.
fn disks(dir: &Path, make: &[&str], offset: u64) -> (PathBuf, PathBuf) {
    let tree = dir.join("tree");
    std::fs::create_dir_all(tree.join("etc/many")).unwrap();
    std::fs::write(tree.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    std::fs::write(tree.join("etc/hostname"), "a\n").unwrap();
    std::fs::write(tree.join("big"), vec![7; 3 << 20]).unwrap();
    for number in 0..1500 {
        let name = format!("etc/many/a-file-with-a-rather-long-name-{number}");
        std::fs::write(tree.join(name), "").unwrap();
    }
    let system = dir.join("system");
    File::create(&system).unwrap().set_len(32 << 20).unwrap();
    let mut arguments = vec!["-q", "-F", "-d"];
    let [tree, system_text] = [text(&tree), text(&system)];
    arguments.push(&tree);
    arguments.extend(make);
    arguments.push(&system_text);
    run("mke2fs", &arguments);
    let [was, is] = ["was.raw", "is.raw"].map(|name| dir.join(name));
    let raw = |to: &Path| {
        let file = File::create(to).unwrap();
        file.set_len((32 << 20) + offset).unwrap();
        if offset > 0 {
            let mut entry = [0; 16];
            entry[4] = 0x83;
            entry[8..12].copy_from_slice(&u32::try_from(offset / 512).unwrap().to_le_bytes());
            file.write_all_at(&entry, 446).unwrap();
            file.write_all_at(b"\x55\xaa", 510).unwrap();
        }
        file.write_all_at(&std::fs::read(&system).unwrap(), offset)
            .unwrap();
    };
    raw(&was);
    let new = dir.join("new");
    // Of another length: debugfs gives whole seconds, and both files may be of the same one.
    std::fs::write(&new, "another\n").unwrap();
    let script = dir.join("script");
    let commands = [
        format!("write {} etc/added", new.display()),
        "rm etc/hostname".to_owned(),
        format!("write {} etc/hostname", new.display()),
        "rm etc/many/a-file-with-a-rather-long-name-3".to_owned(),
        "mkdir var".to_owned(),
        "sif etc/passwd mode 0100600".to_owned(),
    ];
    std::fs::write(&script, commands.join("\n")).unwrap();
    run("debugfs", &["-w", "-f", &text(&script), &system_text]);
    raw(&is);
    let [base, top] = ["base", "top"].map(|name| dir.join(name));
    run(
        "qemu-img",
        &[
            "convert",
            "-f",
            "raw",
            "-O",
            "qcow2",
            &text(&was),
            &text(&base),
        ],
    );
    run(
        "qemu-img",
        &[
            "convert",
            "-f",
            "raw",
            "-O",
            "qcow2",
            "-F",
            "qcow2",
            "-B",
            &text(&base),
            &text(&is),
            &text(&top),
        ],
    );
    (base, top)
}

#[test]
fn changed_files_are_found_in_all_kinds_of_ext() {
    for (make, offset) in [
        (["-t", "ext4", "-b", "4096"].as_slice(), 0),
        (&["-t", "ext4", "-b", "1024", "-O", "64bit"], 1 << 20),
        (&["-t", "ext2", "-b", "1024", "-I", "128"], 0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (base, top) = disks(dir.path(), make, offset);
        let old = [base.clone()];
        let new = [top.clone(), base.clone()];
        let found = changes(&old, &new).unwrap();
        let Files::Known(files) = found.files else {
            panic!("{make:?}: {:?}", found.files);
        };
        let files: Vec<_> = files.iter().map(|f| (f.path.as_str(), f.kind)).collect();
        assert_eq!(
            files,
            [
                ("/etc/added", ChangeKind::Added),
                ("/etc/hostname", ChangeKind::Changed),
                (
                    "/etc/many/a-file-with-a-rather-long-name-3",
                    ChangeKind::Removed
                ),
                ("/etc/passwd", ChangeKind::Changed),
                ("/var", ChangeKind::Added),
            ],
            "{make:?}"
        );
        assert!((1..1 << 20).contains(&found.bytes), "{}", found.bytes);
        // The other way round, as after a rollback to an older snapshot.
        let back = changes(&new, &old).unwrap();
        assert_eq!(back.bytes, found.bytes);
        let Files::Known(back) = back.files else {
            panic!("{:?}", back.files);
        };
        assert!(
            back.iter()
                .any(|f| f.path == "/var" && f.kind == ChangeKind::Removed)
        );
        let none = DiskChanges {
            bytes: 0,
            files: Files::Known(Vec::new()),
        };
        assert_eq!(changes(&new, &new).unwrap(), none);
    }
}

#[test]
fn blocks_are_counted_where_no_file_system_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let [base, top] = ["base", "top"].map(|name| dir.path().join(name));
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", &text(&base), "8M"],
    );
    overlay(&top, &base, "9M");
    run(
        "qemu-io",
        &[
            "-f",
            "qcow2",
            "-c",
            "write -P 1 4k 4k",
            "-c",
            "write -P 0 1M 64k",
            "-c",
            "write -P 2 8500k 1k",
            &text(&top),
        ],
    );
    let found = changes(std::slice::from_ref(&base), &[top, base.clone()]).unwrap();
    assert_eq!(
        found,
        DiskChanges {
            bytes: 2 * 4096,
            files: Files::Unknown("it has no ext2, ext3 or ext4, or not the same ones".to_owned()),
        }
    );
    let missing = dir.path().join("missing");
    changes(&[base], &[missing]).unwrap_err();
}

/// Whatever a file system says, reading it ends.
#[test]
fn damaged_file_systems_are_read_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (base, _) = disks(dir.path(), &["-t", "ext4", "-b", "1024"], 0);
    let raw = std::fs::read(dir.path().join("was.raw")).unwrap();
    let path = dir.path().join("damaged");
    run(
        "qemu-img",
        &[
            "convert",
            "-f",
            "qcow2",
            "-O",
            "qcow2",
            &text(&base),
            &text(&path),
        ],
    );
    let chain = |disk: &Path| Chain::open(&[disk.to_owned()]).unwrap();
    let whole = chain(&path);
    let all = Ext::at(&whole, 0).and_then(|e| e.files());
    assert!(all.is_ok_and(|all| all.len() > 1500));
    // Where the metadata is: the superblock, the groups, and the first tables and folders.
    let places: Vec<_> = (1024..400 << 10).filter(|at| raw[*at] != 0).collect();
    let mut ends = std::collections::BTreeSet::new();
    for (number, byte) in (0..32).zip([0xff, 0, 1, 0x80].into_iter().cycle()) {
        let mut damaged = raw.clone();
        for step in 0..4 {
            damaged[places[(number * 7919 + step * 104_729) % places.len()]] = byte;
        }
        let file = dir.path().join("damaged.raw");
        std::fs::write(&file, &damaged).unwrap();
        run(
            "qemu-img",
            &[
                "convert",
                "-f",
                "raw",
                "-O",
                "qcow2",
                &text(&file),
                &text(&path),
            ],
        );
        let disk = chain(&path);
        let end = Ext::at(&disk, 0).and_then(|e| e.files());
        ends.insert(end.map(|_| ()).map_err(|e| format!("{e:?}")));
    }
    assert!(ends.contains(&Ok(())), "{ends:?}");
}

/// What a guest that was not shut down has in its journal counts as written.
#[test]
fn files_in_the_journal_are_found() {
    for make in [
        ["-t", "ext4", "-b", "4096", "-J", "size=4"],
        ["-t", "ext3", "-b", "4096", "-J", "size=4"],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (_, top) = disks(dir.path(), &make, 0);
        let path = |name: &str| dir.path().join(name);
        let [was, is] = ["was.raw", "is.raw"].map(|name| std::fs::read(path(name)).unwrap());
        // All changed blocks go to the journal of the old state, two of them twice.
        let mut commands = vec!["jo".to_owned()];
        let blocks = was.chunks(4096).zip(is.chunks(4096)).enumerate().skip(1);
        let changed: Vec<_> = blocks
            .filter(|(_, (a, b))| a != b)
            .map(|(n, _)| n)
            .collect();
        assert!(changed.len() > 5, "{changed:?}");
        let mut write = |name: String, block: usize, bytes: &[u8]| {
            std::fs::write(path(&name), bytes).unwrap();
            commands.push(format!("jw -b {block} {}", path(&name).display()));
        };
        for block in &changed[..2] {
            write(format!("early-{block}"), *block, &[0xff; 4096]);
        }
        for block in &changed {
            write(
                format!("b{block}"),
                *block,
                &is[block * 4096..(block + 1) * 4096],
            );
        }
        commands.push("jc".to_owned());
        std::fs::write(path("journal"), commands.join("\n")).unwrap();
        run(
            "debugfs",
            &["-w", "-f", &text(&path("journal")), &text(&path("was.raw"))],
        );
        assert!(std::fs::read(path("was.raw")).unwrap() != was);
        let journaled = path("journaled");
        run(
            "qemu-img",
            &[
                "convert",
                "-f",
                "raw",
                "-O",
                "qcow2",
                &text(&path("was.raw")),
                &text(&journaled),
            ],
        );
        let files = |chain: &[PathBuf]| {
            let chain = Chain::open(chain).unwrap();
            Ext::at(&chain, 0).and_then(|ext| ext.files()).unwrap()
        };
        let expected = files(&[top, path("base")]);
        assert!(expected.contains_key("etc/added"));
        let found = files(&[journaled]);
        assert!(found == expected, "{make:?}");
    }
}
