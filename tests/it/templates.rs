//! Templates of suites other than Debian's newest, with a fake mmdebstrap: no packages, no guest.

use std::os::unix::fs::PermissionsExt;

use super::fake;
use super::support::Bench;

/// Hides the host's keys, and makes the fake mmdebstrap log its arguments.
const HIDDEN: &str = "mount -t tmpfs none /usr/share/keyrings; ip link set lo up;";

/// A bench whose mmdebstrap runs `extract` to extract a package, and otherwise works like the fake one of all
/// tests. It logs its arguments in `asked`.
fn bench(extract: &str) -> Bench {
    let bench = fake::bare();
    let bin = bench.dir().join("bin");
    std::fs::rename(bin.join("mmdebstrap"), bin.join("mmdebstrap-fake")).unwrap();
    let script = format!(
        "#!/bin/sh\nset -eu\necho \"$*\" >> {asked}\ncase \"$*\" in\n*--variant=extract*) for root; do :; done; {extract} ;;\n*) exec {fake} \"$@\" ;;\nesac\n",
        asked = bench.dir().join("asked").display(),
        fake = bin.join("mmdebstrap-fake").display(),
    );
    std::fs::write(bin.join("mmdebstrap"), script).unwrap();
    std::fs::set_permissions(
        bin.join("mmdebstrap"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    bench
}

fn asked(bench: &Bench) -> Vec<String> {
    let asked = std::fs::read_to_string(bench.dir().join("asked")).unwrap();
    asked.lines().map(str::to_owned).collect()
}

#[test]
fn ubuntus_keys_are_taken_from_debians_packages_where_the_host_lacks_them() {
    let bench = bench(
        "mkdir -p $root/usr/share/keyrings; : > $root/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    );
    let output = bench.shell(&format!("{HIDDEN} kvmc image build --suite noble"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("template ubuntu-24.04-amd64 built"), "{said}");
    let asked = asked(&bench);
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(
        asked[0].contains("--include=ubuntu-keyring trixie "),
        "{asked:?}"
    );
    for word in [
        "/keyring/usr/share/keyrings/ubuntu-archive-keyring.gpg",
        "--components=main,universe",
        ",linux-image-virtual",
        " noble ",
    ] {
        assert!(asked[1].contains(word), "no {word} in {asked:?}");
    }
    // The template does not contain the keys.
    let listed = bench.shell(
        "kvmc image ls; find $KVMC_STATE_DIR/images -name '*keyring*' | grep . && exit 1 || true",
    );
    assert!(listed.status.success(), "{listed:?}");
}

#[test]
fn keys_that_the_host_has_are_used_as_they_are() {
    let bench = bench("exit 1");
    let output = bench.shell(&format!(
        "{HIDDEN} : > /usr/share/keyrings/ubuntu-archive-keyring.gpg; kvmc image build --suite noble"
    ));
    assert!(output.status.success(), "{output:?}");
    assert!(!asked(&bench)[0].contains("keyring"), "{:?}", asked(&bench));
}

#[test]
fn keys_and_packages_that_cannot_be_had_are_said_with_what_to_do() {
    let bench = bench("echo 'E: no such suite' >&2; exit 25");
    let fake = bench.dir().join("bin/mmdebstrap-fake");
    let works = std::fs::read_to_string(&fake).unwrap();
    let fails = "#!/bin/sh\necho 'E: cannot reach' >&2; exit 1\n";
    std::fs::write(&fake, fails).unwrap();
    std::fs::create_dir_all(bench.state().join("images")).unwrap();
    let said = bench.refused(HIDDEN, "kvmc image build --suite noble");
    for word in [
        "this host has no /usr/share/keyrings/ubuntu-archive-keyring.gpg",
        "E: no such suite",
        "apt install ubuntu-keyring",
    ] {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
    let said = bench.refused(
        &format!("{HIDDEN} : > /usr/share/keyrings/debian-archive-keyring.gpg;"),
        "kvmc image build --suite bookworm",
    );
    for word in ["E: cannot reach", "--mirror names another", "--suite"] {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
    // Other keys that the host trusts may be enough.
    std::fs::write(&fake, works).unwrap();
    let output = bench.shell(&format!("{HIDDEN} kvmc image build --suite noble"));
    assert!(output.status.success(), "{output:?}");
    let left = bench.shell("find $KVMC_STATE_DIR/images -mindepth 1 -name '.build-*'");
    assert!(left.stdout.is_empty(), "{left:?}");
}
