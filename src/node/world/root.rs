//! The root of a QEMU: the program, its loader, its libraries and its firmware, read-only, and a /proc of its own.
//!
//! All of it is public data of the host's packages. Nodes' files come as descriptors. Once QEMU has started, even these
//! are taken away.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::elf::{self, Program};

/// Folders of libraries and firmware, as distributions have them.
const FOLDERS: [&str; 11] = [
    "/lib",
    "/lib64",
    "/lib32",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib32",
    "/usr/local/lib",
    "/usr/share/qemu",
    "/usr/share/qemu-kvm",
    "/usr/share/seabios",
    "/usr/local/share/qemu",
];
/// Where NixOS and Guix have everything, a folder for each package.
const STORES: [&str; 2] = ["/nix/store", "/gnu/store"];
/// What the loader reads beside the libraries.
const CACHE: &str = "/etc/ld.so.cache";
/// `/dev/kvm` can be opened by path only; the others are what libraries fall back to.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/urandom", "/dev/kvm"];
/// Lists of further folders of libraries, ld.so.conf(5).
const LISTS: [&str; 2] = ["/etc/ld.so.conf", "/etc/ld.so.conf.d"];

/// The source of the root's mount, by which it is known.
pub(in crate::node) const NAME: &CStr = c"kvmc-world";

/// A negative control's counterpart, for the tests' fake QEMU only: this folder is in the world of every QEMU, writable.
const SHOWN: &str = "KVMC_UNSAFE_SHOW";

/// The folder of [`SHOWN`].
pub(in crate::node) fn shown_for_tests() -> Option<PathBuf> {
    std::env::var_os(SHOWN)
        .map(Into::into)
        .filter(|p: &PathBuf| p.is_absolute() && p.is_dir())
}

/// What something in the root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Program,
    Folder,
    Store,
    File,
    Device,
    /// A folder for the tests' fake QEMU.
    Writable,
}

impl Kind {
    const fn is_folder(self) -> bool {
        matches!(self, Self::Folder | Self::Store | Self::Writable)
    }
}

/// Something of the host that is in the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    /// Its path on the host, without symbolic links.
    pub(super) from: PathBuf,
    /// Its path in the root.
    at: PathBuf,
    pub(super) kind: Kind,
}

/// The paths for the child, which must not allocate.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) from: CString,
    /// Relative to the root.
    pub(super) at: CString,
    pub(super) kind: MountKind,
}

/// How something is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MountKind {
    Folder,
    File,
    Device,
    Writable,
}

/// A root to be built.
#[derive(Debug)]
pub(super) struct Root {
    shown: Vec<Shown>,
    /// Where it is built.
    pub(super) over: CString,
    /// Folders to make, parents first, relative to the root.
    pub(super) folders: Vec<CString>,
    /// Targets and places of symbolic links.
    pub(super) links: Vec<(CString, CString)>,
    pub(super) mounts: Vec<Mount>,
}

impl Root {
    /// The root for a program, built over `folder`; none if the program is a script, whose needs nobody knows.
    pub(super) fn of(program: &Path, folder: &Path) -> Option<Self> {
        let real = std::fs::canonicalize(program).ok()?;
        let Program::Elf(loader) = elf::look(&real) else {
            return None;
        };
        let mut wanted = vec![
            (program.to_owned(), Kind::Program),
            (real.clone(), Kind::Program),
        ];
        wanted.extend(loader.map(|loader| (loader, Kind::Program)));
        let folders = FOLDERS.iter().map(PathBuf::from);
        let folders = folders.chain(beside(&real)).chain(listed());
        wanted.extend(folders.map(|f| (f, Kind::Folder)));
        wanted.extend(STORES.map(|f| (f.into(), Kind::Store)));
        wanted.push((CACHE.into(), Kind::File));
        wanted.extend(DEVICES.map(|f| (f.into(), Kind::Device)));
        wanted.extend(shown_for_tests().map(|f| (f, Kind::Writable)));
        Self::with(wanted, folder)
    }

    fn with(wanted: Vec<(PathBuf, Kind)>, over: &Path) -> Option<Self> {
        let mut shown: Vec<Shown> = Vec::new();
        let mut links = Vec::new();
        for (at, kind) in wanted {
            if shown.iter().any(|s| s.at == at) || !at.is_absolute() {
                continue;
            }
            // `/lib` of most hosts leads to `/usr/lib`.
            let is_top = at.components().count() == 2;
            if let (true, Ok(target)) = (is_top, std::fs::read_link(&at)) {
                links.push((c(&target)?, c(&relative(&at)?)?));
                continue;
            }
            if let Ok(from) = std::fs::canonicalize(&at) {
                shown.push(Shown { from, at, kind });
            }
        }
        // The loader is a rule for Landlock, but lies in a folder that is there already.
        let is_inside = |s: &Shown| {
            let others = shown.iter().filter(|o| o.kind.is_folder() && *o != s);
            others
                .into_iter()
                .any(|o| s.from.starts_with(&o.from) && s.at.starts_with(&o.at))
        };
        let link_of = |path: &Path| links.iter().any(|(_, at)| begins(path, at));
        let mut folders = BTreeSet::new();
        let mut mounts = Vec::new();
        for one in &shown {
            if is_inside(one) || link_of(&one.at) {
                continue;
            }
            let at = relative(&one.at)?;
            let parents = at.ancestors().skip(usize::from(!one.kind.is_folder()));
            folders.extend(parents.filter(|p| *p != Path::new("")).map(Path::to_owned));
            mounts.push(Mount {
                from: c(&one.from)?,
                at: c(&at)?,
                kind: match one.kind {
                    Kind::Folder | Kind::Store => MountKind::Folder,
                    Kind::Program | Kind::File => MountKind::File,
                    Kind::Device => MountKind::Device,
                    Kind::Writable => MountKind::Writable,
                },
            });
        }
        folders.insert("proc".into());
        Some(Self {
            over: c(over)?,
            folders: folders.iter().map(|f| c(f)).collect::<Option<_>>()?,
            links,
            mounts,
            shown,
        })
    }

