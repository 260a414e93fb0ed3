//! The programs that serve a tie: sshfs(1) on this host, or sshfs in the node with this host's files at the other end of
//! ssh.

#![allow(
    unsafe_code,
    reason = "setgroups(2) and capset(2) for one thread, for which libraries have no function"
)]

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, setfsgid, setfsuid};

use super::super::Ssh;
use super::super::ssh::{Said, last_line};
use super::record::Tie;
use super::sftp;
use crate::hint::add_hint;
use crate::model::TieKind;
use crate::project::shell_word;

/// What the script on the node says.
const ATTACHED: &str = "kvmc-attached";
const NO_SSHFS: &str = "kvmc-no-sshfs";
const NOT_EMPTY: &str = "kvmc-not-empty";
/// The beginning of what sshfs says when its ssh has ended.
const SSHFS_LOST: [&str; 2] = ["read: ", "write: "];
/// Longest line of such messages, in bytes.
const LONGEST: u64 = 4096;
/// Time that sshfs has to unmount.
const UNMOUNTS: Duration = Duration::from_secs(3);

/// Run on a node, with `p` as the folder and `ro` as a further option: mounts the folder at the other end of stdin and
/// stdout. What an earlier connection left is unmounted before.
const SHARE: &str = r#"case $p in /*) ;; *) p=$PWD/$p ;; esac; p=${p%/}
command -v sshfs >/dev/null 2>&1 || { echo kvmc-no-sshfs >&2; exit 1; }
r=; [ "$(id -u)" = 0 ] || r='sudo -n'
[ -e /dev/fuse ] || $r modprobe fuse 2>/dev/null
[ -e /dev/fuse ] || { echo 'the node has no /dev/fuse' >&2; exit 1; }
e=$(printf %s "$p" | sed 's/\\/\\134/g; s/ /\\040/g')
there() { grep -qF " $e fuse.sshfs " /proc/mounts; }
n=0; while there; do $r umount -l "$p"; n=$((n + 1)); [ $n -lt 20 ] || exit 1; done
mkdir -p "$p" 2>/dev/null || $r mkdir -p "$p" || exit 1
[ -z "$(ls -A "$p")" ] || { echo kvmc-not-empty >&2; exit 1; }
h=$(sshfs --help 2>&1); o=slave
case $h in *passive*) o=passive ;; esac; case $h in *no_contain_symlinks*) o=$o,no_contain_symlinks ;; esac
(until there; do [ -d /proc/$$ ] || exit; sleep 0.1; done; echo kvmc-attached >&2) </dev/null >/dev/null &
exec $r sshfs :/ "$p" -f -o "$o,allow_other,default_permissions,dcache_timeout=2,uid=$(id -u),gid=$(id -g)$ro""#;

/// A tie that is served.
pub(super) struct Serving {
    child: Child,
    tie: Tie,
    /// The last line that the program has written.
    last: Arc<Mutex<String>>,
    attached: Arc<AtomicBool>,
    /// ssh's own messages.
    said: Option<Said>,
}

impl Serving {
    /// # Errors
    /// Fails if the program cannot be started.
    pub(super) fn start(ssh: &Ssh, tie: &Tie) -> Result<Self> {
        match tie.kind {
            TieKind::Mount => Self::mount(ssh, tie),
            TieKind::Share => Self::share(ssh, tie),
        }
    }

    fn mount(ssh: &Ssh, tie: &Tie) -> Result<Self> {
        let mut command = ssh.sshfs();
        let mut options = "reconnect,idmap=user,dcache_timeout=2".to_owned();
        if Uid::effective().is_root() {
            let (uid, gid) = tie.owner;
            options += &format!(",allow_other,default_permissions,uid={uid},gid={gid}");
        }
        if tie.read_only {
            options += ",ro";
        }
        // A comma would end the option.
        let name = source(tie).replace('\\', "\\\\").replace(',', "\\,");
        options += &format!(",fsname={name}");
        command
            .arg("-f")
            .arg("-o")
            .arg(options)
            .arg(format!("{}:{}", tie.node, tie.path))
            .arg(&tie.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = match command.as_std_mut().spawn() {
            Ok(child) => child,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(add_hint(
                    anyhow!("this host has no sshfs, which mounts a node's folder"),
                    "the package is `sshfs` (Debian, Ubuntu, Arch, Alpine) or `fuse-sshfs` (Fedora)".to_owned(),
                ));
            }
            Err(e) => return Err(e).context("sshfs cannot be run"),
        };
        Ok(Self::of(child, tie, None))
    }

