//! The names of all files in kvmc's state folder.
//!
//! ```text
//! <state>/
//!   images/…                      images (managed by kvmc-images)
//!   warm/…                        frozen machines (managed by src/warm)
//!   accel.json                    cache of the accelerator that works on this host
//!   kvmc.log                      what verbs with `--verbose` or `--debug` did
//!   fixes.json                    what `doctor --fix` did to the host, until `doctor --undo`
//!   host.json                     original sysctls of the host, while a cluster has them changed
//!   clusters/<name>/
//!     cluster.json                the record: the specification and every host object
//!     cluster.json.last           the last good copy of the record
//!     files.json                  files written into the project folder, with digests
//!     sessions/<pid>.json         sessions of `kvmc ssh`
//!     ties/<id>.json              folders that are mounted from nodes, or shared with them
//!     ssh-users.json              users whose ~/.ssh/config has the cluster's line
//!     secrets.json                keys and password, 0600
//!     lock                        flock: one writer a cluster
//!     events.jsonl leases
//!     at-boot                     mark of a cluster that starts with the host
//!     nodes/<node>/
//!       disk.qcow2                overlay on an image or a frozen machine
//!       process.json              pid, start time and boot id of its QEMU
//!       end.json                  how and when QEMU last ended
//!       asleep, waking            marks of a node that will wake, or that is waking
//!       console.log console.times   the console's output, and when it came
//!       qemu.log qmp.log
//!       standby/                  the same of a QEMU that may take its place
//! ```

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::hint::bail_with_hint;

/// `sun_path` holds 108 bytes with the terminating zero (unix(7)).
const LONGEST_SOCKET: usize = 107;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    root: PathBuf,
}

/// The state folder of root.
pub(crate) const OF_ROOT: &str = "/var/lib/kvmc";

impl State {
    /// Locates `KVMC_STATE_DIR`, else `/var/lib/kvmc` for root, else `$XDG_STATE_HOME/kvmc`.
    ///
    /// Under sudo the effective user is root, so the state is never split between two homes.
    ///
    /// # Errors
    /// Fails if a path is relative, or if there is no home.
    pub(crate) fn locate(read: impl Fn(&str) -> Option<String>, is_root: bool) -> Result<Self> {
        let set = |name: &str| read(name).filter(|v| !v.is_empty());
        let root = if let Some(dir) = set("KVMC_STATE_DIR") {
            PathBuf::from(dir)
        } else if is_root {
            PathBuf::from(OF_ROOT)
        } else if let Some(dir) = set("XDG_STATE_HOME") {
            Path::new(&dir).join("kvmc")
        } else if let Some(home) = set("HOME") {
            Path::new(&home).join(".local/state/kvmc")
        } else {
            bail_with_hint!(
                "set KVMC_STATE_DIR to a folder",
                "the state has no folder, because HOME is not set"
            );
        };
        if !root.is_absolute() {
            bail_with_hint!(
                "set KVMC_STATE_DIR to a path that begins with /",
                "the state folder `{}` is not an absolute path",
                root.display()
            );
        }
        Ok(Self { root })
    }

    /// A state folder with a known path.
    pub(crate) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn accel_cache(&self) -> PathBuf {
        self.root.join("accel.json")
    }

