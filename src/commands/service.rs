//! `service`: clusters come back when the host starts, and shut down cleanly before it stops.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Scene, stop, up};
use crate::cli::{ServiceCommand, StartFlags};
use crate::host::find_program;
use crate::output;
use crate::state::{ClusterRecord, Phase, remove_file};

const UNIT: &str = "kvmc.service";
/// Where an administrator's units are, systemd.unit(5).
const UNITS: &str = "/etc/systemd/system";
/// Seconds that the guests of one cluster have to power off.
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) async fn run(scene: &Scene, command: ServiceCommand) -> Result<ExitCode> {
    match command {
        ServiceCommand::Install => install(scene),
        ServiceCommand::Remove => remove(),
        ServiceCommand::Start => start_all(scene).await,
        ServiceCommand::Stop => stop_all(scene).await,
    }
}

fn unit_path() -> PathBuf {
    Path::new(UNITS).join(UNIT)
}

fn install(scene: &Scene) -> Result<ExitCode> {
    if find_program("systemctl").is_none() || !Path::new(UNITS).is_dir() {
        bail!(
            "systemd is not installed here; have what starts this host run `kvmc service start`, and `kvmc service stop` before it shuts down"
        );
    }
    let program = std::env::current_exe().context("failed to find this program")?;
    let path = unit_path();
    let text = unit(&program, scene.state.root());
    fs_err::write(&path, text)?;
    if is_running() {
        systemctl(&["daemon-reload"])?;
        // A unit that is not active would not be stopped when the host shuts down.
        systemctl(&["enable", "--now", UNIT])?;
    } else {
        systemctl(&["enable", UNIT])?;
    }
    output::talk(&format!(
        "{} is installed: clusters that run when the host shuts down are stopped cleanly, and come back with it",
        path.display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn remove() -> Result<ExitCode> {
    let path = unit_path();
    if !path.exists() {
        output::talk(&format!("{} is not installed", path.display()));
        return Ok(ExitCode::SUCCESS);
    }
    systemctl(&["disable", UNIT])?;
    remove_file(&path)?;
    if is_running() {
        systemctl(&["daemon-reload"])?;
    }
    output::talk(&format!(
        "{} is removed; clusters that run go on",
        path.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// sd_booted(3)
fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn systemctl(arguments: &[&str]) -> Result<()> {
    let program = find_program("systemctl").context("there is no systemctl")?;
    #[expect(clippy::disallowed_methods, reason = "the host's service manager")]
    let output = Command::new(program)
        .args(arguments)
        .output()
        .context("failed to start systemctl")?;
    if !output.status.success() {
        bail!(
            "`systemctl {}` failed ({}): {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// The unit: ordered behind what else writes firewall rules, so that ours are made for what is there.
fn unit(program: &Path, state: &Path) -> String {
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
ExecStop={program} service stop
TimeoutStartSec=infinity
TimeoutStopSec=15min

[Install]
WantedBy=multi-user.target
"
    )
}

/// A word of a unit file as it is, systemd.syntax(7) and systemd.unit(5): specifiers too.
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

/// Starts what ran when the host went down: in order, or with the power.
async fn start_all(scene: &Scene) -> Result<ExitCode> {
    let mut failed = false;
    for name in scene.state.cluster_names() {
        let dir = scene.state.cluster(&name);
        let wanted = match ClusterRecord::load(&dir) {
            Ok(record) => record.is_some_and(|r| r.host_rebooted || dir.at_boot().exists()),
            Err(e) => {
                output::error(&e.context(format!("cluster `{name}` is not started")));
                failed = true;
                continue;
            }
        };
        if !wanted {
            continue;
        }
        let scene = scene.of(&name);
        match up::start(&scene, &StartFlags::default()).await {
            Ok(code) if code == ExitCode::SUCCESS => remove_file(&dir.at_boot())?,
            Ok(_) => failed = true,
            Err(e) => {
                output::error(&e.context(format!("cluster `{name}` is not started")));
                failed = true;
            }
        }
    }
    Ok(ended(failed))
}

/// Stops what runs, and notes that it did.
async fn stop_all(scene: &Scene) -> Result<ExitCode> {
    let mut failed = false;
    for name in scene.state.cluster_names() {
        let dir = scene.state.cluster(&name);
        let runs = ClusterRecord::load(&dir).is_ok_and(|record| {
            record.is_some_and(|r| matches!(r.phase, Phase::Up | Phase::Starting))
        });
        if !runs {
            continue;
        }
        let stopped = stop::run(&scene.of(&name), PATIENCE).await;
        fs_err::write(dir.at_boot(), "")?;
        match stopped {
            Ok(code) => failed |= code != ExitCode::SUCCESS,
            Err(e) => {
                output::error(&e.context(format!("cluster `{name}` is not stopped")));
                failed = true;
            }
        }
    }
    Ok(ended(failed))
}

fn ended(failed: bool) -> ExitCode {
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word_of_the_unit() {
        let text = unit(Path::new("/opt/a b/k%v\"c"), Path::new("/s\\t$x"));
        assert!(
            text.contains("ExecStart=\"/opt/a b/k%%v\\\"c\" service start\n"),
            "{text}"
        );
        assert!(
            text.contains("Environment=\"KVMC_STATE_DIR=/s\\\\t$$x\"\n"),
            "{text}"
        );
    }

    /// systemd's own judgement; where it is not installed there is nothing to judge with.
    #[test]
    fn p21_systemd_takes_the_unit() {
        if find_program("systemd-analyze").is_none() {
            println!("skipped: no systemd-analyze");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(UNIT);
        std::fs::write(
            &path,
            unit(Path::new("/bin/true"), Path::new("/var/lib/kvmc")),
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
