//! One node, attended: its QMP, its agent, its way to ready and its end.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_qmp::{Client, Event, Events, ExchangeLog};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::console;
use super::protocol::Stage;
use super::status::Status;
use crate::node::identity;
use crate::state::{ClusterDir, NetworkRecord, NodeDir, NodeRecord, read_json};

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
    pub(super) network: NetworkRecord,
    pub(super) status: Status,
}

/// The connections to one node, once there are any.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    pub(super) qmp: Option<Client>,
    pub(super) agent: Option<Client>,
}

impl Attended {
    /// Attends the node until its QEMU ends.
    pub(super) async fn run(self, lines: watch::Sender<Lines>) {
        let note = match self.attend(&lines).await {
            Ok(how) => how,
            Err(e) => format!("{e:#}"),
        };
        self.status.reach(&self.node.name, Stage::Ended, &note);
    }

    async fn attend(&self, lines: &watch::Sender<Lines>) -> Result<String> {
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
        let seen = qmp.execute(qapi_qmp::query_status {}).await?;
        if seen.status == qapi_qmp::RunState::prelaunch {
            qmp.execute(qapi_qmp::cont {}).await?;
        }
        let guest = tokio::spawn(self.clone().guest(agent, agent_events));
        let how = self.until_end(&mut events).await;
        guest.abort();
        Ok(how)
    }

    /// Follows QEMU's events to its end and says in words how it ended.
    async fn until_end(&self, events: &mut Events) -> String {
        let mut how = "QEMU ended without a word".to_owned();
        while let Some(Event { name, data, .. }) = events.next().await {
            match name.as_str() {
                "SHUTDOWN" => how = shutdown_in_words(&data),
                "RESET" if data.get("guest") == Some(&Value::Bool(true)) => {
                    self.status.restart(&self.node.name);
                }
                "GUEST_PANICKED" => how = "the guest's kernel panicked".to_owned(),
                _ => {}
            }
        }
        how
    }

    /// Brings the guest to ready, each time it boots.
    async fn guest(self, agent: Client, mut events: Events) {
        // A guest that runs already (the keeper is new, the guest is not) says no hello of itself.
        if agent
            .request("ping", json!({}), Duration::from_secs(2))
            .await
            .is_ok()
        {
            self.introduce(&agent).await;
        }
        while let Some(event) = events.next().await {
            match event.name.as_str() {
                "hello" => self.introduce(&agent).await,
                "stage" if event.data.get("stage").and_then(Value::as_str) == Some("lease") => {
                    self.status.reach(&self.node.name, Stage::Lease, "");
                }
                "ready" => self.look_at_ssh(),
                _ => {}
            }
        }
    }

    async fn introduce(&self, agent: &Client) {
        let name = &self.node.name;
        let pushed = async {
            let secrets =
                read_json(&self.cluster_dir.secrets())?.context("secrets.json is gone")?;
            let arguments = identity::push(&self.cluster, &self.node, &self.network, &secrets)?;
            anyhow::Ok(agent.request_secret("identity", arguments, AGENT).await?)
        };
        match pushed.await {
            Ok(answer) => {
                self.status.reach(name, Stage::Identity, "");
                if answer.get("ready").and_then(Value::as_bool) == Some(true) {
                    self.status.reach(name, Stage::Lease, "");
                    self.look_at_ssh();
                }
            }
            Err(e) => self.status.log(name, Stage::Identity, &format!("{e:#}")),
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
