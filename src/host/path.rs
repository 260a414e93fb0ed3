//! Where programs are: in PATH, and in folders that a PATH may lack.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kvmc_images::Architecture;

/// Folders that root's PATH may lack, as in cron, doas or a systemd unit.
const FOLDERS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Runs kvmc again with a PATH that has all folders in which [`find_program`] looks, unless it has them. Otherwise a
/// program could be found here and not when it is started, by kvmc or by a program that it runs.
pub(crate) fn complete_path() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(complete) = completed(&path, |folder| folder.is_dir()) else {
        return;
    };
    // Without /proc kvmc goes on with the PATH that it has.
    let Ok(this) = std::env::current_exe() else {
        return;
    };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "kvmc".into());
    #[expect(clippy::disallowed_methods, reason = "it becomes this process")]
    let mut command = Command::new(this);
    let _returns_only_on_failure = command
        .arg0(name)
        .args(arguments)
        .env("PATH", complete)
        .exec();
}

/// A PATH with the folders that it lacks at its end; none if it lacks none.
fn completed(path: &std::ffi::OsStr, is_there: impl Fn(&Path) -> bool) -> Option<OsString> {
    let mut folders: Vec<_> = match path.is_empty() {
        true => Vec::new(),
        false => std::env::split_paths(path).collect(),
    };
    let lacking = FOLDERS.iter().map(PathBuf::from);
    let lacking: Vec<_> = lacking
        .filter(|f| !folders.contains(f) && is_there(f))
        .collect();
    if lacking.is_empty() {
        return None;
    }
    folders.extend(lacking);
    std::env::join_paths(folders).ok()
}

/// Finds a program by its name in PATH, or by its path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(FOLDERS.map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|p| is_executable(p))
}

fn is_executable(path: &Path) -> bool {
    let found = std::fs::metadata(path);
    found.is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// The system emulator of an architecture: by its usual name, or where Enterprise Linux has the host's.
pub(crate) fn find_qemu_program(architecture: Architecture) -> Option<PathBuf> {
    const ENTERPRISE: &str = "/usr/libexec/qemu-kvm";
    let usual = find_program(architecture.platform().qemu.program);
    let own = || (!architecture.is_foreign()).then(|| find_program(ENTERPRISE));
    usual.or_else(|| own().flatten())
}

/// As [`find_qemu_program`]; its usual name where there is none, for the error of starting it.
pub(crate) fn qemu_program(architecture: Architecture) -> PathBuf {
    let usual = architecture.platform().qemu.program;
    find_qemu_program(architecture).unwrap_or_else(|| usual.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_gets_the_folders_that_it_lacks_behind_its_own() {
        let of = |path: &str| {
            let is_there = |folder: &Path| !folder.starts_with("/usr/local");
            completed(path.as_ref(), is_there).map(|p| p.into_string().unwrap())
        };
        let all = Some("/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
        assert_eq!(of(""), all);
        assert_eq!(
            of("/opt:/bin"),
            Some("/opt:/bin:/usr/sbin:/usr/bin:/sbin".to_owned())
        );
        assert_eq!(of("/bin:/usr/bin:/sbin:/usr/sbin"), None);
    }

    #[test]
    fn a_file_that_cannot_be_run_is_no_program() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("qemu");
        std::fs::write(&file, "").unwrap();
        let name = file.display().to_string();
        assert_eq!(find_program(&name), None);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_program(&name), Some(file));
    }
}
