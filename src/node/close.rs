//! Empties the root of a QEMU that has started: it needs no file by its path any more.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use super::process::{Handle, Identity};
use super::world::{NAME, shares, shown_for_tests};

/// Takes away all that is mounted in a QEMU's root, its /proc included. What is open stays open. A QEMU that has no root
/// of its own keeps the host's.
///
/// # Errors
/// Fails if it cannot be done. QEMU keeps its root then, which is read-only.
pub(crate) fn close(process: &Identity, handle: &Handle) -> Result<()> {
    let folder = Path::new("/proc").join(process.pid.to_string());
    let text = fs_err::read_to_string(folder.join("mountinfo"))?;
    let Some(points) = points(&text) else {
        return Ok(());
    };
    ensure!(
        shares(process.pid, "mnt") == Some(false),
        "its mounts are the host's"
    );
    let namespace = File::open(folder.join("ns/mnt"))?;
    // Of the same process as long as that lives.
    if handle.has_ended(std::time::Duration::ZERO) {
        return Ok(());
    }
    let kept = shown_for_tests();
    let points = points.into_iter().filter(|p| Some(p) != kept.as_ref());
    let points: Vec<_> = points
        .filter_map(|p| CString::new(p.into_os_string().into_vec()).ok())
        .collect();
    // A thread of its own, because it stays in the namespace.
    let work = std::thread::spawn(move || unmount(namespace, &points));
    match work.join() {
        Ok(done) => done,
        Err(_) => bail!("the thread that empties a root panicked"),
    }
}

fn unmount(namespace: File, points: &[CString]) -> Result<()> {
    unshare(CloneFlags::CLONE_FS).context("a thread cannot have a root of its own")?;
    setns(namespace, CloneFlags::CLONE_NEWNS).context("a mount namespace cannot be entered")?;
    let root = statfs("/").context("a root cannot be read")?;
    ensure!(
        root.filesystem_type() == TMPFS_MAGIC,
        "its root is not kvmc's"
    );
    for point in points.iter().rev() {
        umount2(point.as_c_str(), MntFlags::MNT_DETACH)
            .with_context(|| format!("{} cannot be unmounted", point.to_string_lossy()))?;
    }
    Ok(())
}

/// The mount points of a process in the order of mounting, without the root; none if the root is not one of ours.
fn points(mountinfo: &str) -> Option<Vec<PathBuf>> {
    let mut is_ours = false;
    let mut points = Vec::new();
    for line in mountinfo.lines() {
        let (mount, source) = line.split_once(" - ")?;
        let point = unescape(mount.split(' ').nth(4)?);
        if point == Path::new("/") {
            let mut source = source.split(' ');
            let name = Some(NAME.to_str().ok()?);
            is_ours = source.next() == Some("tmpfs") && source.next() == name;
        } else {
            points.push(point);
        }
    }
    is_ours.then_some(points)
}

/// Turns `\040` and its like into bytes, proc_pid_mountinfo(5).
fn unescape(word: &str) -> PathBuf {
    let mut rest = word.as_bytes();
    let mut bytes = Vec::new();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        let byte = digits.and_then(|d| u8::from_str_radix(d, 8).ok());
        match (first, byte) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from(OsStr::from_bytes(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_root_of_ours_is_emptied() {
        let ours = "30 29 0:40 / / ro,nosuid - tmpfs kvmc-world ro,size=64k\n\
            31 30 8:1 /usr/lib /usr/lib ro,nosuid,nodev - ext4 /dev/sda1 rw\n\
            32 30 8:1 /x /opt/my\\040qemu ro - ext4 /dev/sda1 rw\n\
            33 30 0:41 / /proc rw shared:7 - proc proc rw\n";
        let expected = ["/usr/lib", "/opt/my qemu", "/proc"].map(PathBuf::from);
        assert_eq!(points(ours).unwrap(), expected);
        assert_eq!(
            points(&ours.replace("tmpfs kvmc-world", "tmpfs tmpfs")),
            None
        );
        assert_eq!(points(&ours.replace("tmpfs kvmc", "ext4 kvmc")), None);
        assert_eq!(points("junk"), None);
        assert_eq!(points(""), None);
        let host = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert_eq!(points(&host), None);
    }
}
