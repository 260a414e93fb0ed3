//! The leases on disk, which outlive the server's process.
//!
//! The file is a journal: a line of JSON for each change, in order. The server writes and syncs it before it sends the ACKs
//! that promise the leases, once for all requests that came together. When most lines are history, the server replaces the
//! file by one with only the leases, so that the cost of a change does not grow with their number.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::clock::now;
use super::lease::{Lease, LeaseChange};
use super::table::Table;

/// How many lines the file may have beyond twice the number of leases.
const SLACK: usize = 1000;
/// How long after a failed write the next one is tried.
const PAUSE: Duration = Duration::from_secs(1);

/// The file of an earlier run is damaged, and some of its leases are lost.
#[derive(Debug, Error)]
#[error("some leases of an earlier run are lost: {} {what}{aside}", path.display())]
pub struct LeaseFileError {
    path: PathBuf,
    /// The fault of the file: a verb and its object.
    what: String,
    /// The new name of the file, or the reason that it has none: the rest of the sentence.
    aside: String,
    #[source]
    source: Option<std::io::Error>,
}

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Lease(Lease),
    Ended(std::net::Ipv4Addr),
}

impl From<LeaseChange> for Line {
    fn from(change: LeaseChange) -> Self {
        match change {
            LeaseChange::Bound(lease) => Self::Lease(lease),
            LeaseChange::Ended(address) => Self::Ended(address),
        }
    }
}

/// The file with the leases of one table.
#[derive(Debug)]
pub struct LeaseFile {
    path: PathBuf,
    /// Open for appending; none while the file is damaged or missing.
    journal: Option<File>,
    lines: usize,
    leases: usize,
    failed: Option<Instant>,
}

/// The next write to the file.
#[derive(Debug)]
pub(super) enum Batch {
    Changes(Vec<LeaseChange>),
    /// All leases, for a new file.
    All(Vec<Lease>),
}

impl LeaseFile {
    /// Reads the leases of the file into `table`. Drops a last line without an end, since no ACK depended on it. Renames a
    /// file with other damage, and uses its readable lines. Returns the file, and an error about the damage.
    pub fn load(path: PathBuf, table: &mut Table) -> (Self, Option<LeaseFileError>) {
        Self::load_at(path, table, now())
    }

    fn load_at(path: PathBuf, table: &mut Table, now: u64) -> (Self, Option<LeaseFileError>) {
        let mut file = Self {
            journal: None,
            lines: 0,
            leases: 0,
            failed: None,
            path,
        };
        let problem = match std::fs::read(&file.path) {
            Ok(bytes) => file.replay(&bytes, table, now),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => Some(file.set_aside("cannot be read".to_owned(), Some(e))),
        };
        // The leases are on disk already.
        let _known = table.take_changes();
        let leases: Vec<_> = table.on_file().copied().collect();
        if problem.is_some() && !leases.is_empty() {
            // The next change tries again and reports the failure.
            let _tried = file.commit(Batch::All(leases));
        }
        (file, problem)
    }

    fn replay(&mut self, bytes: &[u8], table: &mut Table, now: u64) -> Option<LeaseFileError> {
        // The first version wrote one array.
        if let Ok(leases) = serde_json::from_slice::<Vec<Lease>>(bytes) {
            for lease in leases {
                table.load(lease, now);
            }
            return None;
        }
        let whole = bytes
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let (lines, cut_off) = bytes.split_at(whole);
        let mut damaged = 0;
        for line in lines.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            self.lines += 1;
            match serde_json::from_slice(line) {
                Ok(Line::Lease(lease)) => table.load(lease, now),
                Ok(Line::Ended(address)) => table.unload(address),
                Err(_) => damaged += 1,
            }
        }
        self.leases = table.on_file().count();
        if damaged > 0 || (lines.is_empty() && !cut_off.is_empty()) {
            let what = format!(
                "has {} damaged lines of {}",
                damaged.max(1),
                self.lines.max(1)
            );
            return Some(self.set_aside(what, None));
        }
        if cut_off.is_empty() {
            // Without a journal the next change writes a new file.
            self.journal = File::options().append(true).open(&self.path).ok();
        }
        None
    }

    fn set_aside(&self, what: String, source: Option<std::io::Error>) -> LeaseFileError {
        let aside = self.path.with_extension("damaged");
        let aside = match std::fs::rename(&self.path, &aside) {
            Ok(()) => format!(" and is now {}", aside.display()),
            Err(e) => format!(", and cannot be renamed ({e})"),
        };
        LeaseFileError {
            path: self.path.clone(),
            what,
            aside,
            source,
        }
    }

    /// The changes since the last batch, or all leases when a new file is due.
    pub(super) fn batch(&self, table: &mut Table) -> Option<Batch> {
        let is_due = match self.failed {
            Some(at) => at.elapsed() >= PAUSE,
            None => table.has_changes(),
        };
        if !is_due {
            return None;
        }
        let changes = table.take_changes();
        if self.journal.is_some() && self.lines + changes.len() <= 2 * self.leases + SLACK {
            return Some(Batch::Changes(changes));
        }
        Some(Batch::All(table.on_file().copied().collect()))
    }

    /// Writes a batch and waits until it is on the disk.
    ///
    /// # Errors
    /// The write failed. The next batch has all leases.
    pub(super) fn commit(&mut self, batch: Batch) -> std::io::Result<()> {
        let written = match batch {
            Batch::Changes(changes) => self.append(changes),
            Batch::All(leases) => self.replace(leases),
        };
        self.failed = written.is_err().then(Instant::now);
        if written.is_err() {
            self.journal = None;
        }
        written
    }

    fn append(&mut self, changes: Vec<LeaseChange>) -> std::io::Result<()> {
        let Some(journal) = &mut self.journal else {
            return Err(ErrorKind::NotFound.into());
        };
        self.lines += changes.len();
        journal.write_all(&text(changes.into_iter().map(Line::from))?)?;
        journal.sync_data()
    }

    fn replace(&mut self, leases: Vec<Lease>) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        (self.lines, self.leases) = (leases.len(), leases.len());
        file.write_all(&text(leases.into_iter().map(Line::Lease))?)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        if let Some(folder) = self.path.parent().filter(|f| *f != Path::new("")) {
            File::open(folder)?.sync_all()?;
        }
        self.journal = Some(file);
        Ok(())
    }

    /// The file's path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn text(lines: impl Iterator<Item = Line>) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, &line)?;
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
#[path = "lease_file_tests.rs"]
mod tests;
