//! Network namespaces, and whether one still exists.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;

/// Where ip(8) mounts the namespaces that it names.
const NAMED: &str = "/run/netns";

/// Inode of this thread's network namespace.
///
/// # Errors
/// Fails without /proc.
pub(crate) fn namespace() -> Result<u64> {
    Ok(fs_err::metadata("/proc/thread-self/ns/net")?.ino())
}

/// Whether a namespace is gone: no process is in it, and ip(8) has no name for it. A process of kvmc's whose namespace
/// may not be looked at counts as being in it.
pub(crate) fn namespace_is_gone(inode: u64) -> bool {
    let is_it = |path: &Path| std::fs::metadata(path).map(|meta| meta.ino() == inode);
    let entries = |folder: &str| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_process =
        |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let mut processes = entries("/proc").filter(|e| is_process(&e.file_name()));
    let is_inside = |process: &Path| match is_it(&process.join("ns/net")) {
        Ok(is_it) => is_it,
        Err(e) => e.kind() == ErrorKind::PermissionDenied && is_kvmcs(process),
    };
    !processes.any(|e| is_inside(&e.path()))
        && !entries(NAMED).any(|e| is_it(&e.path()).unwrap_or_default())
}

/// Whether a process is a keeper or a QEMU of kvmc's, whose arguments everybody may read. A process that has ended has
/// none.
fn is_kvmcs(process: &Path) -> bool {
    let arguments = std::fs::read(process.join("cmdline")).unwrap_or_default();
    let arguments = String::from_utf8_lossy(&arguments);
    arguments.contains("guest=kvmc-") || arguments.contains("\0keeper\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_with_a_process_is_not_gone() {
        assert!(!namespace_is_gone(namespace().unwrap()));
        assert!(namespace_is_gone(1));
    }
}
