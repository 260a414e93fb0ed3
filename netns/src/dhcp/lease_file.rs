//! The leases on disk: they outlive the process that gave them.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Table;

/// Leases of an earlier run were not taken over.
#[derive(Debug, Error)]
#[error("the leases of an earlier run are not taken over: {} cannot be read{aside}", path.display())]
pub struct LeaseFileError {
    path: PathBuf,
    /// What was done with the file, as the sentence goes on.
    aside: String,
    #[source]
    source: std::io::Error,
}

/// A file that follows the leases of one table.
#[derive(Debug)]
pub struct LeaseFile {
    path: PathBuf,
    /// [`Table::changes`] as it was when the file was right.
    written: u64,
}

impl LeaseFile {
    /// Takes the file's leases over into `table`. One that cannot be read is set aside under another
    /// name, and serving can go on: hence both, the file and what is to be told.
    pub fn load(path: PathBuf, table: &mut Table) -> (Self, Option<LeaseFileError>) {
        let problem = match read(&path) {
            Ok(leases) => {
                table.load(leases);
                None
            }
            Err(source) => Some(LeaseFileError {
                aside: set_aside(&path),
                path: path.clone(),
                source,
            }),
        };
        let written = table.changes();
        (Self { path, written }, problem)
    }

    /// Writes the leases if they are others than those written last. A disk that is full costs the
    /// file, not the service; the next packet tries again.
    pub(super) fn follow(&mut self, table: &Table) {
        let changes = table.changes();
        if changes != self.written && write(&self.path, table).is_ok() {
            self.written = changes;
        }
    }
}

fn read(path: &Path) -> std::io::Result<Vec<super::Lease>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn set_aside(path: &Path) -> String {
    let aside = path.with_extension("damaged");
    match std::fs::rename(path, &aside) {
        Ok(()) => format!(" and is now {}", aside.display()),
        Err(e) => format!(", nor set aside ({e})"),
    }
}

fn write(path: &Path, table: &Table) -> std::io::Result<()> {
    let leases: Vec<_> = table.leases().collect();
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec(&leases)?)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::MacAddr;
    use crate::dhcp::Config;

    const GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 9]);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

    fn table() -> Table {
        let config = Config {
            server: Ipv4Addr::new(192, 0, 2, 1),
            subnet: "192.0.2.0/24".parse().unwrap(),
            router: None,
            dns: Vec::new(),
            domain: None,
            mtu: None,
            lease_time: Duration::from_secs(3600),
        };
        Table::new(config, Vec::new())
    }

    #[test]
    fn is_written_when_leases_change_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leases");
        let mut table = table();
        let (mut file, problem) = LeaseFile::load(path.clone(), &mut table);
        assert!(problem.is_none());
        file.follow(&table);
        assert!(!path.exists());
        assert!(table.bind(GUEST, ADDRESS, 1000));
        file.follow(&table);
        assert_eq!(read(&path).unwrap().len(), 1);
        std::fs::remove_file(&path).unwrap();
        file.follow(&table);
        assert!(!path.exists(), "written again without need");
    }

    #[test]
    fn a_change_that_could_not_be_written_is_written_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder/leases");
        let mut table = table();
        let (mut file, _) = LeaseFile::load(path.clone(), &mut table);
        table.bind(GUEST, ADDRESS, 1000);
        file.follow(&table);
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        file.follow(&table);
        assert_eq!(read(&path).unwrap().len(), 1);
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leases");
        std::fs::write(&path, "[{").unwrap();
        let (_, problem) = LeaseFile::load(path.clone(), &mut table());
        let told = problem.unwrap().to_string();
        assert!(told.contains("leases cannot be read and is now"), "{told}");
        assert!(told.ends_with("leases.damaged"), "{told}");
        assert!(!path.exists());
        assert_eq!(
            std::fs::read(path.with_extension("damaged")).unwrap(),
            b"[{"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_or_moved_is_told_of_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leases");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.with_extension("damaged"), "").unwrap();
        let (_, problem) = LeaseFile::load(path, &mut table());
        let told = problem.unwrap().to_string();
        assert!(told.contains("cannot be read, nor set aside"), "{told}");
    }
}
