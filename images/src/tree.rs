//! Turns the tree of installed packages into a template: adds kvmc's files and user, and removes and masks parts that nodes do
//! not need.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use crate::error::ImageError;
use crate::guest_files;

/// Units that nodes do not need; each would cost boot time.
const MASKED: [&str; 37] = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "fstrim.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "man-db.timer",
    "motd-news.timer",
    "systemd-tmpfiles-clean.timer",
    "getty.target",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "serial-getty@ttyAMA0.service",
    // Tells networkd where a DHCP server may keep its leases.
    "systemd-networkd-persistent-storage.service",
    "systemd-random-seed.service",
    "systemd-machine-id-commit.service",
    "systemd-firstboot.service",
    "systemd-pstore.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-journal-flush.service",
    "systemd-user-sessions.service",
    "systemd-sysusers.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-update-done.service",
    "systemd-hibernate-clear.service",
    "sshd-keygen.service",
    "ssh.socket",
    "ldconfig.service",
    // Compiles a hundred profiles.
    "apparmor.service",
    "modprobe@drm.service",
    "modprobe@fuse.service",
    "modprobe@efi_pstore.service",
    "systemd-udev-load-credentials.service",
    "systemd-hostnamed.socket",
    "systemd-journald-audit.socket",
];

/// systemd's generators for features that nodes do not have: partitions, a TPM, sockets of hypervisors, updates at boot,
/// and units from the kernel's command line.
const GENERATORS: [&str; 10] = [
    "systemd-debug-generator",
    "systemd-factory-reset-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-import-generator",
    "systemd-run-generator",
    "systemd-ssh-generator",
    "systemd-system-update-generator",
    "systemd-tpm2-generator",
];

/// Units to enable, with the folder of the target that wants them.
const ENABLED: [(&str, &str); 5] = [
    ("sysinit.target.wants", "kvmc-coldplug.service"),
    ("multi-user.target.wants", "kvmc-agent.service"),
    ("multi-user.target.wants", "systemd-networkd.service"),
    ("multi-user.target.wants", "ssh.service"),
    // Runs only if another unit wants the target.
    (
        "network-online.target.wants",
        "systemd-networkd-wait-online.service",
    ),
];

/// Files to remove: nodes do not need them, or they must differ between nodes.
const REMOVED: [&str; 14] = [
    "etc/ssh/ssh_host_rsa_key",
    "etc/ssh/ssh_host_rsa_key.pub",
    "etc/ssh/ssh_host_ecdsa_key",
    "etc/ssh/ssh_host_ecdsa_key.pub",
    "etc/ssh/ssh_host_ed25519_key",
    "etc/ssh/ssh_host_ed25519_key.pub",
    "var/lib/systemd/random-seed",
    "var/lib/dbus/machine-id",
    "vmlinuz",
    "initrd.img",
    "vmlinuz.old",
    "initrd.img.old",
    // sshd must listen itself, since kvmc freezes the machine while sshd listens.
    "etc/systemd/system/ssh.service.requires/ssh.socket",
    // D-Bus starts logind when a program asks for it. The agent shuts down without it.
    "usr/lib/systemd/system/multi-user.target.wants/systemd-logind.service",
];

