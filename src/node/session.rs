//! The connections to one QEMU: QMP, the guest's agent and the console. Each attendance opens them once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kvmc_images::agent;
use kvmc_qmp::{Client, Events, ExchangeLog};
use tokio::net::UnixStream;

use crate::state::NodeDir;

/// Time from QEMU's start to its greeting. It loads a kernel, and the host may be busy.
pub(crate) const GREETING: Duration = Duration::from_secs(30);

/// The sockets of a QEMU, and the log of exchanges with it.
#[derive(Debug, Clone)]
pub(crate) struct Sockets {
    pub(crate) qmp: PathBuf,
    pub(crate) agent: PathBuf,
    pub(crate) console: PathBuf,
    pub(crate) log: PathBuf,
    /// Most bytes of the log.
    pub(crate) longest_log: u64,
}

/// The open connections. QEMU accepts one of each at a time, so they close together.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) qmp: Client,
    /// QEMU's events.
    pub(crate) events: Events,
    pub(crate) agent: Client,
    /// The agent's events.
    pub(crate) said: Events,
    pub(crate) console: UnixStream,
}

impl Sockets {
    /// The sockets of a machine in one folder, under their usual names.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            qmp: folder.join("qmp.sock"),
            agent: folder.join("agent.sock"),
            console: folder.join("console.sock"),
            log: folder.join("qmp.log"),
            longest_log: 64 << 10,
        }
    }

    /// The sockets of a node.
    pub(crate) fn of(dir: &NodeDir) -> Self {
        Self {
            qmp: dir.qmp_socket(),
            agent: dir.agent_socket(),
            console: dir.console_socket(),
            log: dir.qmp_log(),
            longest_log: 256 << 10,
        }
    }

    /// Opens all connections.
    ///
    /// # Errors
    /// Fails if nobody listens, or if QEMU sends no greeting in time.
    pub(crate) async fn open(&self) -> Result<Session> {
        let log = || ExchangeLog::open(&self.log, self.longest_log).ok();
        let (qmp, events) = Client::connect_qmp(&self.qmp, log(), GREETING).await?;
        let (agent, said) = Client::connect_agent(&self.agent, log(), GREETING).await?;
        let console = UnixStream::connect(&self.console)
            .await
            .with_context(|| format!("cannot connect to {}", self.console.display()))?;
        Ok(Session {
            qmp,
            events,
            agent,
            said,
            console,
        })
    }
}

/// Waits for the greeting of the guest's agent.
///
/// # Errors
/// Fails if the machine ends first.
pub(crate) async fn hello(said: &mut Events) -> Result<()> {
    while let Some(event) = said.next().await {
        if agent::Event::parse(&event.name, &event.data) == Some(agent::Event::Hello) {
            return Ok(());
        }
    }
    bail!("the machine ended before its agent greeted");
}
