//! One node, attended: its QMP, its agent, its way to ready and its end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_images::qcow2;
use kvmc_netns::Links;
use kvmc_qmp::{Client, Event, Events, ExchangeLog};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::awake::{all_ready, tell_all_ready};
use super::console;
use super::pause::Pause;
use super::status::Status;
use super::vitals;
use crate::host::CgroupKills;
use crate::model::Cause;
use crate::model::Stage;
use crate::node::Evidence;
use crate::node::{Ended, last_words};
use crate::node::{Handle, Identity, check_connected, for_agent, identity};
use crate::state::{ClusterDir, NetworkRecord, NodeDir, NodeRecord, read_json, remove_file};
use crate::warm;

/// Bytes of a node's log of QMP and agent exchanges.
const LONGEST_LOG: u64 = 256 << 10;
/// From QEMU's start to its greeting: it loads a kernel, and the host may be busy.
const GREETING: Duration = Duration::from_secs(30);
/// Longest that QEMU takes from the end of its QMP connection to its own.
const LAST_BREATH: Duration = Duration::from_secs(1);
/// Before a connection that was lost is made again; each further time waits twice as long.
const RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// A look-up in QEMU.
const STATUS: Duration = Duration::from_secs(5);
/// An emulated guest may take seconds to run what the agent does for the first time.
const AGENT: Duration = Duration::from_secs(60);
/// Between two looks at a guest that has no agent.
const LOOK: Duration = Duration::from_secs(2);
/// One patient look at ssh: each further one would make the guest fork another sshd.
const BANNER: Duration = Duration::from_secs(180);
/// Longest that ssh is kept on the line after that; it hangs up by itself after two minutes, sshd_config(5).
const HANG_UP: Duration = Duration::from_secs(10);
/// Between two attempts to connect.
const KNOCK: Duration = Duration::from_secs(1);

/// What a node's task needs to know.
#[derive(Debug, Clone)]
pub(super) struct Attended {
    /// The names' domain.
    pub(super) domain: String,
    pub(super) cluster_dir: ClusterDir,
    pub(super) dir: NodeDir,
    pub(super) node: NodeRecord,
    /// Of its cards, in their order.
    pub(super) networks: Vec<NetworkRecord>,
    /// Its QEMU.
    pub(super) process: Identity,
    /// From when all nodes are ready until what stands still in it goes on.
    pub(super) rest: Duration,
    /// From then to the start of its journal.
    pub(super) journal: Duration,
    /// The frozen machines.
    pub(super) store: warm::Store,
    pub(super) status: Status,
}

