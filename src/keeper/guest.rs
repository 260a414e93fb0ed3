//! Brings the guest of one node to ready: its identity, its lease and its sshd.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_images::agent::{
    self, BootStage, IdentityAnswer, Ping, Request, Restored, RestoredAnswer,
};
use kvmc_qmp::{Client, Event, Events, ExecuteError};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::attended::Attended;
use super::awake::{all_ready, tell_all_ready};
use super::vitals;
use crate::ids::now;
use crate::model::Stage;
use crate::node::{for_agent, identity, savestate};
use crate::state::{ClusterDir, NetworkRecord, NodeRecord, read_json, remove_file};

/// An emulated guest may take seconds when it runs the agent's code for the first time.
pub(super) const AGENT: Duration = Duration::from_secs(60);
/// Interval between checks of a guest that has no agent.
const LOOK: Duration = Duration::from_secs(2);
/// Longest wait for an ssh banner. It is long, because each further connection makes the guest fork another sshd.
const BANNER: Duration = Duration::from_secs(180);
/// Longest time that the ssh connection stays open afterwards. sshd closes it by itself after two minutes,
/// sshd_config(5).
const HANG_UP: Duration = Duration::from_secs(10);
/// Interval between attempts to connect.
const KNOCK: Duration = Duration::from_secs(1);

impl Attended {
    /// Brings the guest to ready, each time it boots.
    pub(super) async fn guest(self, qmp: Client, agent: Client, mut events: Events) {
        if self.node.seeded {
            return self.watch_from_outside(events).await;
        }
        // A booting guest greets first and answers nothing before. A guest that runs already, because it was woken or
        // because only the keeper is new, sends no greeting.
        let mut first = None;
        // Ends with this task, because it holds the agent's connection and QEMU accepts only one.
        let mut telling = JoinSet::new();
        if self.greet_restored(&agent).await {
        } else if self.dir.waking().exists() {
            if self.introduce_woken(&qmp, &agent).await {
                let (board, agent) = (self.status.watch(), agent.clone());
                telling.spawn(tell_all_ready(board, agent, self.rest));
            }
        } else {
            tokio::select! {
                answer = agent.request(Ping::NAME, Ping {}.arguments(), Duration::from_secs(2)) => {
                    if answer.is_ok() {
                        self.introduce(&agent, false).await;
                    }
                }
                event = events.next() => first = event,
            }
        }
        while let Some(event) = match first.take() {
            Some(event) => Some(event),
            None => events.next().await,
        } {
            match agent::Event::parse(&event.name, &event.data) {
                Some(agent::Event::Hello) => drop(self.introduce(&agent, false).await),
                Some(agent::Event::Stage(BootStage::Lease)) => {
                    self.status.reach(&self.node.name, Stage::Lease, "");
                }
                Some(agent::Event::Ready) => self.look_at_ssh(),
                Some(agent::Event::Killed(unit)) => self.status.killed(&self.node.name, &unit),
                _ => {}
            }
        }
    }

    /// A guest without an agent is ready when its sshd answers and its seed has reported that cloud-init is done.
    /// Until then cloud-init may restart sshd. For a guest that reports nothing, the banner is enough. After a reboot,
    /// both are awaited again.
    ///
    /// Nothing listens on the port before, so early attempts make the guest fork nothing.
    async fn watch_from_outside(&self, mut events: Events) {
        let name = &self.node.name;
        let address = (self.node.address(), 22).into();
        let stage = || self.status.board().get(name).map(|v| v.stage);
        // The seed makes the guest report this, see `node::seed`.
        let (mut began, mut done, mut answered) = (false, false, false);
        loop {
            let waits = stage().is_some_and(|s| s < Stage::Ready);
            if waits && answered && (done || !began) {
                for stage in [Stage::Lease, Stage::Ssh, Stage::Ready] {
                    self.status.reach(name, stage, "");
                }
                (began, done, answered) = (false, false, false);
                continue;
            }
            tokio::select! {
                event = events.next() => match event {
                    None => return,
                    Some(Event { name: event, data }) => match agent::Event::parse(&event, &data) {
                        Some(agent::Event::Ready) => done = true,
                        Some(agent::Event::Stage(BootStage::Identity)) => {
                            (began, done) = (true, false);
                            self.status.reach(name, Stage::Identity, "");
                        }
                        _ => {}
                    },
                },
                answer = tokio::time::timeout(BANNER, banner(address)), if waits && !answered => {
                    answered = matches!(answer, Ok(Ok(_)));
                }
                () = tokio::time::sleep(LOOK), if !waits => {}
            }
        }
    }

    /// Tells a guest that was just restored the time, and gives it randomness of its own. Returns whether it was restored.
    async fn greet_restored(&self, agent: &Client) -> bool {
        let name = &self.node.name;
        let stage = self.status.board().get(name).map(|v| v.stage);
        let restoring = match &self.restoring {
            Some(restoring) if stage == Some(Stage::Woken) => restoring,
            _ => return false,
        };
        let restored = Restored {
            seed: identity::seed(),
            time: (!restoring.keeps_clock).then(now),
        };
        let name = Restored::NAME;
        let told = agent.request_secret(name, restored.arguments(), AGENT);
        match told.await {
            Ok(answer) => self.is_restored(agent, answer, restoring.keeps_clock),
            // An older agent takes time and randomness with its identity.
            Err(ExecuteError::Refused { .. }) => drop(self.introduce(agent, false).await),
            Err(e) => self
                .status
                .log(&self.node.name, Stage::Woken, &format!("{e:#}")),
        }
        true
    }

