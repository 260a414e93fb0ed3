//! firewalld, by its command.

use crate::{Change, ExecError, exec};

/// Its nft table.
pub(super) const TABLE: &str = "firewalld";
/// The zone that lets all through; our own table says what is let through.
pub(super) const ZONE: &str = "trusted";

/// Whether rules of iptables are firewalld's.
pub(super) fn is_in(saved: &str) -> bool {
    saved
        .lines()
        .any(|line| line.starts_with(":FORWARD_ZONES "))
}

/// The zone that an interface was put in; none when it was put in none, so that it has the default one.
///
/// # Errors
/// That firewalld cannot be asked.
pub fn zone_of(interface: &str) -> Result<Option<String>, ExecError> {
    let zone = exec::run(
        "firewall-cmd",
        &[&format!("--get-zone-of-interface={interface}")],
        "",
    );
    match zone {
        Ok(zone) => Ok(Some(zone.trim().to_owned())),
        // Its word for none is a failure of this status.
        Err(error) if error.code() == Some(2) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Until firewalld is reloaded or ends: nothing of ours is in its files.
pub(super) fn add(zone: &str, interface: &str) -> Result<(), ExecError> {
    let zone = format!("--zone={zone}");
    exec::run(
        "firewall-cmd",
        &[&zone, &format!("--add-interface={interface}")],
        "",
    )
    .map(drop)
}

/// One that is not there is done, and so is a firewalld that does not run.
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

/// firewall-cmd(1).
const NOT_RUNNING: i32 = 252;