/// Makes the tree a template.
///
/// # Errors
/// A file of the tree cannot be read or written.
pub(crate) fn finish(root: &Path) -> Result<(), ImageError> {
    guest_files::install(root, guest_files::of_template())?;
    for (path, mode) in [
        ("etc/sudoers.d/kvmc", 0o440),
        ("usr/lib/kvmc/settle", 0o755),
    ] {
        fs_err::set_permissions(root.join(path), std::fs::Permissions::from_mode(mode))?;
    }
    let units = root.join("etc/systemd/system");
    for unit in MASKED {
        let _none_there = std::fs::remove_file(units.join(unit));
        symlink("/dev/null", units.join(unit)).map_err(ImageError::io(format!("mask {unit}")))?;
    }
    let generators = root.join("etc/systemd/system-generators");
    fs_err::create_dir_all(&generators)?;
    for generator in GENERATORS {
        let path = generators.join(generator);
        let _none_there = std::fs::remove_file(&path);
        symlink("/dev/null", path).map_err(ImageError::io(format!("mask {generator}")))?;
    }
    for (wants, unit) in ENABLED {
        let from = if units.join(unit).exists() {
            "/etc/systemd/system"
        } else {
            "/usr/lib/systemd/system"
        };
        enable(&units, wants, from, unit)?;
    }
    for path in REMOVED {
        let _none_there = std::fs::remove_file(root.join(path));
    }
    quiet_logins(root)?;
    // The agent writes there that the node has its identity.
    fs_err::create_dir_all(root.join("var/lib/kvmc"))?;
    // With an empty file, systemd does not take the boot for the first one. The agent writes the id before anything reads it.
    fs_err::write(root.join("etc/machine-id"), "")?;
    symlink("/etc/machine-id", root.join("var/lib/dbus/machine-id"))
        .map_err(ImageError::io("link machine-id"))?;
    add_admin(root)
}

