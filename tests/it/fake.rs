//! A bench with the tests' fake QEMU and an empty template, for tests that need no guest. The head of
//! tests/fake-qemu/main.rs says what the fake can and cannot show.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::support::Bench;

/// Makes the smallest tree that the template's builder accepts as a Debian, without a mirror.
const MMDEBSTRAP: &str = r#"#!/bin/sh
set -eu
for root; do case $root in /*/root) break ;; esac; done
cd "$root" 2>/dev/null || { mkdir -p "$root"; cd "$root"; }
mkdir -p usr/lib/modules/0-fake usr/lib/systemd/system boot usr/bin etc/systemd/system etc/ssh var/lib/dbus var/lib/systemd
touch usr/lib/modules/0-fake/modules.dep
head -c 100000 /dev/zero > boot/vmlinuz-0-fake
echo busybox > usr/bin/busybox
echo root:x:0:0::/root:/bin/sh > etc/passwd
echo root:x:0: > etc/group
echo 'root:*:::::::' > etc/shadow
echo 'root:*::' > etc/gshadow
"#;
/// Makes RSA keys of a size that takes no time.
const SSH_KEYGEN: &str = r#"#!/bin/sh
for file; do :; done
exec /usr/bin/ssh-keygen -q -t rsa -b 1024 -N '' -f "$file"
"#;

/// A bench whose PATH has the fakes before the real programs, with a template in its store.
pub(crate) fn bench() -> Bench {
    let bench = bare();
    bench.take_images(template());
    bench
}

/// Gives a bench its own images, the template included, so that a test does not change those of others.
pub(crate) fn own_images(bench: &Bench) {
    let images = bench.state().join("images");
    std::fs::remove_file(&images).unwrap();
    let copied = Command::new("cp")
        .args(["-a", &template().display().to_string()])
        .arg(&images)
        .status()
        .unwrap();
    assert!(copied.success(), "the template cannot be copied");
}

/// As [`bench`], without a template.
pub(crate) fn bare() -> Bench {
    let bench = Bench::new();
    // QEMU's user must be able to run it.
    mode(bench.dir(), 0o755);
    let bin = bench.dir().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::copy(program(), bin.join("qemu-system-x86_64")).unwrap();
    for (name, text) in [("mmdebstrap", MMDEBSTRAP), ("ssh-keygen", SSH_KEYGEN)] {
        std::fs::write(bin.join(name), text).unwrap();
        mode(&bin.join(name), 0o755);
    }
    bench
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The fake QEMU, built from the current sources.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        // Removes the outer cargo's variables about this package. Build scripts that read them would run again,
        // here and in the next outer build, and cargo would compile everything that depends on them again.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let of_cargo = ["CARGO_PKG_", "CARGO_MANIFEST_"];
            // With the commit or the folder of build.rs too.
            let of_build = ["OUT_DIR", "KVMC_COMMIT"];
            if of_cargo.iter().any(|p| text.starts_with(p)) || of_build.contains(&&*text) {
                cargo.env_remove(&name);
            }
        }
        let built = cargo
            // With the workspace's features: with others cargo would compile everything again.
            .args(["build", "--quiet", "--workspace", "--example", "fake-qemu"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(built.success(), "the fake QEMU cannot be built");
        let kvmc = Path::new(env!("CARGO_BIN_EXE_kvmc"));
        kvmc.parent().unwrap().join("examples/fake-qemu")
    })
}

/// The folder of images with the fakes' template, built once for all tests.
fn template() -> &'static Path {
    static IMAGES: OnceLock<PathBuf> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fake");
        let bench = bare();
        let built = Command::new(env!("CARGO_BIN_EXE_kvmc"))
            .args(["image", "build"])
            .env_clear()
            .env(
                "PATH",
                format!(
                    "{}:/usr/sbin:/usr/bin:/sbin:/bin",
                    bench.dir().join("bin").display()
                ),
            )
            .env("HOME", bench.dir())
            .env("KVMC_STATE_DIR", &root)
            .current_dir(bench.project())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "no template: {said}");
        root.join("images")
    })
}

/// Runs `script` in a namespace with an uplink; see [`Bench::runs`].
pub(crate) fn runs(bench: &Bench, script: &str) -> String {
    bench.runs(&format!("uplink\n{script}"))
}
