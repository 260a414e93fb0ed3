//! The systemd unit that starts clusters with the host, and stops them before it shuts down.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::find_program;
use crate::hint::{WithHint, host_command};
use crate::state::remove_file;

pub(super) const UNIT: &str = "kvmc.service";
/// The folder for an administrator's units, systemd.unit(5).
const UNITS: &str = "/etc/systemd/system";
fn unit_path() -> PathBuf {
    Path::new(UNITS).join(UNIT)
}

/// Installs and enables the unit for a state folder, and returns the unit's path. At shutdown it stops or suspends the
/// clusters.
///
/// # Errors
/// Fails if systemd is not installed, or with systemd's words.
pub(crate) fn install_unit(state: &Path, suspends: bool) -> Result<PathBuf> {
    if find_program("systemctl").is_none() || !Path::new(UNITS).is_dir() {
        return Err(anyhow::anyhow!("systemd is not installed on this host")).hint(|| {
            let (start, stop) = (host_command("service start"), host_command("service stop"));
            format!("let this host's init system run {start} when it starts and {stop} before it shuts down")
        });
    }
    let program = std::env::current_exe().context("the path of this program is unknown")?;
    let path = unit_path();
    let text = unit(&program, state, suspends);
    fs_err::write(&path, text)?;
    if is_running() {
        systemctl(&["daemon-reload"])?;
        // Start it too, because systemd does not stop an inactive unit at shutdown.
        systemctl(&["enable", "--now", UNIT])?;
    } else {
        systemctl(&["enable", UNIT])?;
    }
    Ok(path)
}

/// Disables and removes the unit. Returns its path, or `None` if it was not installed.
///
/// # Errors
/// Fails with systemd's words.
pub(crate) fn remove_unit() -> Result<Option<PathBuf>> {
    let path = unit_path();
    if !path.exists() {
        return Ok(None);
    }
    systemctl(&["disable", UNIT])?;
    remove_file(&path)?;
    if is_running() {
        systemctl(&["daemon-reload"])?;
    }
    Ok(Some(path))
}

/// Whether systemd runs, like sd_booted(3).
pub(crate) fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn systemctl(arguments: &[&str]) -> Result<()> {
    let program = find_program("systemctl").context("systemctl is not installed")?;
    #[expect(clippy::disallowed_methods, reason = "the host's service manager")]
    let output = Command::new(program)
        .args(arguments)
        .output()
        .context("systemctl cannot be started")?;
    if !output.status.success() {
        bail!(
            "`systemctl {}` ended with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// The unit's text. It starts after other programs that write firewall rules, so that kvmc's rules fit theirs.
fn unit(program: &Path, state: &Path, suspends: bool) -> String {
    let stop = if suspends { "stop --suspend" } else { "stop" };
    let program = quote(&program.display().to_string());
    let state = quote(&format!("KVMC_STATE_DIR={}", state.display()));
    format!(
        "[Unit]
Description=Clusters of kvmc
After=network-online.target nftables.service firewalld.service ufw.service docker.service
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
Environment={state}
ExecStart={program} service start
ExecStop={program} service {stop}
TimeoutStartSec=infinity
TimeoutStopSec=15min

[Install]
WantedBy=multi-user.target
"
    )
}

/// Quotes a word of a unit file, specifiers included, systemd.syntax(7) and systemd.unit(5).
fn quote(word: &str) -> String {
    let escaped: String = word
        .chars()
        .flat_map(|c| match c {
            '\\' | '"' => vec!['\\', c],
            '%' | '$' => vec![c, c],
            _ => vec![c],
        })
        .collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word_of_the_unit() {
        let text = unit(Path::new("/opt/a b/k%v\"c"), Path::new("/s\\t$x"), false);
        assert!(
            text.contains("ExecStart=\"/opt/a b/k%%v\\\"c\" service start\n"),
            "{text}"
        );
        let suspends = unit(Path::new("/k"), Path::new("/s"), true);
        assert!(
            suspends.contains("ExecStop=\"/k\" service stop --suspend\n"),
            "{suspends}"
        );
        assert!(
            text.contains("Environment=\"KVMC_STATE_DIR=/s\\\\t$$x\"\n"),
            "{text}"
        );
    }

    #[test]
    fn the_packages_unit_is_the_one_that_service_install_writes() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let packaged = std::fs::read_to_string(root.join("packaging/kvmc.service")).unwrap();
        let written = unit(
            Path::new("/usr/bin/kvmc"),
            Path::new("/var/lib/kvmc"),
            false,
        );
        assert_eq!(packaged, written);
    }

    /// Lets systemd check the unit, where it is installed.
    #[test]
    fn p21_systemd_accepts_the_unit() {
        if find_program("systemd-analyze").is_none() {
            println!("skipped: no systemd-analyze");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(UNIT);
        std::fs::write(
            &path,
            unit(Path::new("/bin/true"), Path::new("/var/lib/kvmc"), true),
        )
        .unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "the program that the test is about"
        )]
        let output = Command::new("systemd-analyze")
            .arg("verify")
            .arg("--recursive-errors=no")
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}
