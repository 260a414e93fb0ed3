//! The process of a tie. It serves the tie until it is told to end, until its node is removed, or until the cluster stops.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::super::super::Local;
use super::super::ssh::Limits;
use super::super::{Ssh, why_down};
use super::record::{ATTACHED, Tie, forget, id_of, mark, read, write};
use super::serving::Serving;
use crate::interrupt::Interrupt;
use crate::node::Identity;
use crate::state::{ClusterDir, ClusterRecord, Phase};
use crate::steps::scope;

/// Time between two looks at a tie that is attached, and at one that is not yet.
const LOOK: Duration = Duration::from_millis(500);
const SOON: Duration = Duration::from_millis(50);
/// Waits before a lost tie is made again.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);
/// Time that sshfs has after the connection is made.
const START: Duration = Duration::from_secs(60);

/// Serves the tie of a file. `ready` is called once it is there.
///
/// # Errors
/// Fails if the tie cannot be made at first.
pub(in super::super::super) async fn attend(
    local: &Local,
    file: &str,
    ready: &mut dyn FnMut(),
) -> Result<()> {
    let dir = local.dir();
    let id = id_of(std::path::Path::new(file)).context("only other verbs start this")?;
    let mark = mark(&dir, &id);
    ensure!(
        mark == format!("--tie={file}"),
        "only other verbs start this"
    );
    let mut tie = read(&dir, &id)?;
    let record = local.require()?;
    if let Some(scope) = scope::look(&dir) {
        // Without it the tie works as long as the session does.
        let _goes_on_without = scope.enter(&dir).await;
    }
    // Ctrl-C at the terminal is for the verb.
    let _is_leader = nix::unistd::setsid();
    // The guest says which permissions a new file has.
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    tie.process = Some(Identity::of_self(&mark)?);
    write(&dir, &id, &tie)?;
    let attendant = Attendant {
        ssh: Ssh::of(local, &record, None),
        local,
        dir: dir.clone(),
        id: id.clone(),
        tie,
        was_attached: false,
        is_attached: false,
    };
    let result = attendant.run(ready).await;
    forget(&dir, &id)?;
    result
}

struct Attendant<'a> {
    local: &'a Local,
    ssh: Ssh,
    dir: ClusterDir,
    id: String,
    tie: Tie,
    was_attached: bool,
    is_attached: bool,
}

impl Attendant<'_> {
    async fn run(mut self, ready: &mut dyn FnMut()) -> Result<()> {
        let mut interrupt = Interrupt::listen()?;
        let mut wait = FIRST;
        let mut limits = Limits::new(self.ssh.connects() + START);
        loop {
            let limit = limits.next();
            match self.serve(&mut interrupt, limit, ready).await {
                Ok(()) => return Ok(()),
                Err(error) if !self.was_attached => return Err(error),
                Err(error) => self.set_state(&format!("{error:#}"))?,
            }
            if std::mem::take(&mut self.is_attached) {
                limits.reached();
                wait = FIRST;
            }
            let until = Instant::now() + wait;
            while Instant::now() < until || why_down(&self.dir, &self.tie.node).is_some() {
                tokio::select! {
                    () = interrupt.wait() => return Ok(()),
                    () = tokio::time::sleep(LOOK) => {}
                }
                if self.is_over() {
                    return Ok(());
                }
            }
            wait = (wait * 2).min(LONGEST);
        }
    }

    /// Serves until the end, or until the connection is lost, which is an error.
    async fn serve(
        &mut self,
        interrupt: &mut Interrupt,
        limit: Duration,
        ready: &mut dyn FnMut(),
    ) -> Result<()> {
        let mut serving = Serving::start(&self.ssh, &self.tie)?;
        let until = Instant::now() + limit;
        loop {
            let look = if self.is_attached { LOOK } else { SOON };
            tokio::select! {
                () = interrupt.wait() => {
                    serving.end();
                    return Ok(());
                }
                () = tokio::time::sleep(look) => {}
            }
            let on_node = |command: &str| {
                let verb = format!("exec {} -- {command}", self.tie.node);
                self.local.command(&verb)
            };
            if let Some(why) = serving.ended(on_node) {
                serving.end();
                return Err(why);
            }
            if !self.is_attached && serving.is_attached() {
                self.is_attached = true;
                self.set_state(ATTACHED)?;
                if !self.was_attached {
                    ready();
                }
                self.was_attached = true;
            }
            if !self.is_attached && Instant::now() > until {
                serving.end();
                bail!("{} does not answer", self.tie.node);
            }
            if self.is_attached && self.is_over() {
                serving.end();
                return Ok(());
            }
        }
    }

    fn set_state(&mut self, state: &str) -> Result<()> {
        if self.tie.state == state {
            return Ok(());
        }
        state.clone_into(&mut self.tie.state);
        write(&self.dir, &self.id, &self.tie)
    }

    /// Whether the node or its cluster is gone, or the tie is to end.
    fn is_over(&self) -> bool {
        if !super::record::file(&self.dir, &self.id).exists() {
            return true;
        }
        match ClusterRecord::load(&self.dir) {
            Ok(None) => true,
            Ok(Some(record)) => {
                matches!(record.phase, Phase::Stopped | Phase::Removing)
                    || record.node(&self.tie.node).is_err()
            }
            // It may be written at this moment.
            Err(_) => false,
        }
    }
}
