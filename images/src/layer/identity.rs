//! Removes a machine's own data from a root file system: its identity, keys, logs and leases.

use std::collections::HashSet;
use std::path::Path;

use super::ext::{Edits, Entry, Ext};
use crate::error::ImageError;

const MACHINE_ID: &str = "/etc/machine-id";
const SHADOW: &str = "/etc/shadow";
/// Files of the agent in prepared cloud images; the second is that of older versions. In such images cloud-init must run
/// only when the agent has user-data. Otherwise it would take the machine for a new one, and make other host keys.
const CLOUD_AGENTS: [(&str, &str); 2] = [
    ("/usr/lib/kvmc/agent", "cloud.py"),
    ("/usr/lib/kvmc", "cloud.py"),
];
const CLOUD_INIT: (&str, &str) = ("/etc/cloud", "cloud-init.disabled");
/// The user that kvmc makes on every node.
const ADMIN: &str = "admin";
/// Bounds of the tree below one of [`FOLDERS`]: levels of folders, files and folders, bytes of a path (PATH_MAX).
const DEEPEST: usize = 32;
const MOST_ENTRIES: usize = 20_000;
const LONGEST_PATH: usize = 4095;

/// Files to remove: their folder, and the prefix of their names.
const FILES: [(&str, &str); 12] = [
    ("/etc/ssh", "ssh_host_"),
    ("/var/lib/dbus", "machine-id"),
    ("/var/lib/systemd", "random-seed"),
    ("/var/lib/systemd", "credential.secret"),
    ("/var/lib/urandom", "random-seed"),
    ("/var/lib/seedrng", "seed."),
    // The agent's marks: the machine has an identity, and its user-data was applied.
    ("/var/lib/kvmc", "configured"),
    ("/var/lib/kvmc", "user-data"),
    ("/home/admin/.ssh", "authorized_keys"),
    ("/etc/udev/rules.d", "70-persistent-net.rules"),
    ("/var/lib/cloud", "instance"),
    ("/var/log", "cloud-init"),
];

/// Folders to empty.
const FOLDERS: [&str; 8] = [
    "/var/log/journal",
    // cloud-init's copies of the seed, with host keys and the password's hash.
    "/var/lib/cloud/instances",
    "/var/lib/cloud/data",
    "/var/lib/cloud/sem",
    "/var/lib/cloud/seed/nocloud",
    "/var/lib/dhcp",
    "/var/lib/NetworkManager",
    "/var/lib/systemd/network",
];

/// Removes the identity; temporary files lie in `folder`.
///
/// # Errors
/// The file system cannot be changed, is damaged after the change, or exceeds a bound.
pub(super) fn remove(root: &Ext, folder: &Path) -> Result<(), ImageError> {
    let mut edits = Edits::default();
    for path in own_paths(root)? {
        match path {
            OwnPath::File(path) => edits.remove_file(&path),
            OwnPath::Folder(path) => edits.remove_folder(&path),
        }
    }
    if let Some(was) = root.look(MACHINE_ID)?.filter(Entry::is_file) {
        // systemd fills an empty file at the next boot. Without the file it would take that boot for the first one.
        let empty = folder.join("machine-id");
        fs_err::write(&empty, "")?;
        edits.replace(MACHINE_ID, &empty, &was);
    }
    if let Some(was) = root.look(SHADOW)?.filter(Entry::is_file) {
        let path = folder.join("shadow");
        let text = root.read(SHADOW, &path)?;
        fs_err::write(&path, locked(&String::from_utf8_lossy(&text)))?;
        edits.replace(SHADOW, &path, &was);
    }
    let has = |(folder, name): (&str, &str)| -> Result<bool, ImageError> {
        Ok(root.list(folder)?.iter().any(|e| e.name == name))
    };
    if (has(CLOUD_AGENTS[0])? || has(CLOUD_AGENTS[1])?) && !has(CLOUD_INIT)? {
        let empty = folder.join("disabled");
        fs_err::write(&empty, "")?;
        edits.create(&format!("{}/{}", CLOUD_INIT.0, CLOUD_INIT.1), &empty);
    }
    root.apply(&edits, folder)?;
    for name in ["machine-id", "shadow", "disabled"] {
        let _none_there = std::fs::remove_file(folder.join(name));
    }
    // debugfs exits with 0 even if an edit failed.
    match own_paths(root)?.into_iter().next() {
        None => Ok(()),
        Some(OwnPath::File(left) | OwnPath::Folder(left)) => Err(ImageError::Unfit {
            path: left.into(),
            why: "could not be removed from the disk".to_owned(),
        }),
    }
}

