//! The sessions of `kvmc ssh`. Each has a file beside the cluster's record, since it is the process of ssh(1) and not of
//! kvmc. A verb that takes the nodes' connections away ends them, and tells so on their terminals.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::{fstat, makedev};
use nix::unistd::isatty;
use serde::{Deserialize, Serialize};

use crate::engine::local::Local;
use crate::node::{Handle, Identity};
use crate::state::{ClusterDir, private_dir, read_json, remove_file, replace_json};

/// Longest time for ssh to end, which first gives its terminal back as it was.
const ENDED: Duration = Duration::from_secs(2);

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    process: Identity,
    node: String,
    /// The device number of its terminal, if it has one.
    #[serde(default)]
    terminal: Option<u64>,
}

/// What became of sessions that were to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::engine::local) struct EndedSessions {
    pub(in crate::engine::local) ended: usize,
    /// Those of them that have no terminal on which they were told.
    pub(in crate::engine::local) untold: usize,
}

impl EndedSessions {
    /// A line about them, if there were any.
    pub(in crate::engine::local) fn line(self) -> Option<String> {
        crate::model::ended_sessions(self.ended, self.untold)
    }
}

/// Notes that this process becomes the ssh of a session.
///
/// # Errors
/// Fails if the file cannot be written.
pub(in crate::engine::local) fn register(local: &Local, node: &str) -> Result<()> {
    let dir = local.dir();
    private_dir(&dir.sessions())?;
    // Those whose files ended sessions left.
    drop(running(&dir));
    // The node is a word of kvmc's arguments, and of those of ssh afterwards.
    let process = Identity::of_self(node)?;
    let terminal = device(std::io::stdin().as_fd())
        .or_else(|| device(std::io::stdout().as_fd()))
        .or_else(|| device(std::io::stderr().as_fd()));
    let session = Session {
        node: node.to_owned(),
        terminal,
        process,
    };
    replace_json(&dir.session(session.process.pid), &session, 0o600)
}

/// The device number of a terminal. /dev/tty is another one for each process.
fn device(fd: BorrowedFd<'_>) -> Option<u64> {
    let device = fstat(fd).ok()?.st_rdev;
    let is_terminal = isatty(fd).unwrap_or_default() && device != makedev(5, 0);
    is_terminal.then_some(device)
}

/// The sessions that go on. Removes the files of others.
fn running(dir: &ClusterDir) -> Vec<(PathBuf, Session, Handle)> {
    let entries = std::fs::read_dir(dir.sessions());
    let paths = entries.into_iter().flatten().flatten().map(|e| e.path());
    let running = paths.filter_map(|path| {
        let session = read_json::<Session>(&path).ok().flatten();
        let opened = session.and_then(|session| {
            let handle = session.process.open()?;
            Some((session, handle))
        });
        match opened {
            Some((session, handle)) => Some((path, session, handle)),
            None => {
                let _next_time = remove_file(&path);
                None
            }
        }
    });
    running.collect()
}

/// Ends the sessions of these nodes, and tells each on its terminal why, with words for its node.
///
/// A session that does not end, or a terminal that takes nothing, stops no verb.
pub(in crate::engine::local) async fn end(
    dir: &ClusterDir,
    is_of: impl Fn(&str) -> bool,
    why: impl Fn(&str) -> String,
) -> EndedSessions {
    let mut all = running(dir);
    all.retain(|(_, session, _)| is_of(&session.node));
    let mut ending = Vec::new();
    for (path, session, handle) in all {
        let terminal = terminal_of(&session, &handle);
        // A stopped one hears the first signal only after the second.
        let sent = [Signal::SIGTERM, Signal::SIGCONT].map(|signal| handle.signal(signal));
        if sent.iter().all(Result::is_ok) {
            ending.push((path, session, handle, terminal));
        }
    }
    let mut done = EndedSessions::default();
    for (path, session, handle, terminal) in ending {
        if !handle.ended(ENDED).await {
            continue;
        }
        let _next_time = remove_file(&path);
        let line = format!("\r\nkvmc: {}\r\n", why(&session.node));
        let told = terminal.is_some_and(|mut t| t.write_all(line.as_bytes()).is_ok());
        done.ended += 1;
        done.untold += usize::from(!told);
    }
    done
}

/// The terminal of a session, if its process has it open now. As long as it is open here, no other gets its name.
fn terminal_of(session: &Session, handle: &Handle) -> Option<File> {
    let device_number = session.terminal?;
    let folder = Path::new("/proc").join(session.process.pid.to_string());
    let found = ["0", "1", "2"].iter().find_map(|number| {
        // It may take nothing now, and it does not become this process's own.
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let mut options = std::fs::OpenOptions::new();
        let options = options.write(true).custom_flags(flags.bits());
        let file = options.open(folder.join("fd").join(number)).ok()?;
        (device(file.as_fd()) == Some(device_number)).then_some(file)
    });
    // Until now the pid was no other process's.
    found.filter(|_| !handle.has_ended(Duration::ZERO))
}