    fn is_restored(&self, agent: &Client, answer: Value, keeps_clock: bool) {
        let answer: RestoredAnswer = serde_json::from_value(answer).unwrap_or_default();
        self.status.reach(&self.node.name, Stage::Identity, "");
        if !keeps_clock {
            tokio::spawn(vitals::correct_clock(agent.clone()));
        }
        if answer.ready {
            self.status.reach(&self.node.name, Stage::Lease, "");
            self.look_at_ssh();
        }
    }

    /// Gives a woken guest its identity while its NIC is disconnected, and then connects the NIC. Returns whether it
    /// succeeded.
    async fn introduce_woken(&self, qmp: &Client, agent: &Client) -> bool {
        if !self.introduce(agent, true).await {
            return false;
        }
        let connected = async {
            savestate::set_links(qmp, self.networks.len(), true).await?;
            remove_file(&self.dir.waking())
        };
        if let Err(e) = connected.await {
            let name = &self.node.name;
            self.status.log(name, Stage::Identity, &format!("{e:#}"));
        }
        true
    }

    /// Returns whether the guest took its identity.
    async fn introduce(&self, agent: &Client, woken: bool) -> bool {
        let name = &self.node.name;
        let pushed = async {
            let of = IdentityOf {
                domain: &self.domain,
                dir: &self.cluster_dir,
                node: &self.node,
                networks: &self.networks,
            };
            let mut push = of.push(woken)?;
            push.boot_id = woken.then(|| self.boot_id.clone());
            push.journal = woken.then_some(self.journal.as_secs_f64());
            let name = agent::Identity::NAME;
            anyhow::Ok(agent.request_secret(name, push.arguments(), AGENT).await?)
        };
        match pushed.await {
            Ok(answer) => {
                self.status.reach(name, Stage::Identity, "");
                let answer: IdentityAnswer = serde_json::from_value(answer).unwrap_or_default();
                if !answer.is_given_once() {
                    self.status.has_old_agent(name);
                }
                if let Some(random) = answer.random.filter(|_| woken) {
                    // These bytes are only shown. No two nodes may have the same.
                    let note = format!("first random bytes {random}");
                    self.status.log(name, Stage::Identity, &note);
                }
                tokio::spawn(vitals::correct_clock(agent.clone()));
                if answer.ready {
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
            match tokio::time::timeout(BANNER, banner((node.address(), 22).into())).await {
                Ok(Ok(stream)) => {
                    status.reach(&node.name, Stage::Ssh, "");
                    status.reach(&node.name, Stage::Ready, "");
                    // Closing the connection makes the guest work, while other nodes may still be starting.
                    let _over = tokio::time::timeout(HANG_UP, all_ready(status.watch())).await;
                    drop(stream);
                }
                Ok(Err(e)) => status.log(&node.name, Stage::Ssh, &format!("{e:#}")),
                Err(_) => status.log(&node.name, Stage::Ssh, "no banner"),
            }
        });
    }
}

/// A node and everything that its identity is made of.
pub(super) struct IdentityOf<'a> {
    pub(super) domain: &'a str,
    pub(super) dir: &'a ClusterDir,
    pub(super) node: &'a NodeRecord,
    /// The networks of its NICs, in the same order.
    pub(super) networks: &'a [NetworkRecord],
}

impl IdentityOf<'_> {
    /// The agent's message.
    pub(super) fn push(&self, woken: bool) -> Result<agent::Identity> {
        let Self {
            domain,
            dir,
            node,
            networks,
        } = self;
        let secrets = read_json(&dir.secrets())?.context("secrets.json is missing")?;
        let mut push = identity::push(domain, node, networks, &secrets, woken)?;
        if let Some(user_data) = dir.stored_user_data(&node.role) {
            // An agent without cloud-init ignores it.
            push.cloud = Some(for_agent(domain, node, &secrets, &user_data)?);
        }
        Ok(push)
    }
}

/// Reads the identification that an ssh server sends first, RFC 4253 section 4.2.
///
/// A guest that gets too little CPU to answer ARP within three seconds is unreachable for a while. Connecting is
/// repeated, which costs the guest nothing, because its sshd does not see these attempts.
async fn banner(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = loop {
        match TcpStream::connect(address).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(KNOCK).await,
        }
    };
    let mut start = [0; 4];
    stream.read_exact(&mut start).await?;
    anyhow::ensure!(
        &start == b"SSH-",
        "the server on {address} does not speak ssh"
    );
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn connecting_to_an_unreachable_guest_is_repeated() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let looking = tokio::spawn(banner(address));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!looking.is_finished());
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
        looking.await.unwrap().unwrap();
    }
}
