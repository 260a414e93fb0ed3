//! Builds a template's files from its recipe.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::confine::{Job, Task};
use crate::error::ImageError;
use crate::failpoint::failpoint;
use crate::foreign::runs_programs_of;
use crate::guest_files::{COMPILE_AGENT, PACKAGES};
use crate::packages::PackageSet;
use crate::recipe::Recipe;
use crate::{exec, file_system, initrd, kernel, keyring, mmdebstrap, second_stage, tree};

/// Free bytes in a template's file system. A node grows it to its disk.
const SPARE: u64 = 160 << 20;
/// Files of packages that nodes do not need, in the notation of dpkg's `path-exclude`.
const EXCLUDED: [&str; 5] = [
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
    // This hook would make the kernel package's initrd, which takes minutes under emulation. The template has its own.
    "/etc/kernel/postinst.d/initramfs-tools",
];

/// Builds `disk.qcow2`, `vmlinuz` and `initrd` in `dir`.
///
/// # Errors
/// The program that failed, with the end of its output.
pub(crate) fn build(
    recipe: &Recipe,
    dir: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<(), ImageError> {
    let root = dir.join("root");
    let keys = tempfile::tempdir_in(dir).map_err(ImageError::io("make a folder for keys"))?;
    // Without them the host's own keys may be enough, for a mirror of the user's.
    let (keyring, lacking) = match keyring::fetch(recipe.distribution(), keys.path(), say) {
        Err(lacking @ ImageError::Keys { .. }) => (None, Some(lacking)),
        keyring => (keyring?, None),
    };
    say("installing packages");
    let set = PackageSet {
        packages: &packages(recipe),
        excluded: &EXCLUDED,
        keyring: keyring.as_deref(),
    };
    let is_runnable = !recipe.architecture.is_foreign() || runs_programs_of(recipe.architecture)?;
    let installed = if is_runnable {
        mmdebstrap::install(recipe, &set, &root)
    } else {
        second_stage::install(recipe, &set, dir, &root, say)
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
    if is_runnable {
        compile_agent(&root)?;
    }
    let release = kernel::release(&root)?;
    fs_err::copy(
        root.join(format!("boot/vmlinuz-{release}")),
        dir.join("vmlinuz"),
    )?;
    fs_err::write(dir.join("initrd"), initrd::make(&root, &release)?)?;
    clear_boot(&root, &release)?;
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

/// Keeps only the kernel's configuration in /boot, which programs such as kubeadm read. The host has the kernel itself.
fn clear_boot(root: &Path, release: &str) -> Result<(), ImageError> {
    let kept = format!("config-{release}");
    for entry in fs_err::read_dir(root.join("boot"))? {
        let entry = entry?;
        if entry.file_name() != *kept {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Compiles the agent by the template's own Python. Where the host cannot run that Python, the second stage has compiled
/// it. Without compiled modules, Python compiles them at their first import.
fn compile_agent(root: &Path) -> Result<(), ImageError> {
    // The tests' own packages have no Python.
    if !root.join("usr/bin/python3").exists() {
        return Ok(());
    }
    let mut arguments = vec![root.display().to_string()];
    arguments.extend(COMPILE_AGENT.map(str::to_owned));
    exec::run("chroot", &arguments)
}

/// The packages of a template, the recipe's included.
fn packages(recipe: &Recipe) -> Vec<String> {
    PACKAGES
        .iter()
        .map(|p| (*p).to_owned())
        .chain([recipe.distribution().kernel_package(recipe.architecture)])
        .chain(recipe.packages.iter().cloned())
        .collect()
}

fn write_disk(dir: &Path, root: &Path) -> Result<(), ImageError> {
    let (raw, disk) = (dir.join("disk.raw"), dir.join("disk.qcow2"));
    let text = |p: &Path| p.display().to_string();
    file_system::make(root, &raw, SPARE)?;
    let convert = [
        "convert",
        "-f",
        "raw",
        "-O",
        "qcow2",
        &text(&raw),
        &text(&disk),
    ];
    let job = Job {
        task: Task::Pack,
        arguments: convert.map(str::to_owned).to_vec(),
        reads: vec![&raw],
        writes: vec![&disk],
        about: &raw,
        disk: fs_err::metadata(&raw)?.len(),
    };
    job.run()?;
    Ok(fs_err::remove_file(&raw)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernels_configuration_stays_in_boot() {
        let root = tempfile::tempdir().unwrap();
        let boot = root.path().join("boot");
        fs_err::create_dir(&boot).unwrap();
        for name in [
            "config-6.12",
            "vmlinuz-6.12",
            "System.map-6.12",
            "config-6.1",
        ] {
            fs_err::write(boot.join(name), "").unwrap();
        }
        clear_boot(root.path(), "6.12").unwrap();
        let left: Vec<_> = fs_err::read_dir(boot)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["config-6.12"]);
    }
}