    /// What verbs with `--verbose` or `--debug` did.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("kvmc.log")
    }

    /// What `doctor --fix` did to the host.
    pub(crate) fn fixes(&self) -> PathBuf {
        self.root.join("fixes.json")
    }

    /// The original values of the host's sysctls.
    pub(crate) fn host_before(&self) -> PathBuf {
        self.root.join("host.json")
    }

    pub(crate) fn clusters(&self) -> PathBuf {
        self.root.join("clusters")
    }

    pub(crate) fn cluster(&self, name: &str) -> ClusterDir {
        ClusterDir {
            dir: self.clusters().join(name),
        }
    }

    /// The sorted names of all clusters that have a folder.
    pub(crate) fn cluster_names(&self) -> Vec<String> {
        let Ok(entries) = fs_err::read_dir(self.clusters()) else {
            return Vec::new();
        };
        let mut names: Vec<_> = entries
            .flatten()
            .filter(|e| e.path().is_dir())
            .filter_map(|e| e.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClusterDir {
    dir: PathBuf,
}

impl ClusterDir {
    /// The state folder of this cluster.
    pub(crate) fn state(&self) -> State {
        let root = self.dir.ancestors().nth(2).unwrap_or(&self.dir);
        State {
            root: root.to_owned(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }
    /// The folders of all other clusters in the state folder.
    pub(crate) fn others(&self) -> Vec<Self> {
        let Some(clusters) = self.dir.parent() else {
            return Vec::new();
        };
        let entries = std::fs::read_dir(clusters).into_iter().flatten().flatten();
        let mut others: Vec<_> = entries
            .map(|e| Self { dir: e.path() })
            .filter(|other| other.dir != self.dir)
            .collect();
        others.sort_by(|a, b| a.dir.cmp(&b.dir));
        others
    }
    pub(crate) fn record(&self) -> PathBuf {
        self.dir.join("cluster.json")
    }
    pub(crate) fn last_record(&self) -> PathBuf {
        self.dir.join("cluster.json.last")
    }
    pub(crate) fn files(&self) -> PathBuf {
        self.dir.join("files.json")
    }
    /// The users whose ssh configuration includes the cluster's.
    pub(crate) fn ssh_users(&self) -> PathBuf {
        self.dir.join("ssh-users.json")
    }
    /// Folders that both this host and a node see, a file each.
    pub(crate) fn ties(&self) -> PathBuf {
        self.dir.join("ties")
    }
    /// The sessions of `kvmc ssh`, a file each.
    pub(crate) fn sessions(&self) -> PathBuf {
        self.dir.join("sessions")
    }
    /// The file of the session whose ssh has this pid.
    pub(crate) fn session(&self, pid: i32) -> PathBuf {
        self.sessions().join(format!("{pid}.json"))
    }
    pub(crate) fn secrets(&self) -> PathBuf {
        self.dir.join("secrets.json")
    }
    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }
    pub(crate) fn keeper_socket(&self) -> PathBuf {
        self.dir.join("keeper.sock")
    }
    pub(crate) fn keeper_process(&self) -> PathBuf {
        self.dir.join("keeper.json")
    }
    pub(crate) fn keeper_log(&self) -> PathBuf {
        self.dir.join("keeper.log")
    }
    pub(crate) fn events(&self) -> PathBuf {
        self.dir.join("events.jsonl")
    }
    /// Exists if the cluster starts with the host.
    pub(crate) fn at_boot(&self) -> PathBuf {
        self.dir.join("at-boot")
    }
    /// The folder of the cluster's snapshots.
    pub(crate) fn snapshots(&self) -> PathBuf {
        self.dir.join("snapshots")
    }
    /// A snapshot's folder.
    pub(crate) fn snapshot(&self, name: &str) -> PathBuf {
        self.snapshots().join(name)
    }
    /// A snapshot that is being written. It becomes a snapshot when it is renamed.
    pub(crate) fn unfinished_snapshot(&self) -> PathBuf {
        self.snapshots().join(".saving")
    }
    /// The state of a suspended cluster, from which it resumes. It is a snapshot without images of its own.
    pub(crate) fn suspended(&self) -> PathBuf {
        self.dir.join("suspended")
    }
    /// What is to be restored: from when that is decided until the guests run.
    pub(crate) fn restoring(&self) -> PathBuf {
        self.dir.join("restoring.json")
    }
    /// What stands by while a command is tried.
    pub(crate) fn standby(&self) -> PathBuf {
        self.dir.join("standby.json")
    }
    pub(crate) fn firewall(&self) -> PathBuf {
        self.dir.join("firewall.json")
    }
    /// The last repair of bridges, ports and routes by the keeper.
    pub(crate) fn links(&self) -> PathBuf {
        self.dir.join("links.json")
    }
    /// Names that the name server cut off.
    pub(crate) fn cut_off(&self) -> PathBuf {
        self.dir.join("cut-off.json")
    }
    pub(crate) fn leases(&self) -> PathBuf {
        self.dir.join("leases")
    }
    /// The user's `user_data` for the nodes of a role, copied when the cluster was made.
    pub(crate) fn user_data(&self, role: &str) -> PathBuf {
        self.dir.join(format!("user-data.{role}"))
    }
    /// The content of [`Self::user_data`]. Before format 2, all roles shared one file.
    pub(crate) fn stored_user_data(&self, role: &str) -> Option<String> {
        let paths = [self.user_data(role), self.dir.join("user-data")];
        paths
            .iter()
            .find_map(|path| std::fs::read_to_string(path).ok())
    }
    pub(crate) fn artifact(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
    pub(crate) fn node(&self, name: &str) -> NodeDir {
        NodeDir {
            dir: self.dir.join("nodes").join(name),
        }
    }

    /// Refuses a folder with so long a path that a node's socket does not fit into `sun_path`.
    ///
    /// # Errors
    /// Fails with the path, its length and the limit.
    pub(crate) fn check_sockets<'a>(&self, nodes: impl Iterator<Item = &'a str>) -> Result<()> {
        for node in nodes {
            let socket = self.node(node).console_socket();
            let length = socket.as_os_str().len();
            if length > LONGEST_SOCKET {
                bail_with_hint!(
                    "set KVMC_STATE_DIR to a shorter path",
                    "the path of the state folder is too long for a socket: {} has {length} bytes, the limit is {LONGEST_SOCKET}",
                    socket.display()
                );
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeDir {
    dir: PathBuf,
}

impl NodeDir {
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }
    /// The folder of a QEMU that stands by to take the place of the node's, with sockets and files as of a node. Its disks
    /// are in the node's own folder.
    pub(crate) fn standby(&self) -> Self {
        Self {
            dir: self.dir.join("standby"),
        }
    }
    /// The lowest own image of the node's disk. It exists as long as the node's disk.
    pub(crate) fn disk(&self) -> PathBuf {
        self.dir.join("disk.qcow2")
    }
    /// The lowest own image of an extra disk; the first has the number 1.
    pub(crate) fn extra_disk(&self, number: usize) -> PathBuf {
        self.dir.join(format!("extra{number}.qcow2"))
    }
    /// Exists while the node has not run yet and will wake from a frozen machine.
    pub(crate) fn asleep(&self) -> PathBuf {
        self.dir.join("asleep")
    }
    /// Exists from the start of waking until the node has its identity.
    pub(crate) fn waking(&self) -> PathBuf {
        self.dir.join("waking")
    }
    /// Exists while kvmc has the guest paused, for a moment.
    pub(crate) fn pausing(&self) -> PathBuf {
        self.dir.join("pausing")
    }
    /// Exists while the disk of the running node grows.
    pub(crate) fn growing(&self) -> PathBuf {
        self.dir.join("growing")
    }
    /// How QEMU last ended.
    pub(crate) fn end(&self) -> PathBuf {
        self.dir.join("end.json")
    }
    /// The `NoCloud` seed of a node whose image has no agent.
    pub(crate) fn seed(&self) -> PathBuf {
        self.dir.join("seed.img")
    }
    /// The UEFI variables of a node that boots by UEFI.
    pub(crate) fn uefi_variables(&self) -> PathBuf {
        self.dir.join("uefi-vars.fd")
    }
    pub(crate) fn process(&self) -> PathBuf {
        self.dir.join("process.json")
    }
    pub(crate) fn qmp_socket(&self) -> PathBuf {
        self.dir.join("qmp.sock")
    }
    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.dir.join("agent.sock")
    }
    pub(crate) fn console_socket(&self) -> PathBuf {
        self.dir.join("console.sock")
    }
    pub(crate) fn console_log(&self) -> PathBuf {
        self.dir.join("console.log")
    }
    pub(crate) fn qemu_log(&self) -> PathBuf {
        self.dir.join("qemu.log")
    }
    pub(crate) fn qmp_log(&self) -> PathBuf {
        self.dir.join("qmp.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_folder_depends_on_user_and_environment() {
        let none = |_: &str| None;
        assert_eq!(
            State::locate(none, true).unwrap().root(),
            Path::new("/var/lib/kvmc")
        );
        assert!(State::locate(none, false).is_err());
        let home = |n: &str| (n == "HOME").then(|| "/home/a".to_owned());
        assert_eq!(
            State::locate(home, false).unwrap().root(),
            Path::new("/home/a/.local/state/kvmc")
        );
        let relative = |n: &str| (n == "KVMC_STATE_DIR").then(|| "x".to_owned());
        assert!(State::locate(relative, true).is_err());
    }

    #[test]
    fn too_long_a_path_is_refused_with_its_length() {
        let deep = State {
            root: PathBuf::from(format!("/{}", "d".repeat(90))),
        };
        let error = deep
            .cluster("k80")
            .check_sockets(["master0"].into_iter())
            .unwrap_err();
        assert!(error.to_string().contains("the limit is 107"), "{error}");
    }
}
