//! The network namespace of its own in which a fork runs.
//!
//! It has no name. It lives as long as a process is in it, so it cannot be left behind. A verb for the fork moves its
//! thread there before it does anything else, and so does the keeper, by whom it is started.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_netns::{namespace_of_tap, outside};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::{
    ClusterDir, ClusterRecord, Found, NO_NAMESPACE, Phase, namespace, namespace_in, namespace_word,
};
use crate::hint::{add_hint, command, find};

/// The variable in a QEMU's environment with the inode of its cluster's mount namespace. QEMU is in one of its own.
pub(crate) const MOUNTS: &str = "KVMC_MOUNTS";
/// Times between looks whether the processes in a namespace have ended, and the number of looks.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: usize = 60;
/// How often a verb begins.
const TRIES: usize = 5;

impl ClusterRecord {
    /// Inode of the namespace whose ports and sysctls the cluster uses.
    pub(crate) fn outer_namespace(&self) -> u64 {
        let fork = self.host.fork.as_ref();
        fork.map_or(self.host.namespace, |fork| fork.outside)
    }
}

/// A cluster came to be in another network namespace while a verb waited for its lock.
#[derive(Debug, thiserror::Error)]
#[error("cluster `{0}` has come to be in another network namespace")]
struct Moved(String);

/// Does work again that a [`Moved`] error ended. It begins by entering the cluster's namespace. Each time it has a runtime of
/// its own, whose threads are in no other namespace.
///
/// # Errors
/// Fails like the work.
pub(crate) fn until_entered<T>(mut work: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match work() {
            Err(error) if find::<Moved>(&error).is_some() => {}
            done => return done,
        }
    }
    work()
}

impl ClusterDir {
    /// Refuses to go on, under the cluster's lock, where this thread would have to enter another namespace than it has
    /// entered before it waited. `record` is the cluster's, as it is now.
    ///
    /// # Errors
    /// Fails with an error for [`until_entered`].
    pub(crate) fn check_entered(&self, record: &ClusterRecord) -> Result<()> {
        let here = namespace()?;
        let is_inside = is_inside()?;
        let is_entered = match record.host.fork {
            Some(_) => {
                is_inside && (record.phase == Phase::Stopped || record.host.namespace == here)
            }
            None => !is_inside,
        };
        match is_entered {
            true => Ok(()),
            false => Err(add_hint(
                Moved(self.name()).into(),
                format!("{} shows it; try again", command(&self.name(), "status")),
            )),
        }
    }

    /// Whether a process of the cluster is in a namespace. Another program's may have got the inode of one that is gone.
    pub(crate) fn is_inhabited(&self, namespace: u64) -> bool {
        self.find_namespace(Some(namespace), NO_NAMESPACE).is_some()
    }

    /// Moves this thread into the cluster's namespace if it is a fork, into a new one if the fork does not run. Otherwise
    /// moves it back.
    ///
    /// # Errors
    /// Fails without the right to do so.
    pub(crate) fn enter_namespace(&self) -> Result<()> {
        if !self.path().exists() {
            // A new cluster, of whose name nothing can run.
            return Ok(outside::leave()?);
        }
        let (recorded, outer) = match Found::look(self) {
            Found::NotOurs(_) => return Ok(()),
            Found::Whole(record) | Found::Copy(record, _) => match &record.host.fork {
                Some(fork) => (Some(record.host.namespace), Some(fork.outside)),
                None => return Ok(outside::leave()?),
            },
            Found::Unreadable(_) | Found::Nothing => (None, None),
        };
        let here = namespace()?;
        let mut found = self.find_namespace(recorded, here);
        // What a killed verb had begun, such as nft, ends by itself a moment later.
        for _ in 0..LOOKS {
            let is_left =
                |inode| inode != here && processes().any(|process| is_in(&process, inode));
            if found.is_some() || !recorded.is_some_and(is_left) {
                break;
            }
            std::thread::sleep(LOOK);
            found = self.find_namespace(recorded, here);
        }
        match found {
            Some(there) if there.metadata()?.ino() == here => {
                // This process was started there.
                outer.map_or(Ok(()), find_outside)
            }
            Some(there) => Ok(outside::enter(Some(&there))?),
            None if recorded.is_none() => Ok(outside::leave()?),
            None => self.enter_new_namespace().with_context(|| {
                format!(
                    "cannot make a network namespace for cluster `{}`",
                    self.name()
                )
            }),
        }
    }

    /// Moves this thread into a new namespace. The kernel soon gives the inode of one that is gone to another, so this one
    /// has an inode that no record names.
    fn enter_new_namespace(&self) -> Result<()> {
        let clusters = self.others().into_iter().chain([self.clone()]);
        let records = clusters.filter_map(|dir| Found::look(&dir).record());
        let named: Vec<_> = records.map(|record| record.host.namespace).collect();
        // Each keeps its inode until there is another.
        let mut held = Vec::new();
        loop {
            outside::enter(None)?;
            if !named.contains(&namespace()?) {
                return Ok(());
            }
            held.push(outside::here()?);
        }
    }

