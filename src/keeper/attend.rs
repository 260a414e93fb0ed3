//! One node, attended: its QMP, its agent, its way to ready and its end.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_images::qcow2;
use kvmc_qmp::{Client, Event, Events, ExchangeLog};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::console;
use super::protocol::Stage;
use super::status::Status;
use crate::node::identity;
use crate::state::{ClusterDir, NetworkRecord, NodeDir, NodeRecord, read_json, remove_file};
use crate::warm;

/// Bytes of a node's log of QMP and agent exchanges.
const LONGEST_LOG: u64 = 256 << 10;
/// From QEMU's start to its greeting: it loads a kernel, and the host may be busy.
const GREETING: Duration = Duration::from_secs(30);
/// An emulated guest may take seconds to run what the agent does for the first time.
const AGENT: Duration = Duration::from_secs(60);
/// One patient look at ssh: each further one would make the guest fork another sshd.
const BANNER: Duration = Duration::from_secs(180);

/// What a node's task needs to know.
#[derive(Debug, Clone)]
pub(super) struct Attended {
    pub(super) cluster: String,
    pub(super) cluster_dir: ClusterDir,
    pub(super) dir: NodeDir,
    pub(super) node: NodeRecord,
    /// Of its cards, in their order.
    pub(super) networks: Vec<NetworkRecord>,
    /// The frozen machines.
    pub(super) store: warm::Store,
    pub(super) status: Status,
}

/// How a node's QEMU ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// In words.
    Ended(String),
    /// The guest asked for a reset that this QEMU could not do, since it has no kernel to boot.
    Reset,
}

/// The connections to one node, once there are any.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    pub(super) qmp: Option<Client>,
    pub(super) agent: Option<Client>,
}

impl Attended {
    /// Attends the node until its QEMU ends.
    pub(super) async fn run(self, lines: watch::Sender<Lines>) -> End {
        let end = match self.attend(&lines).await {
            Ok(end) => end,
            Err(e) => End::Ended(format!("{e:#}")),
        };
        let note = match &end {
            End::Ended(how) => how,
            End::Reset => "the guest reboots",
        };
        self.status.reach(&self.node.name, Stage::Ended, note);
        end
    }

    async fn attend(&self, lines: &watch::Sender<Lines>) -> Result<End> {
        let log = || ExchangeLog::open(&self.dir.qmp_log(), LONGEST_LOG).ok();
        let (qmp, mut events) =
            Client::connect_qmp(&self.dir.qmp_socket(), log(), GREETING).await?;
        lines.send_modify(|l| l.qmp = Some(qmp.clone()));
        tokio::spawn(console::copy(
            self.dir.console_socket(),
            self.dir.console_log(),
            self.node.name.clone(),
            self.status.clone(),
        ));
        let (agent, agent_events) =
            Client::connect_agent(&self.dir.agent_socket(), log(), GREETING).await?;
        lines.send_modify(|l| l.agent = Some(agent.clone()));
        if let Err(e) = self.set_going(&qmp).await {
            // Whoever starts it sees its end, and our words on the board.
            let _gone = qmp.quit().await;
            return Err(e);
        }
        let guest = tokio::spawn(self.clone().guest(qmp, agent, agent_events));
        let end = self.until_end(&mut events).await;
        guest.abort();
        Ok(end)
    }

    /// From paused to running: booting, or waking. One that runs already is left alone.
    async fn set_going(&self, qmp: &Client) -> Result<()> {
        let seen = qmp.execute(qapi_qmp::query_status {}).await?;
        match seen.status {
            qapi_qmp::RunState::prelaunch => {
                if let Some(size) = self.grown()? {
                    warm::resize(qmp, size).await?;
                }
                qmp.execute(qapi_qmp::cont {}).await?;
            }
            qapi_qmp::RunState::inmigrate => {
                let frozen = self.node.frozen.as_deref().context("it was never frozen")?;
                warm::wake(qmp, &self.store.state(frozen), self.grown()?)
                    .await
                    .context("it cannot be woken")?;
                self.status.reach(&self.node.name, Stage::Woken, "");
            }
            _ => {}
        }
        Ok(())
    }

    /// The size that the node's disk is to have, when it has another yet.
    fn grown(&self) -> Result<Option<u64>> {
        let is = qcow2::inspect(&self.dir.disk())?.virtual_size;
        Ok((is < self.node.disk.0).then_some(self.node.disk.0))
    }

