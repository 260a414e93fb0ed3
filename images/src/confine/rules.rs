//! Landlock's rules for a program that reads an image, landlock(7): its libraries, its files, and nothing else.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};

/// The newest rights that the crate knows. It leaves out those that the kernel does not know.
const NEWEST: ABI = ABI::V10;
/// Folders of libraries, with the loader, as distributions have them.
const LIBRARIES: [&str; 9] = [
    "/lib",
    "/lib64",
    "/lib32",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib32",
    "/usr/local/lib",
    "/nix/store",
    "/gnu/store",
];
/// Folders and files that libraries and programs read: texts, the loader's cache, the programs' own settings.
const DATA: [&str; 5] = [
    "/usr/share",
    "/usr/local/share",
    "/etc/ld.so.cache",
    "/etc/mke2fs.conf",
    "/etc/e2fsck.conf",
];
const DEVICES: [&str; 2] = ["/dev/null", "/dev/urandom"];
/// Lists of further folders of libraries, ld.so.conf(5).
const LISTS: &str = "/etc/ld.so.conf.d";

/// What a program may open.
#[derive(Debug)]
pub(super) struct Opens<'a> {
    /// Its own file.
    pub(super) program: &'a Path,
    /// Files, and folders with all in them.
    pub(super) reads: &'a [&'a Path],
    /// Files that exist.
    pub(super) writes: &'a [&'a Path],
}

/// The file of a program that is run by name; `None` if there is none in PATH, or a script, whose interpreter may read
/// anything.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
    let found = std::fs::canonicalize(places.find(|place| place.is_file())?).ok()?;
    let mut magic = [0; 4];
    File::open(&found).ok()?.read_exact(&mut magic).ok()?;
    (magic == *b"\x7fELF").then_some(found)
}

/// The rules, as a descriptor for landlock_restrict_self(2); none if the kernel has no Landlock.
pub(super) fn rules(opens: &Opens<'_>) -> Option<OwnedFd> {
    make(opens).ok().flatten()
}

fn make(opens: &Opens<'_>) -> Result<Option<OwnedFd>, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let mut allow = |path: &Path, access: BitFlags<AccessFs>| -> Result<(), RulesetError> {
        let Ok(open) = PathFd::new(path) else {
            return Ok(());
        };
        let access = match path.is_dir() {
            true => access,
            false => access & AccessFs::from_file(NEWEST),
        };
        (&mut rules).add_rule(PathBeneath::new(open, access))?;
        Ok(())
    };
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    allow(opens.program, AccessFs::ReadFile | AccessFs::Execute)?;
    let libraries = LIBRARIES.iter().map(PathBuf::from);
    for folder in libraries.chain(beside(opens.program)).chain(listed()) {
        allow(&folder, read | AccessFs::Execute)?;
    }
    for path in DATA {
        allow(Path::new(path), read)?;
    }
    for device in DEVICES {
        allow(Path::new(device), AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    for path in opens.reads {
        allow(path, read)?;
    }
    for path in opens.writes {
        allow(
            path,
            AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate,
        )?;
    }
    Ok(rules.into())
}

/// The libraries of a program outside of the usual folders, as `/opt/qemu/bin/qemu-img` has them.
fn beside(program: &Path) -> Option<PathBuf> {
    let prefix = program.parent().and_then(Path::parent)?;
    let is_usual = ["/", "/usr", "/usr/local"].map(Path::new).contains(&prefix);
    (!is_usual).then(|| prefix.join("lib"))
}

/// The folders that the host's configuration of the loader names.
fn listed() -> Vec<PathBuf> {
    let files = std::fs::read_dir(LISTS).into_iter().flatten().flatten();
    let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
    let folders = texts.flat_map(|text| text.lines().map(PathBuf::from).collect::<Vec<_>>());
    // A line with `/` would allow the whole host.
    folders
        .filter(|folder| folder.is_absolute() && folder.components().count() > 2)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_in_place_of_a_program_is_told_apart() {
        let shell = find("sh").unwrap();
        assert!(shell.is_absolute() && shell.is_file());
        assert_eq!(find("no-program-of-this-name"), None);
        // ldd is a script on all distributions.
        assert_eq!(find("ldd"), None);
    }
}
