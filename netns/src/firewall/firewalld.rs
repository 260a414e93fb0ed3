//! firewalld, by firewall-cmd(1).

use crate::{Change, ExecError, exec};

/// Its nft table.
pub(super) const TABLE: &str = "firewalld";
/// A zone that accepts all packets; our own table decides which pass.
pub(super) const ZONE: &str = "trusted";

/// Whether the rules of iptables are firewalld's.
pub(super) fn is_in(saved: &str) -> bool {
    saved
        .lines()
        .any(|line| line.starts_with(":FORWARD_ZONES "))
}

/// The zone that an interface was added to; none when it has the default zone.
///
/// # Errors
/// firewall-cmd failed; the error holds its output.
pub fn zone_of(interface: &str) -> Result<Option<String>, ExecError> {
    let zone = exec::run(
        "firewall-cmd",
        &[&format!("--get-zone-of-interface={interface}")],
        "",
    );
    match zone {
        Ok(zone) => Ok(Some(zone.trim().to_owned())),
        // firewall-cmd fails with this status for an interface without a zone.
        Err(error) if error.code() == Some(2) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lasts until firewalld is reloaded or ends: its files are not changed.
pub(super) fn add(zone: &str, interface: &str) -> Result<(), ExecError> {
    let zone = format!("--zone={zone}");
    exec::run(
        "firewall-cmd",
        &[&zone, &format!("--add-interface={interface}")],
        "",
    )
    .map(drop)
}

/// Does nothing when the interface is not in the zone or firewalld does not run.
pub(super) fn remove(zone: &str, interface: &str) -> Result<Change, ExecError> {
    match zone_of(interface) {
        Ok(Some(now)) if now == zone => {}
        Ok(_) => return Ok(Change::Unchanged),
        Err(error) if error.is_missing() || error.code() == Some(NOT_RUNNING) => {
            return Ok(Change::Unchanged);
        }
        Err(error) => return Err(error),
    }
    let zone = format!("--zone={zone}");
    let removed = exec::run(
        "firewall-cmd",
        &[&zone, &format!("--remove-interface={interface}")],
        "",
    );
    removed.map(|_| Change::Removed)
}

/// The status of firewall-cmd without a running firewalld.
const NOT_RUNNING: i32 = 252;
