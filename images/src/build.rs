//! From a recipe to the files of a template, in a folder made for it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::failpoint::failpoint;
use crate::{ImageError, Recipe, exec, initrd, tree};

/// Room in a template's file system beyond what the packages take, in bytes; nodes grow it anyway.
const SPARE: u64 = 160 << 20;

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
    say("installing packages");
    exec::run("mmdebstrap", &mmdebstrap(recipe, &root))?;
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
    write_disk(dir, &root)?;
    fs_err::remove_dir_all(&root)?;
    for name in ["disk.qcow2", "vmlinuz", "initrd"] {
        let file = fs_err::File::open(dir.join(name))?;
        file.sync_all()?;
        fs_err::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o444))?;
    }
    Ok(())
}

fn mmdebstrap(recipe: &Recipe, root: &Path) -> Vec<String> {
    let packages: Vec<_> = tree::PACKAGES
        .iter()
        .map(|p| (*p).to_owned())
        .chain([recipe.architecture.platform().kernel_package.to_owned()])
        .chain(recipe.packages.iter().cloned())
        .collect();
    let mut arguments: Vec<String> = [
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        "--aptopt=APT::Install-Recommends \"false\"",
        "--aptopt=Acquire::Retries \"3\"",
    ]
    .map(str::to_owned)
    .to_vec();
    for folder in ["man", "doc", "locale", "info"] {
        arguments.push(format!("--dpkgopt=path-exclude=/usr/share/{folder}/*"));
    }
    // The initrd is ours; making the kernel package's takes minutes when all programs are emulated.
    arguments.push("--dpkgopt=path-exclude=/etc/kernel/postinst.d/initramfs-tools".to_owned());
    arguments.push(format!("--architectures={}", recipe.architecture));
    arguments.push(format!("--include={}", packages.join(",")));
    arguments.push(recipe.suite.clone());
    arguments.push(root.display().to_string());
    arguments.extend(recipe.mirror.clone());
    arguments
}

fn kernel_release(root: &Path) -> Result<String, ImageError> {
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
    let size = (used(root)? * 23 / 20 + SPARE).next_multiple_of(64 << 20);
    let raw = dir.join("disk.raw");
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
    .chain([text(root), text(&raw), format!("{}k", size / 1024)])
    .collect();
    exec::run("mke2fs", &arguments)?;
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

/// Bytes that a tree takes in blocks of 4 KiB.
fn used(root: &Path) -> Result<u64, ImageError> {
    let mut total = 0;
    for entry in fs_err::read_dir(root)? {
        let path = entry?.path();
        let kind = fs_err::symlink_metadata(&path)?;
        total += kind.len().next_multiple_of(4096) + 256;
        if kind.is_dir() {
            total += used(&path)?;
        }
    }
    Ok(total)
}