    /// Follows QEMU's events to its end and says in words how it ended.
    async fn until_end(&self, events: &mut Events) -> End {
        let mut how = "QEMU ended without a word".to_owned();
        let mut is_reset = false;
        while let Some(Event { name, data, .. }) = events.next().await {
            match name.as_str() {
                "SHUTDOWN" => {
                    is_reset = data.get("reason").and_then(Value::as_str) == Some("guest-reset");
                    how = shutdown_in_words(&data);
                }
                "RESET" if data.get("guest") == Some(&Value::Bool(true)) => {
                    self.status.restart(&self.node.name);
                }
                "GUEST_PANICKED" => how = "the guest's kernel panicked".to_owned(),
                _ => {}
            }
        }
        if is_reset {
            End::Reset
        } else {
            End::Ended(how)
        }
    }

    /// Brings the guest to ready, each time it boots.
    async fn guest(self, qmp: Client, agent: Client, mut events: Events) {
        // A guest that runs already (it was woken, or the keeper is new and the guest is not) says no
        // hello of itself.
        if self.dir.waking().exists() {
            self.introduce_woken(&qmp, &agent).await;
        } else if agent
            .request("ping", json!({}), Duration::from_secs(2))
            .await
            .is_ok()
        {
            self.introduce(&agent, false).await;
        }
        while let Some(event) = events.next().await {
            match event.name.as_str() {
                "hello" => drop(self.introduce(&agent, false).await),
                "stage" if event.data.get("stage").and_then(Value::as_str) == Some("lease") => {
                    self.status.reach(&self.node.name, Stage::Lease, "");
                }
                "ready" => self.look_at_ssh(),
                _ => {}
            }
        }
    }

    /// A woken guest gets its identity while its card is cut, and the network after that.
    async fn introduce_woken(&self, qmp: &Client, agent: &Client) {
        if !self.introduce(agent, true).await {
            return;
        }
        let connected = async {
            warm::connect(qmp, self.networks.len()).await?;
            remove_file(&self.dir.waking())
        };
        if let Err(e) = connected.await {
            let name = &self.node.name;
            self.status.log(name, Stage::Identity, &format!("{e:#}"));
        }
    }

    /// True when the guest took its identity.
    async fn introduce(&self, agent: &Client, woken: bool) -> bool {
        let name = &self.node.name;
        let pushed = async {
            let secrets =
                read_json(&self.cluster_dir.secrets())?.context("secrets.json is gone")?;
            let arguments =
                identity::push(&self.cluster, &self.node, &self.networks, &secrets, woken)?;
            anyhow::Ok(agent.request_secret("identity", arguments, AGENT).await?)
        };
        match pushed.await {
            Ok(answer) => {
                self.status.reach(name, Stage::Identity, "");
                if answer.get("ready").and_then(Value::as_bool) == Some(true) {
                    self.status.reach(name, Stage::Lease, "");
                    self.look_at_ssh();
                }
                true
            }
            Err(e) => {
                self.status.log(name, Stage::Identity, &format!("{e:#}"));
                false
            }
        }
    }

    fn look_at_ssh(&self) {
        let (node, status) = (self.node.clone(), self.status.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(BANNER, banner(node.address)).await {
                Ok(Ok(())) => {
                    status.reach(&node.name, Stage::Ssh, "");
                    status.reach(&node.name, Stage::Ready, "");
                }
                Ok(Err(e)) => status.log(&node.name, Stage::Ssh, &format!("{e:#}")),
                Err(_) => status.log(&node.name, Stage::Ssh, "no banner"),
            }
        });
    }
}

/// Reads the identification that a server sends first, RFC 4253 section 4.2.
async fn banner(address: Ipv4Addr) -> Result<()> {
    let mut stream = TcpStream::connect((address, 22)).await?;
    let mut start = [0; 4];
    stream.read_exact(&mut start).await?;
    anyhow::ensure!(
        &start == b"SSH-",
        "what answers on port 22 of {address} is not ssh"
    );
    Ok(())
}

/// `SHUTDOWN` of QEMU's QAPI reference, in words.
fn shutdown_in_words(data: &Value) -> String {
    match data.get("reason").and_then(Value::as_str) {
        Some("guest-shutdown") => "the guest powered off".to_owned(),
        Some("guest-panic") => "the guest's kernel panicked".to_owned(),
        Some("host-qmp-quit") => "kvmc ended it".to_owned(),
        Some("host-signal") => "a signal ended QEMU".to_owned(),
        Some(other) => format!("QEMU ended ({other})"),
        None => "QEMU ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let say = |reason: &str| shutdown_in_words(&json!({ "guest": true, "reason": reason }));
        assert_eq!(say("guest-shutdown"), "the guest powered off");
        assert_eq!(say("new-reason"), "QEMU ended (new-reason)");
        assert_eq!(shutdown_in_words(&Value::Null), "QEMU ended");
    }
}
