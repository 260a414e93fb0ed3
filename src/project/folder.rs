//! Checks a folder before a cluster's files are written into it.

use std::path::Path;

use anyhow::{Context, Error, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat, geteuid};

use super::common::{HEADER, NAMES, sealed_for};
use super::quote;
use crate::hint::{WithHint, add_hint, command};
use crate::state::{ClusterDir, ClusterRecord, Standing};

/// The folder that hints offer, relative to the one in which `up` is run.
const BESIDE: &str = ".kvmc";

/// Refuses a folder that cannot be made, written or quoted, or that has something else with the files' names.
///
/// # Errors
/// Fails at the first fault, with a hint.
pub(crate) fn check(folder: &Path, cluster: &str) -> Result<()> {
    let elsewhere = || elsewhere(cluster, folder);
    quote::check(folder).hint(elsewhere)?;
    let shown = folder.display();
    let into = match std::fs::metadata(folder) {
        Ok(there) if there.is_dir() => folder,
        Ok(_) => return Err(add_hint(anyhow!("{shown} is not a directory"), elsewhere())),
        // kvmc makes the folder, but not the one above it.
        Err(_) => match folder.parent().filter(|p| p.is_dir()) {
            Some(parent) => parent,
            None => {
                let error = anyhow!("the folder that {shown} is to be in is not there");
                return Err(add_hint(error, elsewhere()));
            }
        },
    };
    let rights = AccessFlags::W_OK | AccessFlags::X_OK;
    match faccessat(AT_FDCWD, into, rights, AtFlags::AT_EACCESS) {
        // A user without root is told to use sudo.
        Err(Errno::EACCES) if !geteuid().is_root() => {}
        may => may
            .map_err(std::io::Error::from)
            .with_context(|| format!("{} cannot be written", into.display()))
            .hint(elsewhere)?,
    }
    for name in NAMES {
        check_name(folder, name, cluster)?;
    }
    Ok(())
}

/// Refuses what exists under a file's name, unless it is an unchanged file of kvmc.
///
/// # Errors
/// Says what exists there, with a hint.
pub(super) fn check_name(folder: &Path, name: &str, cluster: &str) -> Result<()> {
    let path = folder.join(name);
    let standing =
        Standing::look(&path).with_context(|| format!("{} cannot be read", path.display()));
    let refuse = |why: &str| -> Result<()> {
        let error = anyhow!("{} {why}", path.display());
        Err(add_hint(error, way_out(cluster, folder)))
    };
    let text = match standing? {
        Standing::Nothing => return Ok(()),
        Standing::Other(what) => return refuse(&format!("is {what}; kvmc writes a file there")),
        Standing::Plain(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    let is_made_here = match name {
        "id_rsa.pub" => is_our_key(&text),
        "id_rsa" => matches!(
            Standing::look(&folder.join("id_rsa.pub")),
            Ok(Standing::Plain(public)) if is_our_key(&String::from_utf8_lossy(&public))
        ),
        _ => sealed_for(&text).is_some(),
    };
    if is_made_here {
        return Ok(());
    }
    refuse(match text.starts_with(HEADER) {
        true => "was made by kvmc and may have been changed since",
        false => "exists, but kvmc did not make it",
    })
}

/// Whether a public key is of a cluster's admin, by its comment.
fn is_our_key(text: &str) -> bool {
    text.trim_end().ends_with("(kvmc)")
}

/// Refuses a folder that has another cluster's files.
///
/// # Errors
/// Names the cluster, with a hint.
pub(crate) fn check_clusters(folder: &Path, cluster: &str, dir: &ClusterDir) -> Result<()> {
    let shown = folder.display();
    let refuse = |other: &str| -> Error {
        let error = anyhow!("{shown} has the files of cluster `{other}`");
        add_hint(error, elsewhere(cluster, folder))
    };
    for other in dir.others() {
        if let Ok(Some(record)) = ClusterRecord::load(&other)
            && is_same(&record.project, folder)
        {
            return Err(refuse(&record.spec.name));
        }
    }
    // The cluster may be of another state folder.
    for name in NAMES {
        if let Ok(Standing::Plain(bytes)) = Standing::look(&folder.join(name))
            && let Some(other) = std::str::from_utf8(&bytes).ok().and_then(sealed_for)
            && other != cluster
        {
            return Err(refuse(other));
        }
    }
    Ok(())
}

fn is_same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    a == b || real(a).is_some_and(|a| real(b) == Some(a))
}

fn way_out(cluster: &str, folder: &Path) -> String {
    format!("move it away; or {}", elsewhere(cluster, folder))
}

fn elsewhere(cluster: &str, folder: &Path) -> String {
    let beside = match folder.ends_with(BESIDE) {
        true => "DIR",
        false => BESIDE,
    };
    let up = command(cluster, &format!("up --files {beside}"));
    format!("{up} puts the files for Ansible and ssh in another folder")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::hints;

    /// Makes something at a path.
    type Make<'a> = &'a dyn Fn(&Path);

    fn refused(folder: &Path) -> (String, String) {
        let error = check(folder, "k80").unwrap_err();
        (format!("{error:#}"), hints(&error).join("; "))
    }

    #[test]
    fn what_stands_in_the_place_of_a_file_is_refused_with_the_way_out() {
        let fifo = |path: &Path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let cases: [(&str, Make<'_>, &str); 7] = [
            (
                "inventory",
                &|p| std::fs::create_dir(p).unwrap(),
                "is a directory",
            ),
            ("inventory", &fifo, "is a FIFO"),
            ("id_rsa", &fifo, "is a FIFO"),
            (
                "ssh_config",
                &|p| std::os::unix::fs::symlink("/nowhere", p).unwrap(),
                "is a link",
            ),
            (
                "id_rsa.pub",
                &|p| std::fs::write(p, "ssh-rsa A me@home\n").unwrap(),
                "exists, but kvmc did not make it",
            ),
            (
                "known_hosts",
                &|p| std::fs::write(p, "a ssh-rsa A\n").unwrap(),
                "exists, but kvmc did not make it",
            ),
            (
                "inventory",
                &|p| std::fs::write(p, format!("{HEADER} for\n[mine]\n")).unwrap(),
                "was made by kvmc and may have been changed",
            ),
        ];
        for (name, make, expected) in cases {
            let dir = tempfile::tempdir().unwrap();
            check(dir.path(), "k80").unwrap();
            make(&dir.path().join(name));
            let (error, hint) = refused(dir.path());
            assert!(error.contains(&format!("/{name} {expected}")), "{error}");
            assert!(hint.contains(" up --files .kvmc`"), "{hint}");
        }
    }

    #[test]
    fn a_folder_that_cannot_hold_the_files_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        check(&dir.path().join("new"), "k80").unwrap();
        let (error, _) = refused(&dir.path().join("a/b"));
        assert!(error.contains("/a/b is to be in is not there"), "{error}");
        std::fs::write(dir.path().join("file"), "").unwrap();
        let (error, _) = refused(&dir.path().join("file"));
        assert!(error.ends_with("/file is not a directory"), "{error}");
        // Nothing can be written there, whoever asks.
        let (error, hint) = refused(Path::new("/proc/sys"));
        assert!(error.contains("cannot be") && !hint.is_empty(), "{error}");
        let (error, _) = refused(Path::new("/tmp/${HOME}"));
        assert!(error.contains("has `${`"), "{error}");
    }
}