    fn share(ssh: &Ssh, tie: &Tie) -> Result<Self> {
        let said = Said::new()?;
        let ro = if tie.read_only { ",ro" } else { "" };
        let script = format!("p={}; ro={ro}\n{SHARE}", shell_word(&tie.path));
        let mut command = ssh.patient(&tie.node, &[script], &said);
        command.stdin(Stdio::piped());
        let mut child = command.as_std_mut().spawn().context("ssh cannot be run")?;
        let (Some(from), Some(to)) = (child.stdout.take(), child.stdin.take()) else {
            return Err(anyhow!("ssh has no pipes"));
        };
        let (folder, read_only, owner) = (tie.folder.clone(), tie.read_only, tie.owner);
        let serving = Self::of(child, tie, Some(said));
        let last = Arc::clone(&serving.last);
        std::thread::spawn(move || {
            let served =
                become_user(owner).and_then(|()| sftp::serve(&folder, read_only, from, to));
            if let Err(e) = served
                && e.kind() != ErrorKind::BrokenPipe
                && let Ok(mut last) = last.lock()
            {
                *last = e.to_string();
            }
        });
        Ok(serving)
    }

    fn of(mut child: Child, tie: &Tie, said: Option<Said>) -> Self {
        let last = Arc::new(Mutex::new(String::new()));
        let attached = Arc::new(AtomicBool::new(false));
        if let Some(stderr) = child.stderr.take() {
            let (last, attached) = (Arc::clone(&last), Arc::clone(&attached));
            std::thread::spawn(move || {
                let mut from = BufReader::new(stderr);
                let mut bytes = Vec::new();
                // A guest may write lines without an end, and bytes that are no text.
                while (&mut from)
                    .take(LONGEST)
                    .read_until(b'\n', &mut bytes)
                    .is_ok_and(|n| n > 0)
                {
                    let line = String::from_utf8_lossy(&std::mem::take(&mut bytes))
                        .trim_end()
                        .to_owned();
                    if line == ATTACHED {
                        attached.store(true, Ordering::Relaxed);
                    } else if let Some(line) = last_line(line.as_bytes())
                        && let Ok(mut last) = last.lock()
                        // ssh has said more before.
                        && (last.is_empty() || !SSHFS_LOST.iter().any(|lost| line.starts_with(lost)))
                    {
                        *last = line;
                    }
                }
            });
        }
        Self {
            child,
            tie: tie.clone(),
            last,
            attached,
            said,
        }
    }

    /// Whether the folder can be used.
    pub(super) fn is_attached(&self) -> bool {
        match self.tie.kind {
            TieKind::Mount => is_mounted(&self.tie),
            TieKind::Share => self.attached.load(Ordering::Relaxed),
        }
    }

    /// Why the program has ended; `None` while it runs. `install` is a command that runs another one on the node.
    pub(super) fn ended(&mut self, install: impl Fn(&str) -> String) -> Option<anyhow::Error> {
        let status = match self.child.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => status,
            Err(e) => return Some(e.into()),
        };
        // The thread that reads its messages has them all at once.
        std::thread::sleep(Duration::from_millis(50));
        let said = self.said.take().and_then(Said::last);
        let last = self
            .last
            .lock()
            .map(|last| last.clone())
            .unwrap_or_default();
        let node = &self.tie.node;
        Some(match (&*last, said) {
            (NO_SSHFS, _) => add_hint(
                anyhow!("{node} has no sshfs, which shows the folder there"),
                format!(
                    "{} installs it in a node with internet",
                    install("sudo apt-get install -y sshfs")
                ),
            ),
            (NOT_EMPTY, _) => anyhow!(
                "`{}` on {node} is not empty; the shared folder would hide what is in it",
                self.tie.path
            ),
            (_, Some(said)) if status.code() == Some(255) => anyhow!(said),
            ("", _) => anyhow!("the connection to {node} has ended"),
            (last, _) => anyhow!("{last}"),
        })
    }

    /// Ends the program, which unmounts the folder.
    pub(super) fn end(mut self) {
        let pid = i32::try_from(self.child.id()).unwrap_or_default();
        if pid > 0 && matches!(self.child.try_wait(), Ok(None)) {
            // The child is not waited for yet, so the pid is its own.
            let _ended_meanwhile = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let until = Instant::now() + UNMOUNTS;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ended_meanwhile = self.child.kill();
        let _status = self.child.wait();
        unmount(&self.tie);
    }
}