    /// The namespace in which processes of the cluster are: the recorded one, or without a record another one than
    /// `here`. A process with other mounts may mean another state folder.
    fn find_namespace(&self, recorded: Option<u64>, here: u64) -> Option<File> {
        let own_mounts = mounts()?;
        let keeper = format!("\0--folder={}\0", self.path().display());
        let tag = self.state().tag();
        let is_ours = |process: &Path| {
            let words = std::fs::read(process.join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words);
            let is_qemu = || {
                words
                    .split('\0')
                    .any(|word| is_name_of(word, &self.name(), &tag))
            };
            words.contains(&keeper) || is_qemu()
        };
        processes().find_map(|process| {
            let is_it = |namespace: &File| {
                let inode = namespace.metadata().map(|meta| meta.ino());
                inode.is_ok_and(|inode| match recorded {
                    Some(recorded) => inode == recorded,
                    None => inode != here && mounts_of(&process) == Some(own_mounts),
                })
            };
            // A QEMU is in a namespace of its own. Its taps are in the cluster's, and keep that alive.
            let there = || match taps(&process).first() {
                Some(tap) => namespace_of_tap(tap.as_fd()).ok(),
                None => File::open(process.join("ns/net")).ok(),
            };
            is_ours(&process).then(there).flatten().filter(is_it)
        })
    }
}

/// The inode of this process's mount namespace.
pub(crate) fn mounts() -> Option<u64> {
    Some(std::fs::metadata("/proc/self/ns/mnt").ok()?.ino())
}

/// The mount namespace of a process, or of the verb that started it.
fn mounts_of(process: &Path) -> Option<u64> {
    let environment = std::fs::read(process.join("environ")).unwrap_or_default();
    let mut variables = environment.split(|b| *b == 0);
    let named = variables.find_map(|v| v.strip_prefix(MOUNTS.as_bytes())?.strip_prefix(b"="));
    match named {
        Some(inode) => std::str::from_utf8(inode).ok()?.parse().ok(),
        None => Some(std::fs::metadata(process.join("ns/mnt")).ok()?.ino()),
    }
}

/// Whether this thread is in the namespace of a fork, which ends with the fork.
///
/// # Errors
/// Fails without /proc.
pub(crate) fn is_inside() -> Result<bool> {
    let here = namespace()?;
    Ok(match outside::outside() {
        Some(outside) => outside.metadata()?.ino() != here,
        None => false,
    })
}

/// Whether a word is the name of a QEMU of this cluster. Names of clusters may contain `-`, those of nodes none.
fn is_name_of(word: &str, cluster: &str, tag: &str) -> bool {
    let parts = || {
        let guest = word.strip_prefix("guest=kvmc-")?.split(',').next()?;
        let (guest, there) = guest.split_once('@')?;
        let there = match namespace_in(word) {
            Some(inode) => there.strip_suffix(&namespace_word(inode))?,
            None => there,
        };
        Some((guest.rsplit_once('-')?.0, there))
    };
    parts() == Some((cluster, tag))
}

/// Whether a process is in the network namespace with this inode.
fn is_in(process: &Path, inode: u64) -> bool {
    let namespace = std::fs::metadata(process.join("ns/net"));
    namespace.is_ok_and(|namespace| namespace.ino() == inode)
}

/// The taps that a process has open.
fn taps(process: &Path) -> Vec<OwnedFd> {
    let name = process.file_name().unwrap_or_default().to_string_lossy();
    let pid = name.parse().ok().and_then(Pid::from_raw);
    let Some(Ok(process_fd)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
        return Vec::new();
    };
    let entries = std::fs::read_dir(process.join("fd")).into_iter().flatten();
    let taps = entries.flatten().filter(|entry| {
        std::fs::read_link(entry.path()).is_ok_and(|to| to == Path::new("/dev/net/tun"))
    });
    taps.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        pidfd_getfd(&process_fd, number, PidfdGetfdFlags::empty()).ok()
    })
    .collect()
}

/// Finds the namespace outside for a process that was started in a fork's.
///
/// # Errors
/// Fails if no process is there any more.
pub(crate) fn find_outside(inode: u64) -> Result<()> {
    if outside::outside().is_some() {
        return Ok(());
    }
    let is_it = |process: &Path| {
        let namespace = File::open(process.join("ns/net")).ok()?;
        let is_it = namespace.metadata().ok()?.ino() == inode;
        is_it.then_some(namespace)
    };
    let found = processes().find_map(|process| is_it(&process));
    outside::set_outside(found.context("the network namespace outside of the fork's is gone")?);
    Ok(())
}

/// The folders of all processes.
fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qemu_is_of_the_cluster_of_its_whole_name() {
        let word = "guest=kvmc-k80-test-master0@1234abcd,debug-threads=on";
        assert!(is_name_of(word, "k80-test", "1234abcd"));
        let named = word.replace(',', ".net4026531840,");
        assert!(is_name_of(&named, "k80-test", "1234abcd"));
        for (cluster, tag) in [
            ("k80", "1234abcd"),
            ("k80-test", "00000000"),
            ("test", "1234abcd"),
        ] {
            assert!(!is_name_of(word, cluster, tag), "{cluster} {tag}");
        }
        assert!(!is_name_of(
            "kvmc-k80-test-master0@1234abcd",
            "k80-test",
            "1234abcd"
        ));
    }
}
