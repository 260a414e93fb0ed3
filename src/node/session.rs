//! The connections to one QEMU: QMP, the guest's agent and the console, opened once for each attendance.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kvmc_images::agent;
use kvmc_qmp::{Client, Events, ExchangeLog};
use tokio::net::UnixStream;

use crate::state::NodeDir;

/// From QEMU's start to its greeting: it loads a kernel, and the host may be busy.
const GREETING: Duration = Duration::from_secs(30);

/// Where a QEMU listens, and where exchanges with it are logged.
#[derive(Debug, Clone)]
pub(crate) struct Sockets {
    pub(crate) qmp: PathBuf,
    pub(crate) agent: PathBuf,
    pub(crate) console: PathBuf,
    pub(crate) log: PathBuf,
    /// Most bytes of the log.
    pub(crate) longest_log: u64,
}

/// The open connections. QEMU takes one of each at a time, so they end with this.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) qmp: Client,
    /// What QEMU says of itself.
    pub(crate) events: Events,
    pub(crate) agent: Client,
    /// What the guest's agent says of itself.
    pub(crate) said: Events,
    pub(crate) console: UnixStream,
}

impl Sockets {
    /// Of a machine whose sockets stand in one folder under their usual names.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            qmp: folder.join("qmp.sock"),
            agent: folder.join("agent.sock"),
            console: folder.join("console.sock"),
            log: folder.join("qmp.log"),
            longest_log: 64 << 10,
        }
    }

    /// Of a node.
    pub(crate) fn of(dir: &NodeDir) -> Self {
        Self {
            qmp: dir.qmp_socket(),
            agent: dir.agent_socket(),
            console: dir.console_socket(),
            log: dir.qmp_log(),
            longest_log: 256 << 10,
        }
    }

    /// Connects to all of them.
    ///
    /// # Errors
    /// Nobody listens, or QEMU sends no greeting in time.
    pub(crate) async fn open(&self) -> Result<Session> {
        let log = || ExchangeLog::open(&self.log, self.longest_log).ok();
        let (qmp, events) = Client::connect_qmp(&self.qmp, log(), GREETING).await?;
        let (agent, said) = Client::connect_agent(&self.agent, log(), GREETING).await?;
        let console = UnixStream::connect(&self.console)
            .await
            .with_context(|| format!("failed to connect to {}", self.console.display()))?;
        Ok(Session {
            qmp,
            events,
            agent,
            said,
            console,
        })
    }
}

/// Waits until the guest's agent says that it is there.
///
/// # Errors
/// The machine ended before.
pub(crate) async fn hello(said: &mut Events) -> Result<()> {
    while let Some(event) = said.next().await {
        if agent::Event::parse(&event.name, &event.data) == Some(agent::Event::Hello) {
            return Ok(());
        }
    }
    bail!("the machine ended while it booted");
}
