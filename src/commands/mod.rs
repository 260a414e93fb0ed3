//! One file a verb: it passes the parsed command line to an engine, and the engine's report to the output.

mod ansible;
mod api;
mod completions;
mod config;
mod consent;
mod console;
mod df;
mod doctor;
mod down;
mod events;
mod explain;
mod fork;
mod forward;
mod image;
mod init;
mod inventory;
mod logs;
mod ls;
mod man;
mod reach;
mod service;
mod session;
mod size;
mod snapshot;
mod ssh;
mod ssh_config;
mod status;
mod stop;
mod support;
mod ties;
mod timeline;
mod top;
mod try_out;
mod up;
mod version;

use std::time::Duration;

use anyhow::Result;

pub(crate) use self::completions::answer;
use self::session::Session;
use crate::cli::{Cli, Command};
use crate::engine::Local;
use crate::model::{Exit, TieKind};
use crate::trace::{self, Detail};

/// Begins to tell what is done, if that is asked for.
pub(crate) fn begin_trace(cli: &Cli) {
    let detail = match (cli.debug, cli.verbose) {
        (true, _) => Detail::Debug,
        (false, true) => Detail::Verbose,
        (false, false) => return,
    };
    let read = |name: &str| std::env::var(name).ok();
    let log = Local::log_file(read);
    trace::listen(detail, crate::output::step, log.as_deref());
    trace::verbose(|| {
        // Later words may be anything, also passwords, and the file is for bug reports.
        let verb = format!("{:?}", cli.command);
        let verb = verb.split(|c: char| !c.is_alphanumeric()).next();
        let verb = verb.unwrap_or_default().to_lowercase();
        format!("kvmc {}: {verb}", crate::cli::version())
    });
}

/// Carries out the parsed command.
///
/// # Errors
/// Fails if the verb fails.
pub(crate) async fn run(cli: Cli) -> Result<Exit> {
    let session = Session::new(cli.cluster, Duration::from_secs(cli.wait));
    match cli.command {
        Command::Up(arguments) => up::up(&session, &arguments).await,
        Command::Plan(arguments) => up::plan(&session, &arguments).await,
        Command::Scale(arguments) => size::scale(&session, &arguments).await,
        Command::Rm(arguments) => size::rm(&session, &arguments).await,
        Command::Restart(arguments) => stop::restart(&session, &arguments).await,
        Command::Start { nodes, start, json } => {
            up::start(&session, &nodes.nodes, &start, json).await
        }
        Command::Stop(arguments) => stop::run(&session, &arguments).await,
        Command::Snapshot { command } => snapshot::run(&session, command).await,
        Command::Fork(arguments) => fork::run(&session, &arguments).await,
        Command::Try(arguments) => try_out::run(&session, &arguments).await,
        Command::Down { all, json } => down::run(&session, all, json).await,
        Command::Ssh { node, command } => ssh::run(&session, &node, &command).await,
        Command::Exec(flags) => reach::exec(&session, flags).await,
        Command::Ip(flags) => reach::ip(&session, &flags),
        Command::Cp(flags) => reach::cp(&session, flags).await,
        Command::Sync(flags) => reach::sync(&session, flags).await,
        Command::Mount(flags) => ties::mount(&session, flags).await,
        Command::Umount { folder, json } => {
            ties::end(&session, TieKind::Mount, &folder, json).await
        }
        Command::Share(flags) => ties::share(&session, flags).await,
        Command::Unshare { place, json } => ties::end(&session, TieKind::Share, &place, json).await,
        Command::Proxy { address, port } => fork::proxy(&session, address, port),
        Command::Attach { name, tie } => ties::attach(&session, &name, &tie).await,
        Command::Console(flags) => console::run(&session, &flags).await,
        Command::Logs(flags) => logs::run(&session, flags).await,
        Command::SshConfig { command } => ssh_config::run(&session, command),
        Command::Init(flags) => init::init(&session, &flags),
        Command::Schema { of } => init::schema(of.as_deref()),
        Command::Inventory(flags) => inventory::run(&session, &flags),
        Command::Ansible { arguments } => ansible::ansible(&session, arguments, cli.verbose),
        Command::Playbook { file, arguments } => {
            ansible::playbook(&session, &file, arguments, cli.verbose)
        }
        Command::Ls(flags) => ls::run(&session, flags).await,
        Command::Status(flags) => status::run(&session, flags).await,
        Command::Top(flags) => top::run(&session, flags).await,
        Command::Events(flags) => events::run(&session, flags).await,
        Command::Timeline(flags) => timeline::run(&session, &flags),
        Command::Df(flags) => df::run(&session, flags),
        Command::Config { flags, json } => config::run(&session, &flags, json),
        Command::Forward { command } => forward::run(&session, command).await,
        Command::Doctor(flags) => doctor::run(&session, &flags).await,
        Command::Explain(flags) => explain::run(&flags),
        Command::Support(flags) => support::run(&session, &flags).await,
        Command::Version(flags) => version::run(flags),
        Command::Image { command } => image::run(&session, command).await,
        Command::Completions { shell } => completions::run(shell),
        Command::Man { out } => man::run(&out),
        #[cfg(feature = "failpoints")]
        Command::Failpoints => {
            let names: String = crate::failpoint::all().map(|n| format!("{n}\n")).collect();
            crate::output::data(&names);
            Ok(Exit::Done)
        }
        Command::Mcp => api::mcp(&session).await,
        Command::Serve { socket } => api::serve(&session, &socket).await,
        Command::Service { command } => service::run(&session, command).await,
        Command::Keeper { name, folder } => {
            session.plain(&name)?.serve(&folder).await?;
            Ok(Exit::Done)
        }
    }
}
