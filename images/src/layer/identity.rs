//! What in a root file system is one machine's own, and no image's.

use std::path::Path;

use super::ext::{Edits, Ext};
use crate::ImageError;

const MACHINE_ID: &str = "/etc/machine-id";
const SHADOW: &str = "/etc/shadow";
/// Where the agent says who the machine is, cloud-init runs when the agent has user-data for it: without
/// any it would take the machine for a new one, and make it other host keys.
const CLOUD_AGENT: (&str, &str) = ("/usr/lib/kvmc", "cloud.py");
const CLOUD_INIT: (&str, &str) = ("/etc/cloud", "cloud-init.disabled");
/// The user that kvmc makes on every node.
const ADMIN: &str = "admin";

/// Files: a folder, and how the names of those in it begin.
const FILES: [(&str, &str); 12] = [
    ("/etc/ssh", "ssh_host_"),
    ("/var/lib/dbus", "machine-id"),
    ("/var/lib/systemd", "random-seed"),
    ("/var/lib/systemd", "credential.secret"),
    ("/var/lib/urandom", "random-seed"),
    ("/var/lib/seedrng", "seed."),
    // The agent's mark that the machine has an identity.
    ("/var/lib/kvmc", "configured"),
    ("/var/lib/kvmc", "user-data"),
    ("/home/admin/.ssh", "authorized_keys"),
    ("/etc/udev/rules.d", "70-persistent-net.rules"),
    ("/var/lib/cloud", "instance"),
    ("/var/log", "cloud-init"),
];

/// Folders that stay, and all in them that goes.
const FOLDERS: [&str; 8] = [
    "/var/log/journal",
    // Who the machine was, with its host keys and the hash of its password.
    "/var/lib/cloud/instances",
    "/var/lib/cloud/data",
    "/var/lib/cloud/sem",
    "/var/lib/cloud/seed/nocloud",
    "/var/lib/dhcp",
    "/var/lib/NetworkManager",
    "/var/lib/systemd/network",
];

/// Takes it out; `folder` is to work in.
///
/// # Errors
/// A file system that cannot be changed, or that is damaged by it.
pub(super) fn take_out(root: &Ext, folder: &Path) -> Result<(), ImageError> {
    let mut edits = Edits::default();
    for path in own(root)? {
        match path {
            Own::File(path) => edits.remove_file(&path),
            Own::Folder(path) => edits.remove_folder(&path),
        }
    }
    if let Some(was) = root.look(MACHINE_ID)?.filter(super::ext::Entry::is_file) {
        // Empty, it is made at the next start; without the file some systems think it their first.
        let empty = folder.join("machine-id");
        fs_err::write(&empty, "")?;
        edits.replace(MACHINE_ID, &empty, &was);
    }
    if let Some(was) = root.look(SHADOW)?.filter(super::ext::Entry::is_file) {
        let path = folder.join("shadow");
        let text = root.read(SHADOW, &path)?;
        fs_err::write(&path, locked(&String::from_utf8_lossy(&text)))?;
        edits.replace(SHADOW, &path, &was);
    }
    let has = |(folder, name): (&str, &str)| -> Result<bool, ImageError> {
        Ok(root.list(folder)?.iter().any(|e| e.name == name))
    };
    if has(CLOUD_AGENT)? && !has(CLOUD_INIT)? {
        let empty = folder.join("disabled");
        fs_err::write(&empty, "")?;
        edits.create(&format!("{}/{}", CLOUD_INIT.0, CLOUD_INIT.1), &empty);
    }
    root.apply(&edits, folder)?;
    for name in ["machine-id", "shadow", "disabled"] {
        let _none_there = std::fs::remove_file(folder.join(name));
    }
    // debugfs says what it cannot do, and ends as if it could.
    match own(root)?.into_iter().next() {
        None => Ok(()),
        Some(Own::File(left) | Own::Folder(left)) => Err(ImageError::Unfit {
            path: left.into(),
            why: "cannot be taken out of the disk".to_owned(),
        }),
    }
}

enum Own {
    File(String),
    Folder(String),
}

/// All that there is of it, what is in a folder before the folder.
fn own(root: &Ext) -> Result<Vec<Own>, ImageError> {
    let mut all = Vec::new();
    for (folder, beginning) in FILES {
        for entry in root.list(folder)? {
            // A link leads to what is taken out in its own place.
            let goes = entry.is_file() || entry.name == "instance";
            if goes && entry.name.starts_with(beginning) {
                all.push(Own::File(format!("{folder}/{}", entry.name)));
            }
        }
    }
    for folder in FOLDERS {
        below(root, folder, &mut all)?;
    }
    Ok(all)
}

fn below(root: &Ext, folder: &str, all: &mut Vec<Own>) -> Result<(), ImageError> {
    for entry in root.list(folder)? {
        let path = format!("{folder}/{}", entry.name);
        if entry.is_folder() {
            below(root, &path, all)?;
            all.push(Own::Folder(path));
        } else {
            all.push(Own::File(path));
        }
    }
    Ok(())
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
