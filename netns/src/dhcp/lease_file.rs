//! The leases on disk: they outlive the process that gave them.
//!
//! The file is a journal, a line of JSON for each change in the order in which they came. It is written and
//! synced to the disk before the acknowledgements that promise the leases go out, once for all that came
//! together. When more of it is history than leases, it is replaced by one that has only the leases, so that
//! what a change costs does not grow with their number.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::table::{Change, Lease};
use super::{Table, now};

/// Lines that the file may have beyond twice the number of leases.
const SLACK: usize = 1000;
/// After a failure, the disk is left alone for this long.
const PAUSE: Duration = Duration::from_secs(1);

/// Leases of an earlier run were not all taken over.
#[derive(Debug, Error)]
#[error("leases of an earlier run are not all taken over: {} {what}{aside}", path.display())]
pub struct LeaseFileError {
    path: PathBuf,
    /// What is wrong with the file, as the sentence goes on.
    what: String,
    /// What was done with the file, as the sentence goes on.
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

impl From<Change> for Line {
    fn from(change: Change) -> Self {
        match change {
            Change::Bound(lease) => Self::Lease(lease),
            Change::Ended(address) => Self::Ended(address),
        }
    }
}

/// A file that follows the leases of one table.
#[derive(Debug)]
pub struct LeaseFile {
    path: PathBuf,
    /// Open for appending once it is known to be whole.
    journal: Option<File>,
    lines: usize,
    leases: usize,
    failed: Option<Instant>,
}

/// What is to be written next.
#[derive(Debug)]
pub(super) enum Batch {
    Changes(Vec<Change>),
    /// All leases, into a new file.
    All(Vec<Lease>),
}

impl LeaseFile {
    /// Takes the file's leases over into `table`. A line that was cut off
    /// at the end promised nobody anything. What else cannot be read is set aside under another name, the rest is
    /// taken over, and serving can go on: hence both, the file and what is to be told.
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
        // They are on disk already.
        let _known = table.take_changes();
        let leases: Vec<_> = table.on_file().copied().collect();
        if problem.is_some() && !leases.is_empty() {
            // Whether it can be written shows with the next change, too.
            let _tried = file.commit(Batch::All(leases));
        }
        (file, problem)
    }

    fn replay(&mut self, bytes: &[u8], table: &mut Table, now: u64) -> Option<LeaseFileError> {
        // The form of the first version: one array.
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
            // Without it, the next change writes the file anew.
            self.journal = File::options().append(true).open(&self.path).ok();
        }
        None
    }

    fn set_aside(&self, what: String, source: Option<std::io::Error>) -> LeaseFileError {
        let aside = self.path.with_extension("damaged");
        let aside = match std::fs::rename(&self.path, &aside) {
            Ok(()) => format!(" and is now {}", aside.display()),
            Err(e) => format!(", nor set aside ({e})"),
        };
        LeaseFileError {
            path: self.path.clone(),
            what,
            aside,
            source,
        }
    }

    /// What has changed since the last batch, or all leases when the file is to be written anew.
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
    /// The system's word. The next batch then has all leases, so that nothing is lost for good.
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

    fn append(&mut self, changes: Vec<Change>) -> std::io::Result<()> {
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

    /// The file's name, for what is told about it.
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
