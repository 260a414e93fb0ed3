//! Checks of the host before a verb acts. None changes anything.

use std::path::Path;

use anyhow::Result;
use kvmc_images::Architecture;

use super::check::{Check, Finding, has_program, has_qemu};
use super::{Memory, binfmt, memory, user_ids};
use crate::spec::approximate;

/// What a verb needs from the host.
#[derive(Debug, Clone)]
pub(crate) struct Needs {
    pub(crate) architecture: Architecture,
    /// A template has to be built.
    pub(crate) build: bool,
}

/// Memory and disk space that a verb needs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Room {
    pub(crate) memory: Memory,
    /// Bytes on the file system of the state folder.
    pub(crate) disk: u64,
}

/// Checks programs, devices and capabilities, which do not depend on the cluster.
pub(crate) fn basics(needs: &Needs) -> Vec<Check> {
    let mut checks = vec![
        has_qemu(needs.architecture),
        has_program("nft", "nft", "nftables"),
        has_program("ssh", "ssh", "openssh-client"),
    ];
    if needs.build {
        checks.extend(build_tools(needs.architecture));
    }
    checks.push(device("tun", "/dev/net/tun", "modprobe tun"));
    checks.push(rights());
    checks.extend(user_ids::check());
    checks
}

/// Checks the programs that build a template.
pub(crate) fn build_tools(architecture: Architecture) -> Vec<Check> {
    let mut checks = vec![
        has_program("mmdebstrap", "mmdebstrap", "mmdebstrap"),
        has_program("mke2fs", "mke2fs", "e2fsprogs"),
        has_program("qemu-img", "qemu-img", "qemu-utils"),
    ];
    if architecture.is_foreign() {
        checks.extend(binfmt::checks(architecture));
    }
    checks
}

/// [`basics`], and checks of memory and disk space.
///
/// # Errors
/// Fails if /proc/meminfo cannot be read.
pub(crate) fn run(needs: &Needs, room: Room, state_root: &Path) -> Result<Vec<Check>> {
    let mut checks = basics(needs);
    checks.push(memory::check(room.memory)?);
    if let Some(free) = free_disk(state_root) {
        checks.push(disk(room.disk, free, state_root));
    }
    Ok(checks)
}

fn device(name: &'static str, path: &str, cure: &str) -> Check {
    let finding = if Path::new(path).exists() {
        Finding::Fine(path.to_owned())
    } else {
        Finding::Missing {
            what: format!("the device {path} is missing"),
            cure: format!("load its module: {cure}"),
            package: None,
        }
    };
    Check { name, finding }
}

/// Bits of `CapEff` in capabilities(7).
const CAPABILITIES: [(u32, &str); 9] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (8, "CAP_SETPCAP"),
    (10, "CAP_NET_BIND_SERVICE"),
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
];

fn rights() -> Check {
    let effective = std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|s| capabilities(&s))
        .unwrap_or(u64::MAX);
    Check {
        name: "rights",
        finding: judge_rights(effective),
    }
}

fn capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn judge_rights(effective: u64) -> Finding {
    let missing: Vec<_> = CAPABILITIES
        .into_iter()
        .filter(|(bit, _)| effective & (1 << bit) == 0)
        .map(|(_, name)| name)
        .collect();
    if missing.is_empty() {
        Finding::Fine("all needed capabilities".to_owned())
    } else {
        Finding::Missing {
            what: match missing.len() == CAPABILITIES.len() {
                true => "root's rights are missing".to_owned(),
                false => format!("missing capabilities: {}", missing.join(", ")),
            },
            cure: "run it with sudo".to_owned(),
            package: None,
        }
    }
}

fn disk(wanted: u64, free: u64, at: &Path) -> Check {
    let sentence = format!(
        "{} needed, {} free at {}",
        approximate(wanted),
        approximate(free),
        at.display()
    );
    let finding = if wanted <= free {
        Finding::Fine(sentence)
    } else {
        Finding::Missing {
            what: sentence,
            cure: "free some space, or set KVMC_STATE_DIR to a folder on a larger disk".to_owned(),
            package: None,
        }
    };
    Check {
        name: "disk",
        finding,
    }
}

/// Bytes free for this user on the file system where `path` is or would be.
pub(crate) fn free_disk(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|p| p.exists())?;
    let stat = nix::sys::statvfs::statvfs(existing).ok()?;
    stat.blocks_available().checked_mul(stat.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_capability_is_named() {
        assert_eq!(
            capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            Some(0x1ff_ffff_ffff)
        );
        let without_net_admin = !(1 << 12);
        let Finding::Missing { what, .. } = judge_rights(without_net_admin) else {
            panic!()
        };
        assert_eq!(what, "missing capabilities: CAP_NET_ADMIN");
        // A user without root need not read nine names.
        let Finding::Missing { what, cure, .. } = judge_rights(0) else {
            panic!()
        };
        assert_eq!(
            (what, cure),
            (
                "root's rights are missing".to_owned(),
                "run it with sudo".to_owned()
            )
        );
        assert!(matches!(judge_rights(!0), Finding::Fine(_)));
    }

    #[test]
    fn too_little_disk_space_is_refused_with_the_numbers() {
        let check = disk(2 << 30, 1 << 30, Path::new("/s"));
        let Finding::Missing { what, .. } = check.finding else {
            panic!()
        };
        assert_eq!(what, "2.0G needed, 1.0G free at /s");
    }
}