/// How a node's QEMU ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Ended(Cause),
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
    /// Attends the node until its QEMU ends. A connection that is lost is made again.
    pub(super) async fn run(self, lines: watch::Sender<Lines>) -> End {
        let name = &self.node.name;
        let kills = CgroupKills::of(self.process.pid);
        let handle = self.process.open();
        let mut evidence = Evidence::default();
        let mut failure = None;
        let mut wait = RETRY;
        while let Some(handle) = &handle {
            failure = self.attend(&lines, &mut evidence).await.err();
            lines.send_modify(|l| *l = Lines::default());
            if handle.ended(LAST_BREATH).await {
                break;
            }
            let why = failure.as_ref().map(|e| format!("{e:#}"));
            let why = why.unwrap_or_else(|| "its QMP connection ended".to_owned());
            self.status
                .note(name, "lost", &format!("QEMU runs, but {why}; trying again"));
            if handle.ended(wait).await {
                break;
            }
            wait = (2 * wait).min(LONGEST_RETRY);
        }
        if let Some(handle) = &handle {
            evidence.status = exit_status(handle).await;
        }
        evidence.look(&self.node, &self.process, &kills);
        evidence.words = last_words(&self.dir);
        let cause = Ended::see(&self.dir, &self.process, evidence.judge());
        let end = match &cause {
            Cause::Rebooted => End::Reset,
            cause => End::Ended(cause.clone()),
        };
        let note = match (&end, failure) {
            (End::Reset, _) => "the guest reboots".to_owned(),
            // We ended it, and this is why.
            (_, Some(failure)) if cause == Cause::Quit => format!("{failure:#}"),
            _ => cause.to_string(),
        };
        self.status.reach(name, Stage::Ended, &note);
        end
    }

    async fn attend(&self, lines: &watch::Sender<Lines>, evidence: &mut Evidence) -> Result<()> {
        let log = || ExchangeLog::open(&self.dir.qmp_log(), LONGEST_LOG).ok();
        let (qmp, mut events) =
            Client::connect_qmp(&self.dir.qmp_socket(), log(), GREETING).await?;
        lines.send_modify(|l| l.qmp = Some(qmp.clone()));
        self.status.regained(&self.node.name);
        let console = tokio::spawn(console::copy(
            self.dir.console_socket(),
            self.dir.console_log(),
            self.node.name.clone(),
            self.status.clone(),
        ));
        let (agent, agent_events) =
            Client::connect_agent(&self.dir.agent_socket(), log(), GREETING).await?;
        lines.send_modify(|l| l.agent = Some(agent.clone()));
        let waits = match self.set_going(&qmp).await {
            Ok(waits) => waits,
            Err(e) => {
                // Whoever starts it sees its end, and our words on the board.
                let _gone = qmp.quit().await;
                // Its own word for that is not waited for.
                evidence.hear("SHUTDOWN", &json!({ "reason": "host-qmp-quit" }));
                return Err(e);
            }
        };
        let guest = tokio::spawn(self.clone().guest(qmp.clone(), agent, agent_events));
        self.until_end(&qmp, &mut events, evidence, waits).await;
        guest.abort();
        console.abort();
        Ok(())
    }

    /// From paused to running: booting, or waking. One that runs already is left alone, and one that
    /// stands still is looked after by the task returned.
    async fn set_going(&self, qmp: &Client) -> Result<Option<JoinHandle<()>>> {
        // By its name: a state that a newer QEMU has is none of those that need anything.
        let seen = qmp.request("query-status", json!({}), STATUS).await?;
        let state = seen.get("status").and_then(Value::as_str);
        if matches!(state, Some("prelaunch" | "inmigrate")) {
            check_connected(&self.networks, &self.node, &Links::open()?)
                .await
                .context("it is not started, for it would have no network")?;
        }
        match state {
            Some("prelaunch") => {
                if let Some(size) = self.grown()? {
                    warm::resize(qmp, size).await?;
                }
                qmp.execute(qapi_qmp::cont {}).await?;
            }
            Some("inmigrate") => {
                let frozen = self.node.frozen.as_deref().context("it was never frozen")?;
                warm::wake(qmp, &self.store.state(frozen), self.grown()?)
                    .await
                    .context("it cannot be woken")?;
                self.status.reach(&self.node.name, Stage::Woken, "");
            }
            Some("io-error" | "paused") => {
                let why = Pause::found(qmp, self.dir.path()).await;
                return Ok(Some(self.look_after(qmp, why)));
            }
            _ => {}
        }
        Ok(None)
    }

    fn look_after(&self, qmp: &Client, why: Pause) -> JoinHandle<()> {
        tokio::spawn(self.clone().stand_still(qmp.clone(), why))
    }

    /// The size that the node's disk is to have, when it has another yet.
    fn grown(&self) -> Result<Option<u64>> {
        let is = qcow2::inspect(&self.dir.disk())?.virtual_size;
        Ok((is < self.node.disk.0).then_some(self.node.disk.0))
    }

    /// Follows QEMU's events until there are no more.
    async fn until_end(
        &self,
        qmp: &Client,
        events: &mut Events,
        evidence: &mut Evidence,
        mut waits: Option<JoinHandle<()>>,
    ) {
        let name = &self.node.name;
        while let Some(Event { name: event, data }) = events.next().await {
            evidence.hear(&event, &data);
            match event.as_str() {
                "RESET" if data.get("guest") == Some(&Value::Bool(true)) => {
                    self.status.restart(name);
                    let _told_by_the_board =
                        Ended::record(&self.dir, Cause::Rebooted, self.process.clone());
                }
                // One for each request that failed: the first will do.
                "BLOCK_IO_ERROR" if waits.as_ref().is_none_or(JoinHandle::is_finished) => {
                    let why = Pause::of_event(&data, self.dir.path());
                    waits = why.map(|why| self.look_after(qmp, why)).or(waits);
                }
                "STOP" if waits.as_ref().is_none_or(JoinHandle::is_finished) => {
                    waits = Some(self.look_after(qmp, Pause::Asked));
                }
                "RESUME" => {
                    if let Some(task) = waits.take() {
                        task.abort();
                    }
                    self.status.pause(name, None);
                }
                _ => {}
            }
        }
        if let Some(task) = waits {
            task.abort();
        }
    }

    /// Brings the guest to ready, each time it boots.
    async fn guest(self, qmp: Client, agent: Client, mut events: Events) {
        if self.node.seeded {
            return self.watch_from_outside(events).await;
        }
        // A guest that runs already (it was woken, or the keeper is new and the guest is not) says no
        // hello of itself; one that boots says it, and answers nothing before.
        let mut first = None;
        // Ends with this task: it holds the agent's connection, of which QEMU takes one.
        let mut telling = JoinSet::new();
        if self.dir.waking().exists() {
            if self.introduce_woken(&qmp, &agent).await {
                let (board, agent) = (self.status.watch(), agent.clone());
                telling.spawn(tell_all_ready(board, agent, self.rest));
            }
        } else {
            tokio::select! {
                answer = agent.request("ping", json!({}), Duration::from_secs(2)) => {
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

    /// A guest without an agent is ready when its sshd answers, and cloud-init has said by its seed's
    /// words that it is done: it may start sshd again until then. One that says nothing is taken at its
    /// banner. After a reboot all of that is asked anew.
    ///
    /// Nothing listens before, so nothing is forked by knocking.
    async fn watch_from_outside(&self, mut events: Events) {
        let name = &self.node.name;
        let address = (self.node.address, 22).into();
        let stage = || self.status.board().get(name).map(|v| v.stage);
        // What the seed makes the guest say, see `node::seed`.
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
                    Some(event) if event.name == "ready" => done = true,
                    Some(event) if event.data.get("stage").and_then(Value::as_str) == Some("identity") => {
                        (began, done) = (true, false);
                        self.status.reach(name, Stage::Identity, "");
                    }
                    Some(_) => {}
                },
                answer = tokio::time::timeout(BANNER, banner(address)), if waits && !answered => {
                    answered = matches!(answer, Ok(Ok(_)));
                }
                () = tokio::time::sleep(LOOK), if !waits => {}
            }
        }
    }

    /// A woken guest gets its identity while its card is cut, and the network after that.
    /// True when it has it.
    async fn introduce_woken(&self, qmp: &Client, agent: &Client) -> bool {
        if !self.introduce(agent, true).await {
            return false;
        }
        let connected = async {
            warm::connect(qmp, self.networks.len()).await?;
            remove_file(&self.dir.waking())
        };
        if let Err(e) = connected.await {
            let name = &self.node.name;
            self.status.log(name, Stage::Identity, &format!("{e:#}"));
        }
        true
    }

    /// True when the guest took its identity.
    async fn introduce(&self, agent: &Client, woken: bool) -> bool {
        let name = &self.node.name;
        let pushed = async {
            let secrets =
                read_json(&self.cluster_dir.secrets())?.context("secrets.json is gone")?;
            let mut arguments =
                identity::push(&self.domain, &self.node, &self.networks, &secrets, woken)?;
            if let (Ok(user_data), Value::Object(arguments)) = (
                std::fs::read_to_string(self.cluster_dir.user_data()),
                &mut arguments,
            ) {
                // An agent without cloud-init beside it takes no notice.
                let cloud = for_agent(&self.domain, &self.node, &secrets, &user_data)?;
                arguments.insert("cloud".to_owned(), cloud);
            }
            if woken && let Value::Object(arguments) = &mut arguments {
                arguments.insert("journal".to_owned(), json!(self.journal.as_secs_f64()));
            }
            anyhow::Ok(agent.request_secret("identity", arguments, AGENT).await?)
        };
        match pushed.await {
            Ok(answer) => {
                self.status.reach(name, Stage::Identity, "");
                if let Some(random) = answer
                    .get("random")
                    .and_then(Value::as_str)
                    .filter(|_| woken)
                {
                    // Drawn to be shown, and for nothing else: no two nodes may have the same.
                    let note = format!("first random bytes {random}");
                    self.status.log(name, Stage::Identity, &note);
                }
                tokio::spawn(vitals::correct_clock(agent.clone()));
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
            match tokio::time::timeout(BANNER, banner((node.address, 22).into())).await {
                Ok(Ok(stream)) => {
                    status.reach(&node.name, Stage::Ssh, "");
                    status.reach(&node.name, Stage::Ready, "");
                    // The guest has work with its end, while others may be on their way yet.
                    let _over = tokio::time::timeout(HANG_UP, all_ready(status.watch())).await;
                    drop(stream);
                }
                Ok(Err(e)) => status.log(&node.name, Stage::Ssh, &format!("{e:#}")),
                Err(_) => status.log(&node.name, Stage::Ssh, "no banner"),
            }
        });
    }
}

/// Reads the identification that a server sends first, RFC 4253 section 4.2.
///
/// A guest that has too little of the host to answer ARP in three seconds is unreachable for a while:
/// connecting is tried again, which costs it nothing, for its sshd has heard of none of it.
async fn banner(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = loop {
        match TcpStream::connect(address).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(KNOCK).await,
        }
    };
    let mut start = [0; 4];
    stream.read_exact(&mut start).await?;
    anyhow::ensure!(&start == b"SSH-", "what answers on {address} is not ssh");
    Ok(stream)
}

/// How a process ended that has: it may be that its parent is yet to reap it.
async fn exit_status(handle: &Handle) -> Option<std::process::ExitStatus> {
    for _ in 0..20 {
        if let Some(status) = handle.exit_status() {
            return Some(status);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_guest_that_cannot_be_reached_yet_is_knocked_at_again() {
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