    /// Everything that Landlock is to allow.
    pub(super) fn shown(&self) -> &[Shown] {
        &self.shown
    }
}

/// The libraries and data of a program outside of the usual folders, as `/opt/qemu/bin/qemu-system-x86_64` has them.
fn beside(program: &Path) -> Vec<PathBuf> {
    let usual = ["/", "/usr", "/usr/local"].map(Path::new);
    let prefix = program.parent().and_then(Path::parent);
    match prefix.filter(|p| !usual.contains(p)) {
        Some(prefix) => ["lib", "lib64", "share/qemu"]
            .map(|f| prefix.join(f))
            .to_vec(),
        None => Vec::new(),
    }
}

/// The folders that the host's configuration of the loader names.
fn listed() -> Vec<PathBuf> {
    let entries = |path: &str| -> Vec<PathBuf> {
        let found = std::fs::read_dir(path).into_iter().flatten().flatten();
        let files: Vec<_> = found.map(|e| e.path()).collect();
        if files.is_empty() {
            vec![path.into()]
        } else {
            files
        }
    };
    let texts = LISTS.into_iter().flat_map(entries);
    let texts = texts.filter_map(|path| std::fs::read_to_string(path).ok());
    texts.flat_map(|text| folders_of(&text)).collect()
}

fn folders_of(text: &str) -> Vec<PathBuf> {
    let lines = text
        .lines()
        .map(|l| l.split('#').next().unwrap_or_default().trim());
    // `include` names the second of the lists, or what nobody has.
    lines
        .filter(|l| l.starts_with('/') && *l != "/")
        .map(PathBuf::from)
        .collect()
}

/// The path below the root. A path with `..` is none of ours.
fn relative(path: &Path) -> Option<PathBuf> {
    let parts = path.components().skip(1);
    let plain = |part| matches!(part, Component::Normal(_));
    parts.clone().all(plain).then(|| parts.collect())
}

/// Whether a path lies below a symbolic link of the root, which leads to another place of it.
fn begins(path: &Path, link: &CString) -> bool {
    let link = Path::new(std::ffi::OsStr::from_bytes(link.as_bytes()));
    relative(path).is_some_and(|p| p.starts_with(link))
}

fn c(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(root: &Root) -> Vec<&str> {
        root.mounts.iter().map(|m| m.at.to_str().unwrap()).collect()
    }

    #[test]
    fn a_root_has_only_what_is_there_and_each_thing_once() {
        let dir = tempfile::tempdir().unwrap();
        let top = std::fs::canonicalize(dir.path()).unwrap();
        for folder in ["lib/deep", "share"] {
            std::fs::create_dir_all(top.join(folder)).unwrap();
        }
        std::fs::write(top.join("program"), "").unwrap();
        std::fs::write(top.join("lib/loader"), "").unwrap();
        let wanted = [
            ("program", Kind::Program),
            ("program", Kind::Program),
            ("lib/loader", Kind::Program),
            ("lib", Kind::Folder),
            ("lib/deep", Kind::Folder),
            ("missing", Kind::Folder),
            ("share", Kind::Folder),
        ];
        let wanted = wanted.map(|(path, kind)| (top.join(path), kind)).to_vec();
        let root = Root::with(wanted, Path::new("/over")).unwrap();
        let below = |path: &str| relative(&top.join(path)).unwrap().display().to_string();
        assert_eq!(
            places(&root),
            [below("program"), below("lib"), below("share")]
        );
        let allowed: Vec<_> = root.shown().iter().map(|s| s.kind).collect();
        assert_eq!(allowed.iter().filter(|k| **k == Kind::Program).count(), 2);
        let folders: Vec<_> = root.folders.iter().map(|f| f.to_str().unwrap()).collect();
        let at = |folder: &str| folders.iter().position(|f| *f == folder);
        assert!(at("proc").is_some());
        assert!(at(&below("lib")) > at(relative(&top).unwrap().to_str().unwrap()));
        assert_eq!(at(&below("lib/deep")), None);
        assert_eq!(at(&below("program")), None);
    }

    #[test]
    fn qemus_root_has_no_file_of_the_hosts_users() {
        let this = std::env::current_exe().unwrap();
        let root = Root::of(&this, Path::new("/over")).unwrap();
        for secret in [
            "etc/passwd",
            "root",
            "home",
            "var",
            "run",
            "tmp",
            "sys",
            "etc",
        ] {
            assert!(!places(&root).contains(&secret), "{secret} is there");
        }
        let program = relative(&this).unwrap().display().to_string();
        assert!(places(&root).contains(&program.as_str()));
        assert!(Root::of(Path::new("/missing"), Path::new("/over")).is_none());
    }

    #[test]
    fn a_programs_own_libraries_and_the_loaders_folders_are_found() {
        let beside = beside(Path::new("/opt/qemu/bin/qemu-system-x86_64"));
        assert_eq!(beside[0], Path::new("/opt/qemu/lib"));
        assert_eq!(beside[2], Path::new("/opt/qemu/share/qemu"));
        for usual in ["/usr/bin/q", "/usr/libexec/q", "/usr/local/bin/q", "/bin/q"] {
            assert!(super::beside(Path::new(usual)).is_empty(), "{usual}");
        }
        let text = "# all\ninclude /etc/ld.so.conf.d/*.conf\n/opt/lib # mine\n/\n\nrelative\n";
        assert_eq!(folders_of(text), [PathBuf::from("/opt/lib")]);
    }
}
