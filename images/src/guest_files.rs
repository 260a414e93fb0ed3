//! The packages and the files of `images/guest` that kvmc puts into a template and into a prepared cloud image.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::ImageError;

/// Increased when kvmc builds a template differently from the same files, so that templates are built again.
pub(crate) const REVISION: &str = "9";

/// Packages of every template, in addition to the kernel.
pub(crate) const PACKAGES: [&str; 15] = [
    "systemd",
    "systemd-sysv",
    "udev",
    "dbus",
    "kmod",
    "openssh-server",
    "sudo",
    "python3",
    "iproute2",
    "iputils-ping",
    "ca-certificates",
    "qemu-guest-agent",
    "busybox-static",
    "less",
    // Docker and containerd run no container without its parser where the kernel has AppArmor on.
    "apparmor",
];

/// Modules of the agent, which its own tests import from `images/guest`.
macro_rules! agent_modules {
    ($($name:literal),* $(,)?) => {
        [$((
            concat!("usr/lib/kvmc/agent/", $name, ".py"),
            include_str!(concat!("../guest/agent/", $name, ".py")),
        )),*]
    };
}

/// The agent, by path in the guest: in every template and every prepared cloud image.
pub(crate) const AGENT: [(&str, &str); 19] = agent_modules![
    "__init__", "agent", "blocks", "bus", "clock", "covers", "disk", "files", "given", "hold",
    "identity", "links", "main", "network", "power", "protocol", "settle", "ssh", "systemd",
];
/// The agent's further modules in a cloud image.
pub(crate) const CLOUD_AGENT: [(&str, &str); 1] = agent_modules!["cloud"];
/// Compiles the agent's modules. Python does not compare the compiled files with their sources, so a start does not read
/// the sources.
pub(crate) const COMPILE_AGENT: [&str; 7] = [
    "/usr/bin/python3",
    "-m",
    "compileall",
    "-q",
    "--invalidation-mode",
    "unchecked-hash",
    "/usr/lib/kvmc/agent",
];

/// A template's other files, by path in the guest.
pub(crate) const TEMPLATE: [(&str, &str); 20] = [
    ("usr/lib/kvmc/start.py", include_str!("../guest/start.py")),
    ("usr/lib/kvmc/settle", include_str!("../guest/settle")),
    (
        "etc/systemd/system/kvmc-agent.service",
        include_str!("../guest/kvmc-agent.service"),
    ),
    (
        "etc/systemd/system/kvmc-coldplug.service",
        include_str!("../guest/kvmc-coldplug.service"),
    ),
    (
        "etc/systemd/system/systemd-udev-trigger.service.d/kvmc.conf",
        "[Unit]\nConditionKernelCommandLine=!kvmc.coldplug=virtio\n",
    ),
    // A machine that will be frozen has no network to wait for.
    (
        "etc/systemd/system/systemd-networkd-wait-online.service.d/kvmc.conf",
        "[Unit]\nConditionPathExists=!/run/kvmc/template\n",
    ),
    (
        "etc/systemd/network/10-eth0.network",
        include_str!("../guest/eth0.network"),
    ),
    // The agent compares the file of the first NIC with this copy.
    (
        "usr/lib/kvmc/eth0.network",
        include_str!("../guest/eth0.network"),
    ),
    (
        "etc/systemd/journald.conf.d/kvmc.conf",
        include_str!("../guest/journald.conf"),
    ),
    (
        "etc/systemd/system.conf.d/kvmc.conf",
        include_str!("../guest/system.conf"),
    ),
    (
        "etc/ssh/sshd_config.d/kvmc.conf",
        include_str!("../guest/sshd.conf"),
    ),
    (
        "etc/systemd/system/ssh.service.d/kvmc.conf",
        "[Service]\nEnvironmentFile=-/run/kvmc/sshd.env\n",
    ),
    ("etc/sudoers.d/kvmc", "admin ALL=(ALL) NOPASSWD: ALL\n"),
    ("etc/hostname", "localhost\n"),
    ("etc/hosts", include_str!("../guest/hosts")),
    ("etc/fstab", ""),
    // The value of other distributions, so that ping needs no capability.
    (
        "etc/sysctl.d/10-ping.conf",
        "net.ipv4.ping_group_range = 0 2147483647\n",
    ),
    ("etc/motd", ""),
    // PAM reads it at each login.
    ("etc/default/locale", "LANG=C.UTF-8\n"),
    // The unit that would remove /run/nologin is masked.
    ("etc/tmpfiles.d/systemd-nologin.conf", ""),
];

/// All files of a template.
pub(crate) fn of_template() -> impl Iterator<Item = (&'static str, &'static str)> {
    AGENT.into_iter().chain(TEMPLATE)
}

/// Writes files below `root`, readable to all.
///
/// # Errors
/// One of them cannot be written.
pub(crate) fn install<'a>(
    root: &Path,
    files: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), ImageError> {
    for (path, text) in files {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        fs_err::write(&path, text)?;
        fs_err::set_permissions(&path, Permissions::from_mode(0o644))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_scripts_compile_the_agent_as_a_build_does() {
        let command = COMPILE_AGENT.join(" ");
        for script in [
            include_str!("../guest/second-stage"),
            include_str!("../guest/prepare"),
        ] {
            assert!(script.contains(&command), "{script}");
        }
    }

    #[test]
    fn every_module_of_the_agent_is_installed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/agent");
        let mut there: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".py"))
            .map(|name| format!("usr/lib/kvmc/agent/{name}"))
            .collect();
        let installed = AGENT.iter().chain(&CLOUD_AGENT);
        let mut installed: Vec<_> = installed.map(|(path, _)| (*path).to_owned()).collect();
        there.sort();
        installed.sort();
        assert_eq!(there, installed);
    }
}
