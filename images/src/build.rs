//! From a recipe to the files of a template, in a folder made for it.

use std::collections::HashSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::failpoint::failpoint;
use crate::{ImageError, Recipe, exec, initrd, mmdebstrap, runs_programs_of, second_stage, tree};

/// Room in a template's file system beyond what the packages take, in bytes; nodes grow it anyway.
const SPARE: u64 = 160 << 20;
/// Files of packages that no node needs, as dpkg's `path-exclude` has it.
const EXCLUDED: [&str; 5] = [
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
    // The initrd is ours; making the kernel package's takes minutes when all programs are emulated.
    "/etc/kernel/postinst.d/initramfs-tools",
];

/// What is installed, beside what the recipe names itself.
pub(crate) struct Wanted<'a> {
    pub(crate) packages: &'a [String],
    /// Patterns of files that are left out, as dpkg's `path-exclude` has them.
    pub(crate) excluded: &'a [&'a str],
    /// Keys of the archive, where the host's are not enough.
    pub(crate) keyring: Option<&'a Path>,
}

/// Builds `disk.qcow2`, `vmlinuz` and `initrd` in `dir`.
///
/// # Errors
/// The program that failed, with its words.
pub(crate) fn build(
    recipe: &Recipe,
    dir: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<(), ImageError> {
    let root = dir.join("root");
    let keys = tempfile::tempdir_in(dir).map_err(ImageError::io("make a folder for keys"))?;
    // Without them the host's own trust may still do, for a mirror of somebody's own.
    let (keyring, lacking) = match recipe.distribution().keyring(keys.path(), say) {
        Err(lacking @ ImageError::Keys { .. }) => (None, Some(lacking)),
        keyring => (keyring?, None),
    };
    say("installing packages");
    let wanted = Wanted {
        packages: &packages(recipe),
        excluded: &EXCLUDED,
        keyring: keyring.as_deref(),
    };
    let is_runnable = !recipe.architecture.is_foreign() || runs_programs_of(recipe.architecture)?;
    let installed = if is_runnable {
        mmdebstrap::install(recipe, &wanted, &root)
    } else {
        second_stage::install(recipe, &wanted, dir, &root, say)
    };
    installed.map_err(|e| match e {
        ImageError::Interrupted => e,
        e => lacking.unwrap_or(e),
    })?;
    keys.close()
        .map_err(ImageError::io("remove the folder of keys"))?;
    failpoint!("image.packages");
    say("preparing the file system");
    tree::finish(&root)?;
    let release = kernel_release(&root)?;
    fs_err::copy(
        root.join(format!("boot/vmlinuz-{release}")),
        dir.join("vmlinuz"),
    )?;
    fs_err::write(dir.join("initrd"), initrd::make(&root, &release)?)?;
    for entry in fs_err::read_dir(root.join("boot"))? {
        fs_err::remove_file(entry?.path())?;
    }
    say("writing the disk");
    failpoint!("image.tree");
    write_disk(dir, &root)?;
    failpoint!("image.disk");
    fs_err::remove_dir_all(&root)?;
    for name in ["disk.qcow2", "vmlinuz", "initrd"] {
        let file = fs_err::File::open(dir.join(name))?;
        file.sync_all()?;
        fs_err::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o444))?;
    }
    Ok(())
}

/// All that the template is made of.
fn packages(recipe: &Recipe) -> Vec<String> {
    tree::PACKAGES
        .iter()
        .map(|p| (*p).to_owned())
        .chain([recipe.distribution().kernel_package(recipe.architecture)])
        .chain(recipe.packages.iter().cloned())
        .collect()
}

pub(crate) fn kernel_release(root: &Path) -> Result<String, ImageError> {
    let lacks = || ImageError::Incomplete {
        what: "a kernel in /usr/lib/modules".to_owned(),
    };
    fs_err::read_dir(root.join("usr/lib/modules"))?
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|release| root.join(format!("boot/vmlinuz-{release}")).exists())
        .max()
        .ok_or_else(lacks)
}

fn write_disk(dir: &Path, root: &Path) -> Result<(), ImageError> {
    let raw = dir.join("disk.raw");
    let text = |p: &Path| p.display().to_string();
    make_file_system(root, &raw, SPARE)?;
    let convert = [
        "convert",
        "-f",
        "raw",
        "-O",
        "qcow2",
        &text(&raw),
        &text(&dir.join("disk.qcow2")),
    ];
    exec::run("qemu-img", &convert.map(str::to_owned))?;
    Ok(fs_err::remove_file(&raw)?)
}

/// A raw ext4 with the content of `root` and `spare` bytes beside.
///
/// # Errors
/// The system's, or mke2fs's.
pub(crate) fn make_file_system(root: &Path, raw: &Path, spare: u64) -> Result<(), ImageError> {
    let size = (used(root, &mut HashSet::new())? * 23 / 20 + spare).next_multiple_of(64 << 20);
    let text = |p: &Path| p.display().to_string();
    let arguments: Vec<String> = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-b",
        "4096",
        "-m",
        "0",
        "-L",
        "kvmc",
        "-E",
        "lazy_itable_init=0,lazy_journal_init=0",
        "-d",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([text(root), text(raw), format!("{}k", size / 1024)])
    .collect();
    exec::run("mke2fs", &arguments)
}

/// Bytes that a tree takes in blocks of 4 KiB; a file of several names counts once, and `seen` has those.
fn used(root: &Path, seen: &mut HashSet<(u64, u64)>) -> Result<u64, ImageError> {
    let mut total = 0;
    for entry in fs_err::read_dir(root)? {
        let path = entry?.path();
        let kind = fs_err::symlink_metadata(&path)?;
        total += 256;
        if kind.is_dir() || kind.nlink() == 1 || seen.insert((kind.dev(), kind.ino())) {
            total += kind.len().next_multiple_of(4096);
        }
        if kind.is_dir() {
            total += used(&path, seen)?;
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_several_names_is_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), [0; 10_000]).unwrap();
        let alone = used(dir.path(), &mut HashSet::new()).unwrap();
        assert!(alone >= 12_288);
        for name in ["b", "c"] {
            std::fs::hard_link(dir.path().join("a"), dir.path().join(name)).unwrap();
        }
        let linked = used(dir.path(), &mut HashSet::new()).unwrap();
        assert!(linked < alone + 4096, "{alone} {linked}");
    }
}
