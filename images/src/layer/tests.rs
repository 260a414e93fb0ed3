//! Tests on real file systems, which are never mounted.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::architecture::Architecture;
use crate::exec;
use crate::image::Boot;

const SECRET: &str = "a host key that no image is to have";

fn run(program: &str, arguments: &[&str]) {
    exec::run(
        program,
        &arguments
            .iter()
            .map(|a| (*a).to_owned())
            .collect::<Vec<_>>(),
    )
    .unwrap();
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, text).unwrap();
}

fn as_qcow2(raw: &Path, to: &Path) {
    let [raw, to] = [raw, to].map(|p| p.display().to_string());
    run(
        "qemu-img",
        &["convert", "-f", "raw", "-O", "qcow2", &raw, &to],
    );
}

/// Makes a qcow2 with an ext4 of the tree, `start` bytes from the beginning of the disk.
fn disk(tree: &Path, to: &Path, start: u64) {
    let raw = to.with_extension("raw");
    let fs = to.with_extension("fs");
    let [fs_s, tree_s] = [&fs, tree].map(|p| p.display().to_string());
    run(
        "mke2fs",
        &[
            "-q", "-F", "-t", "ext4", "-b", "4096", "-d", &tree_s, &fs_s, "32M",
        ],
    );
    let file = File::create(&raw).unwrap();
    file.set_len(start + (32 << 20)).unwrap();
    use std::os::unix::fs::FileExt;
    file.write_all_at(&fs_err::read(&fs).unwrap(), start)
        .unwrap();
    if start > 0 {
        let mut entry = [0; 16];
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&u32::try_from(start / 512).unwrap().to_le_bytes());
        file.write_all_at(&entry, 446).unwrap();
        file.write_all_at(b"\x55\xaa", 510).unwrap();
    }
    as_qcow2(&raw, to);
}

/// Writes files into an ext4 that begins at `start`, as its machine would.
fn change(raw: &Path, start: u64, files: &[(&str, &str)]) {
    let text = raw.with_extension("text");
    let mut script = String::new();
    for (path, content) in files {
        let file = text.with_extension(format!("{}", script.len()));
        fs_err::write(&file, content).unwrap();
        for (at, _) in path.match_indices('/').skip(1) {
            script += &format!("mkdir {}\n", &path[..at]);
        }
        script += &format!("rm {path}\nwrite {} {path}\n", file.display());
    }
    script += "symlink /var/lib/cloud/instance instances/i-1\n";
    fs_err::write(&text, script).unwrap();
    let place = format!("{}?offset={start}", raw.display());
    run(
        "debugfs",
        &["-w", "-f", &text.display().to_string(), &place],
    );
}

struct Committed {
    _dir: tempfile::TempDir,
    store: Store,
    parent: Image,
    /// A node's disk: the parent's tree and more, without a backing file.
    node: PathBuf,
}

