//! Finds the process that has a disk open, before QEMU is started on it. QEMU's own error names no process.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::fcntl::{FcntlArg, fcntl};

/// The bytes of an image that QEMU locks: from 100 for what it does, from 200 for what it forbids
/// (`RAW_LOCK_PERM_BASE` and `RAW_LOCK_SHARED_BASE` in block/file-posix.c).
const LOCKED: (i64, i64) = (100, 200);

/// Longest time that a killed QEMU keeps its locks after it has left /proc.
const LINGERING: Duration = Duration::from_secs(2);

/// Refuses a disk that a QEMU has open. A killed QEMU leaves /proc before it releases its locks, so this waits for it.
///
/// # Errors
/// Fails with the file and the process that has it open.
pub(super) fn check_unused(disk: &File, path: &Path) -> Result<()> {
    let until = Instant::now() + LINGERING;
    while is_locked(disk) {
        let holder = match holder(disk) {
            Some((pid, name)) => format!("pid {pid} ({name})"),
            None if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            None => "another process".to_owned(),
        };
        bail!(
            "{} is in use by {holder}; two machines on one disk would destroy it, so end that process first",
            path.display()
        );
    }
    Ok(())
}

/// A file system without such locks gives no answer. QEMU starts there too.
fn is_locked(disk: &File) -> bool {
    let (from, length) = LOCKED;
    let mut lock = nix::libc::flock {
        l_type: i16::try_from(nix::libc::F_WRLCK).unwrap_or_default(),
        l_whence: i16::try_from(nix::libc::SEEK_SET).unwrap_or_default(),
        l_start: from,
        l_len: length,
        l_pid: 0,
    };
    let asked = fcntl(disk, FcntlArg::F_OFD_GETLK(&mut lock));
    asked.is_ok() && i32::from(lock.l_type) != nix::libc::F_UNLCK
}

/// The first other process that has this file open. QEMU locks by open file descriptions, which do not show a pid.
fn holder(file: &File) -> Option<(i32, String)> {
    let own = file.metadata().ok()?;
    let own_pid = std::process::id();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        if u32::try_from(pid) == Ok(own_pid) {
            continue;
        }
        let fds = std::fs::read_dir(entry.path().join("fd"));
        let has_it = fds.into_iter().flatten().flatten().any(|fd| {
            std::fs::metadata(fd.path()).is_ok_and(|m| (m.dev(), m.ino()) == (own.dev(), own.ino()))
        });
        if has_it {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn p5_a_disk_of_a_killed_qemu_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        std::fs::write(&path, "x").unwrap();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        // This process's own descriptor does not count.
        let held = open();
        let (from, length) = LOCKED;
        let lock = nix::libc::flock {
            l_type: i16::try_from(nix::libc::F_WRLCK).unwrap(),
            l_whence: i16::try_from(nix::libc::SEEK_SET).unwrap(),
            l_start: from,
            l_len: length,
            l_pid: 0,
        };
        fcntl(&held, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
        let disk = open();
        assert!(is_locked(&disk));
        let release = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(held);
        });
        check_unused(&disk, &path).unwrap();
        release.join().unwrap();
    }

    #[test]
    fn p5_a_disk_that_a_qemu_has_is_refused_with_its_pid() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        std::fs::write(&path, "x").unwrap();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        check_unused(&open(), &path).unwrap();
        // Locks like QEMU does: one byte, for an open file description. 37 is F_OFD_SETLK.
        let script = "import fcntl,struct,sys,time
f=open(sys.argv[1],'r+b')
fcntl.fcntl(f,37,struct.pack('hhqqi4x',fcntl.F_RDLCK,0,101,1,0))
print('locked',flush=True)
time.sleep(60)";
        #[expect(clippy::disallowed_methods, reason = "a process that holds the disk")]
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let error = check_unused(&open(), &path).unwrap_err().to_string();
        let expected = format!("{} is in use by pid {}", path.display(), child.id());
        assert!(error.starts_with(&expected), "{error}");
        child.kill().unwrap();
        child.wait().unwrap();
        check_unused(&open(), &path).unwrap();
    }
}
