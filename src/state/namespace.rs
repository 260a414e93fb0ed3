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

/// The network namespace of a QEMU's taps, in its name before the first comma. QEMU itself is in one of its own.
const WORD: &str = ".net";

/// The ending of a QEMU's name that says which network namespace its taps are in.
pub(crate) fn namespace_word(inode: u64) -> String {
    format!("{WORD}{inode}")
}

/// The network namespace that the name of a QEMU of kvmc's says, as an inode; none if it was started by a version that
/// left QEMU in its cluster's namespace.
pub(crate) fn namespace_in(name: &str) -> Option<u64> {
    let name = name.strip_prefix("guest=kvmc-")?.split(',').next()?;
    name.rsplit_once(WORD)?.1.parse().ok()
}

/// Whether a namespace is gone: no process is in it, no QEMU has taps there, and ip(8) has no name for it. A process of kvmc's whose namespace
/// may not be looked at counts as being in it.
pub(crate) fn namespace_is_gone(inode: u64) -> bool {
    let is_it = |path: &Path| std::fs::metadata(path).map(|meta| meta.ino() == inode);
    let entries = |folder: &str| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_process =
        |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let mut processes = entries("/proc").filter(|e| is_process(&e.file_name()));
    let is_inside = |process: &Path| match of_taps(process) {
        // The inode of a QEMU's own namespace may have been another's before.
        Some(there) => there == inode,
        None => match is_it(&process.join("ns/net")) {
            Ok(is_inside) => is_inside,
            Err(e) => e.kind() == ErrorKind::PermissionDenied && is_kvmcs(process),
        },
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

/// The network namespace of a QEMU's taps, if its name says it.
fn of_taps(process: &Path) -> Option<u64> {
    let arguments = std::fs::read(process.join("cmdline")).unwrap_or_default();
    let mut arguments = arguments.split(|b| *b == 0);
    arguments.find_map(|a| namespace_in(std::str::from_utf8(a).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qemus_name_says_where_its_taps_are() {
        let name = format!(
            "guest=kvmc-k80-master0@0123abcd{},debug-threads=on",
            namespace_word(42)
        );
        assert_eq!(namespace_in(&name), Some(42));
        for other in [
            "guest=kvmc-k80-master0@0123abcd,debug-threads=on",
            "guest=other.net42,debug-threads=on",
            "guest=kvmc-k80-master0@0123abcd.netx",
            "",
        ] {
            assert_eq!(namespace_in(other), None, "{other}");
        }
    }

    #[test]
    fn a_namespace_with_a_process_is_not_gone() {
        assert!(!namespace_is_gone(namespace().unwrap()));
        assert!(namespace_is_gone(1));
    }
}