/// Unmounts a node's folder that is still mounted, whoever uses it.
pub(super) fn unmount(tie: &Tie) {
    if tie.kind == TieKind::Mount && is_mounted(tie) {
        let _told_by_status = umount2(
            &tie.folder,
            MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW,
        );
    }
}

/// What the list of mounts names as the source of a mount of kvmc's.
fn source(tie: &Tie) -> String {
    format!("kvmc:{}:{}", tie.node, tie.path)
}

/// Whether kvmc has the node's folder mounted, and not somebody else another one in its place. A look at the folder itself
/// could wait for the node.
fn is_mounted(tie: &Tie) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // Of mounts on one folder, the last is the one that is seen, and that would be unmounted.
    let folder = tie.folder.display().to_string();
    let last = mounts.lines().rfind(|line| is_at(line, &folder));
    last.is_some_and(|line| is_of(line, &source(tie)))
}

/// Whether a line of mountinfo, proc(5), is a mount at a folder.
fn is_at(line: &str, folder: &str) -> bool {
    line.split(' ').nth(4) == Some(&escaped(folder))
}

/// Whether a line of mountinfo is an sshfs with this source.
fn is_of(line: &str, source: &str) -> bool {
    let Some((_, kind)) = line.split_once(" - ") else {
        return false;
    };
    let mut words = kind.split(' ');
    words.next() == Some("fuse.sshfs")
        && words.next().map(|word| word.replace("\\043", "#")) == Some(escaped(source))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\134")
        .replace(' ', "\\040")
        .replace('\t', "\\011")
        .replace('\n', "\\012")
}

/// Gives this thread the rights of a user over files, and no others, if it is root's.
///
/// # Errors
/// Fails if the kernel refuses, as in some user namespaces.
fn become_user((uid, gid): (u32, u32)) -> std::io::Result<()> {
    /// linux/capability.h: the version of the header, and of root's rights those over files of others.
    const VERSION_3: u32 = 0x2008_0522;
    const OVER_FILES: u32 = 0b1110;
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let lost = || std::io::Error::other("the rights of the folder's user cannot be taken");
    if uid != 0 {
        // SAFETY: setgroups(2) with an empty list reads no memory. The system call changes this thread only.
        let left =
            unsafe { nix::libc::syscall(nix::libc::SYS_setgroups, 0, std::ptr::null::<u32>()) };
        if left != 0 {
            return Err(lost());
        }
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        setfsgid(gid);
        setfsuid(uid);
        // A second call returns what the first has set.
        if setfsgid(gid) != gid || setfsuid(uid) != uid {
            return Err(lost());
        }
    }
    // Writes would leave setuid bits in place, and use the blocks that are reserved for root.
    let rights = if uid == 0 { OVER_FILES } else { 0 };
    let head = [VERSION_3, 0];
    let data = [rights, rights, 0, 0, 0, 0];
    // SAFETY: capset(2) reads the header of two words and, for version 3, six words of data. It changes this thread only.
    let set = unsafe { nix::libc::syscall(nix::libc::SYS_capset, head.as_ptr(), data.as_ptr()) };
    match set {
        0 => Ok(()),
        _ => Err(lost()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mount_of_kvmcs_is_taken_for_the_nodes_folder() {
        let line = r"36 35 0:52 / /mnt/a\040b rw,nosuid shared:1 - fuse.sshfs kvmc:worker0:/a\040\043b rw,user_id=0";
        assert!(is_at(line, "/mnt/a b"));
        assert!(!is_at(line, "/mnt/a"));
        assert!(!is_at("", "/mnt/a"));
        assert!(is_of(line, "kvmc:worker0:/a #b"));
        assert!(!is_of(line, "kvmc:worker1:/a #b"));
        assert!(!is_of(
            &line.replace("fuse.sshfs", "ext4"),
            "kvmc:worker0:/a #b"
        ));
        assert!(!is_of(&line.replace("kvmc:", ""), "kvmc:worker0:/a #b"));
        assert!(!is_of("", ""));
    }
}