/// Disables the scripts that pam_motd(8) runs at each login, and so for each Ansible task.
fn quiet_logins(root: &Path) -> Result<(), ImageError> {
    let scripts = root.join("etc/update-motd.d");
    if !scripts.is_dir() {
        return Ok(());
    }
    for script in fs_err::read_dir(scripts)? {
        let script = script?;
        // A link may lead to a file of the host.
        if script.file_type()?.is_file() {
            fs_err::set_permissions(script.path(), std::fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

fn enable(units: &Path, wants: &str, from: &str, unit: &str) -> Result<(), ImageError> {
    fs_err::create_dir_all(units.join(wants))?;
    let link = units.join(wants).join(unit);
    let _none_there = std::fs::remove_file(&link);
    symlink(format!("{from}/{unit}"), link).map_err(ImageError::io(format!("enable {unit}")))
}

/// Groups that may read logs without sudo. The first user of Debian's and Ubuntu's cloud images is in them.
const READS_LOGS: [&str; 2] = ["adm", "systemd-journal"];

/// The text of group(5) or gshadow(5) with `user` in those of `groups` that it has.
fn with_member(text: &str, groups: &[&str], user: &str) -> String {
    let mut joined = String::with_capacity(text.len() + 16);
    for line in text.lines() {
        joined.push_str(line);
        let is_one = line.split(':').next().is_some_and(|n| groups.contains(&n));
        if is_one {
            if !line.ends_with(':') {
                joined.push(',');
            }
            joined.push_str(user);
        }
        joined.push('\n');
    }
    joined
}

/// Adds the user, without a password; the agent sets one.
fn add_admin(root: &Path) -> Result<(), ImageError> {
    for (file, line) in [
        (
            "etc/passwd",
            "admin:x:1000:1000:admin:/home/admin:/bin/bash\n",
        ),
        ("etc/group", "admin:x:1000:\n"),
        ("etc/shadow", "admin:!:19000:0:99999:7:::\n"),
        ("etc/gshadow", "admin:!::\n"),
    ] {
        let path = root.join(file);
        let mut text = fs_err::read_to_string(&path)?;
        if file.ends_with("group") || file.ends_with("gshadow") {
            text = with_member(&text, &READS_LOGS, "admin");
        }
        let mode = fs_err::metadata(&path)?.permissions();
        fs_err::write(&path, text + line)?;
        fs_err::set_permissions(&path, mode)?;
    }
    let home = root.join("home/admin");
    fs_err::create_dir_all(&home)?;
    for file in [".bashrc", ".profile"] {
        let skeleton = root.join("etc/skel").join(file);
        if skeleton.exists() {
            fs_err::copy(&skeleton, home.join(file))?;
            chown(home.join(file), Some(1000), Some(1000))
                .map_err(ImageError::io("own the home folder"))?;
        }
    }
    let ssh = home.join(".ssh");
    fs_err::create_dir_all(&ssh)?;
    fs_err::set_permissions(&ssh, std::fs::Permissions::from_mode(0o700))?;
    for folder in [&home, &ssh] {
        chown(folder, Some(1000), Some(1000)).map_err(ImageError::io("own the home folder"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::{Architecture, kernel_command_line};

    fn text(path: &str) -> &'static str {
        guest_files::of_template()
            .find(|(p, _)| *p == path)
            .unwrap()
            .1
    }

    /// A word of the kernel's command line selects one of two units.
    #[test]
    fn an_emulated_machine_looks_for_virtio_alone_and_any_other_for_all() {
        let few = text("etc/systemd/system/kvmc-coldplug.service");
        let all = text("etc/systemd/system/systemd-udev-trigger.service.d/kvmc.conf");
        let condition = |unit: &'static str| {
            let mut lines = unit.lines();
            lines
                .find_map(|l| l.strip_prefix("ConditionKernelCommandLine="))
                .unwrap()
        };
        let word = condition(few);
        assert_eq!(condition(all), format!("!{word}"));
        for architecture in Architecture::ALL {
            let has = |emulated| {
                kernel_command_line(architecture, emulated)
                    .split(' ')
                    .any(|w| w == word)
            };
            assert!(has(true) && !has(false));
        }
        assert!(ENABLED.contains(&("sysinit.target.wants", "kvmc-coldplug.service")));
    }

    /// A node is Debian, but for what that page says.
    #[test]
    fn the_documentation_names_all_that_differs_from_debian() {
        let page = include_str!("../../docs/TEMPLATE.md");
        let word = |word: &str| page.contains(&format!("`{word}`"));
        for unit in MASKED.iter().chain(&GENERATORS) {
            assert!(word(unit), "{unit}");
        }
        let untold = ["etc/hosts", "etc/hostname"];
        for (path, _) in guest_files::TEMPLATE {
            let is_ours = path.starts_with("usr/lib/kvmc/") || path.ends_with("kvmc-agent.service");
            assert!(
                is_ours || untold.contains(&path) || page.contains(&format!("/{path}`")),
                "{path}"
            );
        }
        for architecture in Architecture::ALL {
            for option in kernel_command_line(architecture, true).split(' ') {
                let name = option.split('=').next().unwrap();
                assert!(page.contains(name), "{option}");
            }
        }
        // What it no longer differs in.
        assert!(!MASKED.iter().any(|unit| unit.ends_with(".mount")));
        assert!(!text("etc/systemd/system.conf.d/kvmc.conf").contains("Timeout"));
        assert!(!text("etc/ssh/sshd_config.d/kvmc.conf").contains("\nHostKey"));
    }

    #[test]
    fn a_user_joins_the_groups_that_there_are() {
        let text = "root:x:0:\nadm:x:4:syslog\nadmin:x:1000:\nsystemd-journal:x:999:\n";
        assert_eq!(
            with_member(text, &["adm", "systemd-journal", "none"], "me"),
            "root:x:0:\nadm:x:4:syslog,me\nadmin:x:1000:\nsystemd-journal:x:999:me\n"
        );
    }

    #[test]
    fn no_script_of_the_hosts_is_touched_for_quiet_logins() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs_err::create_dir_all(root.join("etc/update-motd.d")).unwrap();
        let outside = dir.path().join("outside");
        let script = root.join("etc/update-motd.d/10-help");
        for path in [&outside, &script] {
            fs_err::write(path, "").unwrap();
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        symlink(&outside, root.join("etc/update-motd.d/50-news")).unwrap();
        quiet_logins(&root).unwrap();
        let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&script), mode(&outside)), (0o644, 0o755));
        quiet_logins(&dir.path().join("nothing there")).unwrap();
    }
}