/// A path of the machine's own data.
enum OwnPath {
    File(String),
    Folder(String),
}

/// All existing paths of this kind, a folder's content before the folder.
fn own_paths(root: &Ext) -> Result<Vec<OwnPath>, ImageError> {
    let mut all = Vec::new();
    for (folder, beginning) in FILES {
        for entry in root.list(folder)? {
            // The target of a link is removed by its own path.
            let goes = entry.is_file() || entry.name == "instance";
            if goes && entry.name.starts_with(beginning) {
                all.push(OwnPath::File(format!("{folder}/{}", entry.name)));
            }
        }
    }
    for folder in FOLDERS {
        all.extend(below(root, folder)?);
    }
    Ok(all)
}

/// The tree below a folder, a folder's content before the folder. Does not follow links.
///
/// Users of the machine wrote these folders, so their depth, number and length of path are bounded. A folder that contains
/// itself, which only a damaged file system has, is refused.
fn below(root: &Ext, top: &str) -> Result<Vec<OwnPath>, ImageError> {
    let unfit = |what: &str, path: &str| ImageError::Unfit {
        path: "the disk".into(),
        why: format!(
            "has {what} below {top}: {}; remove it in the machine",
            shown(path)
        ),
    };
    let mut found = Vec::new();
    let mut folders = HashSet::new();
    let mut waiting = vec![(top.to_owned(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        for entry in root.list(&folder)? {
            let path = format!("{folder}/{}", entry.name);
            if found.len() >= MOST_ENTRIES {
                return Err(unfit(&format!("more than {MOST_ENTRIES} files"), &path));
            }
            if path.len() > LONGEST_PATH {
                return Err(unfit(
                    &format!("a path of more than {LONGEST_PATH} bytes"),
                    &path,
                ));
            }
            if !entry.is_folder() {
                found.push(OwnPath::File(path));
                continue;
            }
            if depth == DEEPEST {
                return Err(unfit(&format!("folders more than {DEEPEST} deep"), &path));
            }
            if !folders.insert(entry.inode) {
                return Err(unfit("a folder that has two names", &path));
            }
            waiting.push((path.clone(), depth + 1));
            found.push(OwnPath::Folder(path));
        }
    }
    // The search found each folder before its content.
    found.reverse();
    Ok(found)
}

/// The beginning of a path, for an error.
fn shown(path: &str) -> String {
    const LONGEST: usize = 120;
    match path.char_indices().nth(LONGEST) {
        None => format!("`{path}`"),
        Some((end, _)) => format!("`{}…`", path.get(..end).unwrap_or_default()),
    }
}

/// The text of /etc/shadow with the user's password locked, shadow(5).
fn locked(shadow: &str) -> String {
    let line = |line: &str| {
        let mut fields: Vec<_> = line.split(':').collect();
        if let [ADMIN, hash, ..] = fields.as_mut_slice() {
            *hash = "!";
        }
        fields.join(":") + "\n"
    };
    shadow.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_admin_alone_is_locked() {
        let before = "root:*:1::::::\nadmin:$6$x:1:0:99999:7:::\nadministrator:$6$y:1::::::\n";
        let after = "root:*:1::::::\nadmin:!:1:0:99999:7:::\nadministrator:$6$y:1::::::\n";
        assert_eq!(locked(before), after);
    }
}