fn committed(start: u64) -> Committed {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    let tree = dir.path().join("tree");
    put(&tree, "etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    put(&tree, "etc/shadow", "admin:!:1::::::\n");
    put(&tree, "etc/machine-id", "");
    put(&tree, "usr/big", &"parent ".repeat(1_000_000));
    let (folder, _lock) = store.workplace().unwrap();
    disk(&tree, &folder.path().join("disk.qcow2"), start);
    for left in ["disk.raw", "disk.fs"] {
        fs_err::remove_file(folder.path().join(left)).unwrap();
    }
    let meta = Meta {
        format: FORMAT,
        name: "parent".to_owned(),
        key: None,
        architecture: Architecture::Amd64,
        boot: Boot::Bios,
        guest: Guest::CloudInit,
        origin: Origin::Prepared,
        parent: None,
        created: now(),
        digests: BTreeMap::new(),
    };
    let parent = store.admit(folder, meta).unwrap();
    let node = dir.path().join("node.qcow2");
    let raw = node.with_extension("raw");
    flatten(&parent.layers, &raw).unwrap();
    change(
        &raw,
        start,
        &[
            ("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
            ("/etc/shadow", "admin:$6$hash:1::::::\n"),
            ("/etc/ssh/ssh_host_rsa_key", SECRET),
            ("/etc/ssh/sshd_config", "Port 22\n"),
            ("/var/lib/systemd/random-seed", "seed"),
            ("/var/lib/kvmc/configured", ""),
            ("/var/lib/cloud/instances/i-1/sem/config_ssh", ""),
            ("/var/lib/cloud/instances/i-1/user-data.txt", SECRET),
            ("/var/log/journal/0123/system.journal", "words"),
            ("/srv/kept", "what the script made"),
            ("/usr/lib/kvmc/agent/cloud.py", ""),
            ("/etc/cloud/cloud.cfg", ""),
        ],
    );
    as_qcow2(&raw, &node);
    Committed {
        store,
        parent,
        node,
        _dir: dir,
    }
}

impl Committed {
    fn commit(&self) -> Result<Image, ImageError> {
        let commit = Commit {
            disks: vec![self.node.clone()],
            parent: &self.parent,
            name: "child".to_owned(),
            origin: Origin::Committed {
                node: "k80/master0".to_owned(),
            },
            guest: Guest::CloudInit,
        };
        self.store.commit(&commit, &mut |_| {})
    }
}

#[test]
fn a_layer_has_what_the_node_made_and_nothing_that_was_its_own() {
    for start in [0, 1 << 20] {
        let case = committed(start);
        let child = case.commit().unwrap();
        assert_eq!(child.parent.as_ref(), Some(&case.parent.id));
        assert_eq!(child.layers.len(), 2);
        let header = crate::qcow2::inspect(&child.disk()).unwrap();
        assert_eq!(header.backing_file, Some(backing_name(&case.parent.id)));
        run(
            "qemu-img",
            &[
                "check",
                "-q",
                "-f",
                "qcow2",
                &child.disk().display().to_string(),
            ],
        );

        let raw = case.node.with_extension("again");
        flatten(&child.layers, &raw).unwrap();
        let bytes = fs_err::read(&raw).unwrap();
        assert!(
            !bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()),
            "the secret is in it"
        );
        let root = ext::Ext::root_of(&raw).unwrap();
        let read = |path: &str| {
            let to = raw.with_extension("file");
            String::from_utf8(root.read(path, &to).unwrap()).unwrap()
        };
        assert_eq!(read("/srv/kept"), "what the script made");
        assert_eq!(read("/usr/big").len(), 7_000_000);
        assert_eq!(read("/etc/shadow"), "admin:!:1::::::\n");
        assert_eq!(read("/etc/machine-id"), "");
        assert_eq!(read("/etc/ssh/sshd_config"), "Port 22\n");
        let names = |folder: &str| -> Vec<String> {
            root.list(folder)
                .unwrap()
                .into_iter()
                .map(|e| e.name)
                .collect()
        };
        assert_eq!(names("/etc/ssh"), ["sshd_config"]);
        for empty in [
            "/var/lib/systemd",
            "/var/lib/kvmc",
            "/var/log/journal",
            "/var/lib/cloud/instances",
        ] {
            assert!(names(empty).is_empty(), "{empty}: {:?}", names(empty));
        }
        assert_eq!(names("/var/lib/cloud"), ["instances"]);
        assert!(names("/etc/cloud").contains(&"cloud-init.disabled".to_owned()));
        run(
            "e2fsck",
            &["-f", "-n", &format!("{}?offset={start}", raw.display())],
        );
        // The layer does not repeat the parent's data.
        let layer = fs_err::metadata(child.disk()).unwrap().blocks() * 512;
        assert!(layer < 1 << 20, "{layer}");
        assert_eq!(case.store.children(&case.parent.id).unwrap(), [child.id]);
    }
}

#[test]
fn a_disk_that_was_not_unmounted_is_not_taken() {
    let case = committed(0);
    let raw = case.node.with_extension("raw");
    let place = raw.display().to_string();
    run("debugfs", &["-w", "-R", "feature needs_recovery", &place]);
    as_qcow2(&raw, &case.node);
    let error = case.commit().unwrap_err().to_string();
    assert!(error.contains("was not unmounted"), "{error}");
    assert_eq!(case.store.list().unwrap().len(), 1);
}

#[test]
fn p43_a_disk_that_a_guest_led_to_another_file_is_read_on_what_it_lies_on() {
    let case = committed(0);
    let text = |p: &Path| p.display().to_string();
    let evil = case.node.with_extension("evil");
    fs_err::write(&evil, "a file of the host's").unwrap();
    run(
        "qemu-img",
        &[
            "rebase",
            "-u",
            "-f",
            "qcow2",
            "-F",
            "raw",
            "-b",
            &text(&evil),
            &text(&case.node),
        ],
    );
    let child = case.commit().unwrap();
    assert!(
        !fs_err::read(child.disk())
            .unwrap()
            .windows(20)
            .any(|w| w == b"a file of the host's")
    );
}

#[test]
fn other_file_systems_are_named() {
    let case = committed(0);
    let raw = case.node.with_extension("raw");
    let mut bytes = vec![0; 1 << 20];
    bytes[..4].copy_from_slice(b"XFSB");
    fs_err::write(&raw, bytes).unwrap();
    as_qcow2(&raw, &case.node);
    let error = case.commit().unwrap_err().to_string();
    assert!(error.contains("it has xfs"), "{error}");
}

#[test]
fn p6_an_image_that_is_held_is_not_removed() {
    let case = committed(0);
    let (store, id) = (&case.store, &case.parent.id);
    let held = store.hold(id).unwrap();
    let too = store.hold(id).unwrap();
    assert!(store.is_held(id));
    let error = store.remove(id).unwrap_err().to_string();
    assert!(error.contains("used by another kvmc"), "{error}");
    drop((held, too));
    assert!(!store.is_held(id));
    store.remove(id).unwrap();
    assert!(store.hold(id).is_err());
    store.remove(id).unwrap();
}

/// A raw ext4 after debugfs's `commands`.
fn changed_by(dir: &Path, commands: &str) -> PathBuf {
    let raw = dir.join("raw");
    let script = dir.join("script");
    let passwd = dir.join("passwd");
    fs_err::write(&passwd, "root:x:0:0::/root:/bin/sh\n").unwrap();
    fs_err::write(
        &script,
        format!(
            "mkdir /etc\nwrite {} /etc/passwd\nmkdir /var\nmkdir /var/log\nmkdir /var/log/journal\ncd /var/log/journal\n{commands}",
            passwd.display()
        ),
    )
    .unwrap();
    let [raw_s, script_s] = [&raw, &script].map(|p| p.display().to_string());
    let make = [
        "-q", "-F", "-t", "ext4", "-b", "1024", "-N", "24000", &raw_s, "64M",
    ];
    run("mke2fs", &make);
    run("debugfs", &["-w", "-f", &script_s, &raw_s]);
    raw
}

fn removal_error(commands: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let raw = changed_by(dir.path(), commands);
    let root = ext::Ext::root_of(&raw).unwrap();
    identity::remove(&root, dir.path()).unwrap_err().to_string()
}

#[test]
fn folders_that_a_guest_nested_ten_thousand_deep_are_refused_by_their_path() {
    let error = removal_error(&"mkdir d\ncd d\n".repeat(10_000));
    assert!(
        error.starts_with(
            "the disk has folders more than 32 deep below /var/log/journal: `/var/log/journal/d/d"
        ),
        "{error}"
    );
    assert!(error.len() < 300, "{error}");
}

#[test]
fn a_path_too_long_for_an_edit_is_refused() {
    let name = "n".repeat(255);
    let error = removal_error(&format!("mkdir {name}\ncd {name}\n").repeat(20));
    assert!(error.contains("a path of more than 4095 bytes"), "{error}");
}

#[test]
fn a_folder_that_lies_in_itself_is_refused() {
    let error = removal_error("mkdir a\nln a a/again\n");
    assert!(error.contains("a folder that has two names"), "{error}");
    assert!(error.contains("/a/again"), "{error}");
}

#[test]
fn links_that_lead_in_a_circle_are_removed_and_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let commands = "mkdir a\nsymlink a/up ../../journal\nsymlink one two\nsymlink two one\n";
    let raw = changed_by(dir.path(), commands);
    let root = ext::Ext::root_of(&raw).unwrap();
    identity::remove(&root, dir.path()).unwrap();
    assert!(root.list("/var/log/journal").unwrap().is_empty());
    run("e2fsck", &["-f", "-n", &raw.display().to_string()]);
}

#[test]
fn a_line_that_debugfs_would_read_as_two_is_no_edit() {
    let dir = tempfile::tempdir().unwrap();
    let raw = changed_by(dir.path(), "");
    let root = ext::Ext::root_of(&raw).unwrap();
    let mut edits = ext::Edits::default();
    edits.remove_file(&"x".repeat(9000));
    let error = root.apply(&edits, dir.path()).unwrap_err().to_string();
    assert!(error.contains("an edit (`rm`) of 9005 bytes"), "{error}");
}
