//! What `packaging/build-deb` makes of this build. `packaging/test-deb` installs it in clean roots, which takes minutes.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::said;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The output of a program that must succeed.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

#[test]
fn the_package_has_all_its_parts_and_depends_on_what_doctor_looks_for() {
    let out = tempfile::tempdir().unwrap();
    let built = output(
        Command::new(root().join("packaging/build-deb"))
            .args(["--binary", env!("CARGO_BIN_EXE_kvmc"), "--out"])
            .arg(out.path()),
    );
    let deb = built.trim();
    let files = output(Command::new("dpkg-deb").args(["--contents", deb]));
    for file in [
        "usr/bin/kvmc",
        "usr/share/man/man1/kvmc.1.gz",
        "usr/share/man/man1/kvmc-up.1.gz",
        "usr/share/bash-completion/completions/kvmc",
        "usr/share/zsh/vendor-completions/_kvmc",
        "usr/share/fish/vendor_completions.d/kvmc.fish",
        "usr/lib/systemd/system/kvmc.service",
        "usr/share/kvmc/apparmor",
        "usr/share/doc/kvmc/copyright",
        "usr/share/doc/kvmc/changelog.gz",
        "usr/share/doc/kvmc/guide/first-cluster.md",
    ] {
        assert!(
            files.contains(&format!(" ./{file}\n")),
            "no {file} in {files}"
        );
    }
    assert!(files.lines().all(|l| l.contains(" root/root ")), "{files}");
    let field = |name: &str| output(Command::new("dpkg-deb").args(["--field", deb, name]));
    assert_eq!(field("Version").trim(), env!("CARGO_PKG_VERSION"));
    let depends = field("Depends");
    // Each program that doctor looks for is of a package that this one depends on.
    let checks = std::fs::read_to_string(root().join("src/host/checks.rs")).unwrap();
    let packages: Vec<_> = checks
        .split("has_program(")
        .skip(1)
        .filter_map(|call| call.split('"').nth(5))
        .collect();
    assert!(packages.len() >= 5, "{packages:?}");
    for package in packages.iter().chain(&["qemu-system-"]) {
        assert!(depends.contains(package), "no {package} in {depends}");
    }
    if Path::new("/usr/bin/lintian").exists() {
        let arguments = ["--fail-on", "error", "--allow-root", deb];
        println!("{}", output(Command::new("lintian").args(arguments)));
    } else {
        println!("skipped: lintian is not installed");
    }
    becomes_an_rpm(deb);
}

/// Where rpmbuild is installed, the package becomes an RPM with the same files.
fn becomes_an_rpm(deb: &str) {
    if !Path::new("/usr/bin/rpmbuild").exists() {
        println!("skipped: rpmbuild is not installed");
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let mut build = Command::new(root().join("packaging/build-rpm"));
    let rpm = output(build.arg(deb).arg(out.path()));
    let ask = |what: &[&str]| output(Command::new("rpm").arg("-qp").args(what).arg(rpm.trim()));
    let files = ask(&["--list"]);
    for file in [
        "/usr/bin/kvmc",
        "/usr/share/man/man1/kvmc-up.1.gz",
        "/usr/share/zsh/site-functions/_kvmc",
        "/usr/share/licenses/kvmc/LICENSE",
    ] {
        assert!(files.lines().any(|l| l == file), "no {file} in {files}");
    }
    let requires = ask(&["--requires"]);
    for package in ["qemu-img", "nftables", "openssh-clients", "mmdebstrap"] {
        assert!(requires.lines().any(|l| l == package), "{requires}");
    }
}

/// The version in the guide's first page is the one that the package has.
#[test]
fn the_guide_names_the_package_as_it_is_called() {
    let page = std::fs::read_to_string(root().join("docs/guide/src/first-cluster.md")).unwrap();
    let name = format!("./kvmc_{}_amd64.deb", env!("CARGO_PKG_VERSION"));
    assert!(page.contains(&name), "no {name}");
}

#[test]
fn the_package_stays_while_a_cluster_cannot_be_stopped() {
    let stubs = tempfile::tempdir().unwrap();
    let log = stubs.path().join("log");
    // Fails as often as the file says.
    let kvmc = "#!/bin/sh\necho kvmc $* >> \"$LOG\"\n[ \"$1 $2\" = 'service stop' ] || exit 0\nn=$(cat \"$LOG.fails\"); echo $((n - 1)) > \"$LOG.fails\"; [ $n -le 0 ]\n";
    for (name, text) in [("kvmc", kvmc), ("systemctl", "#!/bin/sh\n")] {
        let path = stubs.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let prerm = |fails: u8, why: &str| {
        std::fs::write(&log, "").unwrap();
        std::fs::write(stubs.path().join("log.fails"), fails.to_string()).unwrap();
        let path = format!("{}:/usr/bin:/bin", stubs.path().display());
        let mut command = Command::new("sh");
        command.arg(root().join("packaging/deb/prerm")).arg(why);
        command.env("PATH", path).env("LOG", &log).output().unwrap()
    };
    assert!(prerm(0, "remove").status.success());
    // A node that was forced to stop is no reason.
    assert!(prerm(1, "remove").status.success());
    let refused = prerm(2, "remove");
    assert!(!refused.status.success());
    assert!(
        said(&refused).contains("a cluster still runs"),
        "{}",
        said(&refused)
    );
    // An upgrade stops nothing.
    assert!(prerm(2, "upgrade").status.success());
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "");
}
