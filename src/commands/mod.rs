//! One file a verb.

mod build;
mod config;
mod doctor;
mod down;
mod firewall;
mod forward;
mod image;
mod remains;
mod service;
mod ssh;
mod status;
mod stop;
mod up;
mod vitals;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cli::{Cli, Command, Flags};
use crate::keeper;
use crate::spec::{
    Key, Layer, Role, Settings, Source, environment, join_forwards, join_networks, parse_file,
    validate_cluster_name,
};
use crate::state::{ClusterRecord, State};

/// What every verb starts from.
#[derive(Debug)]
pub(crate) struct Scene {
    state: State,
    cluster: Option<String>,
    wait: Duration,
}

/// Carries out what was typed.
///
/// # Errors
/// Whatever kept it from being done.
pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    let state = State::locate(
        |name| std::env::var(name).ok(),
        nix::unistd::geteuid().is_root(),
    )?;
    let context = Scene {
        state,
        cluster: cli.cluster,
        wait: Duration::from_secs(cli.wait),
    };
    match cli.command {
        Command::Up {
            flags,
            start,
            pull,
            dry_run,
        } => up::up(&context, &flags, &start, &pull, dry_run).await,
        Command::Start { start } => up::start(&context, &start).await,
        Command::Stop { timeout } => stop::run(&context, Duration::from_secs(timeout)).await,
        Command::Down { all } => down::run(&context, all).await,
        Command::Status { json } => status::run(&context, json).await,
        Command::Ssh { node, command } => ssh::run(&context, &node, &command),
        Command::Config { flags } => config::run(&context, &flags),
        Command::Forward { command } => forward::run(&context, command).await,
        Command::Doctor { fix, arch } => doctor::run(&context, fix, arch).await,
        Command::Image { command } => image::run(&context, command).await,
        #[cfg(feature = "failpoints")]
        Command::Failpoints => {
            let names: String = crate::failpoint::all().map(|n| format!("{n}\n")).collect();
            crate::output::data(&names);
            Ok(ExitCode::SUCCESS)
        }
        Command::Service { command } => service::run(&context, command).await,
        Command::Keeper { name, folder } => {
            let dir = context.state.cluster(&name);
            anyhow::ensure!(
                dir.path() == Path::new(&folder),
                "the keeper is started by other verbs"
            );
            keeper::run(context.state.root().to_owned(), dir, name)
                .await
                .map(|()| ExitCode::SUCCESS)
        }
    }
}

impl Scene {
    /// All settings, with the record of the cluster, if there is one, under what is asked now.
    fn settings(&self, flags: &Flags) -> Result<Settings> {
        let mut asked = vec![file()?, environment(|name| std::env::var(name).ok())];
        let mut layer = flags.layer();
        if let Some(name) = &self.cluster {
            layer.insert(Key::Cluster, (name.clone(), Source::Flag("--cluster")));
        }
        asked.push(layer);
        let settings = Settings::resolve(asked.clone());
        let name = settings.value(Key::Cluster);
        if validate_cluster_name(name).is_err() {
            return Ok(settings);
        }
        let existing = ClusterRecord::load(&self.state.cluster(name))?;
        let below = existing.map(|record| as_layer(&record)).unwrap_or_default();
        Ok(Settings::resolve([below].into_iter().chain(asked)))
    }

    /// The same for another cluster.
    fn of(&self, cluster: &str) -> Self {
        Self {
            state: self.state.clone(),
            cluster: Some(cluster.to_owned()),
            wait: self.wait,
        }
    }

    /// The name of the cluster that is meant.
    fn name(&self) -> Result<String> {
        // The record has no say in it, so that a damaged one is in nobody's way.
        let mut asked = vec![file()?, environment(|name| std::env::var(name).ok())];
        if let Some(name) = &self.cluster {
            let named = (Key::Cluster, (name.clone(), Source::Flag("--cluster")));
            asked.push([named].into_iter().collect());
        }
        let name = Settings::resolve(asked).value(Key::Cluster).to_owned();
        validate_cluster_name(&name).map_err(anyhow::Error::msg)?;
        Ok(name)
    }
}

/// `kvmc.toml` of this folder.
fn file() -> Result<Layer> {
    let path = Path::new("kvmc.toml");
    match fs_err::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8(bytes)
                .ok()
                .context("kvmc.toml is not UTF-8 text")?;
            Ok(parse_file(path, &text)?)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Layer::new()),
        Err(e) => Err(e.into()),
    }
}

fn as_layer(record: &ClusterRecord) -> Layer {
    let spec = &record.spec;
    let accel = match spec.accel {
        crate::spec::AccelChoice::Auto => "auto",
        crate::spec::AccelChoice::Kvm => "kvm",
        crate::spec::AccelChoice::Tcg => "tcg",
    };
    let host_ports: Vec<_> = spec.host_ports.iter().map(ToString::to_string).collect();
    let role_image = |role: Role| spec.image.roles.get(&role).cloned().unwrap_or_default();
    [
        (Key::Architecture, spec.architecture.to_string()),
        (Key::Accel, accel.to_owned()),
        (Key::Masters, spec.masters.count.to_string()),
        (Key::Workers, spec.workers.count.to_string()),
        (Key::LoadBalancers, spec.load_balancers.count.to_string()),
        (Key::Vcpus, spec.vcpus.to_string()),
        (Key::MasterRam, spec.masters.ram.to_string()),
        (Key::WorkerRam, spec.workers.ram.to_string()),
        (Key::LblRam, spec.load_balancers.ram.to_string()),
        (Key::Disk, spec.disk.to_string()),
        (Key::MasterRestart, spec.masters.restart.to_string()),
        (Key::WorkerRestart, spec.workers.restart.to_string()),
        (Key::LblRestart, spec.load_balancers.restart.to_string()),
        (Key::Bridge, spec.bridge.clone()),
        (Key::Subnet, spec.subnet.to_string()),
        (Key::Isolated, spec.isolated.to_string()),
        (Key::HostPorts, host_ports.join(" ")),
        (Key::Ipv6, spec.ipv6.to_string()),
        (Key::Networks, join_networks(&spec.networks)),
        (Key::Forward, join_forwards(&spec.forwards)),
        (Key::Domain, spec.dns.domain_asked().to_owned()),
        (Key::Records, spec.dns.join_records()),
        (Key::Image, spec.image.name.clone()),
        (Key::MasterImage, role_image(Role::Master)),
        (Key::WorkerImage, role_image(Role::Worker)),
        (Key::LblImage, role_image(Role::LoadBalancer)),
        (
            Key::UserData,
            spec.image
                .user_data
                .as_ref()
                .map_or_else(String::new, |p| p.display().to_string()),
        ),
        (Key::Suite, spec.image.suite.clone()),
        (Key::Mirror, spec.image.mirror.clone().unwrap_or_default()),
        (Key::Packages, spec.image.packages.join(" ")),
    ]
    .into_iter()
    .map(|(key, value)| (key, (value, Source::Cluster)))
    .collect()
}
