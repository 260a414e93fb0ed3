//! Installs a template's packages on a host that cannot run its programs. debootstrap's first stage unpacks them on the
//! host. Its second stage runs in an emulated machine with the template's own kernel. The machine returns the root as an
//! archive on a second disk.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::architecture::kernel_command_line;
use crate::error::ImageError;
use crate::packages::PackageSet;
use crate::recipe::Recipe;
use crate::{exec, file_system, guest_files, initrd, kernel};

/// The machine's memory, in MiB. Most of it serves as page cache.
const MEMORY: u32 = 2048;
/// Bytes that the second stage may add to the disk, and the size limit of its archive.
const ROOM: u64 = 4 << 30;
/// Longest second stage, in seconds: three times its duration on two slow cores.
const LONGEST: &str = "10800";
/// The first program of the machine.
const INIT: &str = include_str!("../guest/second-stage");
const INIT_PATH: &str = "kvmc-second-stage";
/// The folder where apt keeps packages.
const FETCHED: &str = "var/cache/apt/archives";
/// dpkg's configuration during the second stage.
const EXCLUDES: &str = "etc/dpkg/dpkg.cfg.d/kvmc";

/// Installs the recipe's packages in `root`, as mmdebstrap would.
///
/// # Errors
/// A program failed; or the machine did, and the error has its last output.
pub(crate) fn install(
    recipe: &Recipe,
    set: &PackageSet<'_>,
    dir: &Path,
    root: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<(), ImageError> {
    let first = dir.join("first");
    unpack_packages(recipe, set, &first)?;
    add_init(&first)?;
    guest_files::install(&first, guest_files::AGENT)?;
    let boot = unpack_kernel(dir, &first)?;
    say("configuring the packages in an emulated machine, which takes minutes");
    let disk = dir.join("first.raw");
    file_system::make(&first, &disk, ROOM)?;
    fs_err::remove_dir_all(&first)?;
    let archive = dir.join("archive.raw");
    fs_err::File::create(&archive)?.set_len(ROOM)?;
    let console = dir.join("console.log");
    exec::run(
        "timeout",
        &machine(recipe, &boot, [&disk, &archive], &console),
    )?;
    // The machine writes the archive only after everything else succeeded.
    if unpack_archive(&archive, root).is_err() || !root.join("var/lib/dpkg/status").exists() {
        return Err(ImageError::Incomplete {
            what: format!(
                "packages: the machine that configures them failed; its last output: {}",
                last_words(&console)
            ),
        });
    }
    for left in [disk, archive] {
        fs_err::remove_file(left)?;
    }
    fs_err::remove_file(root.join(EXCLUDES))?;
    Ok(fs_err::remove_dir_all(boot)?)
}

/// debootstrap's first stage, into `first`.
fn unpack_packages(recipe: &Recipe, set: &PackageSet<'_>, first: &Path) -> Result<(), ImageError> {
    let text = |p: &Path| p.display().to_string();
    let mut arguments = vec![
        "--foreign".to_owned(),
        "--variant=minbase".to_owned(),
        format!("--arch={}", recipe.architecture),
        format!("--include={}", set.packages.join(",")),
        format!("--components={}", recipe.distribution().components),
    ];
    arguments.extend(set.keyring.map(|k| format!("--keyring={}", text(k))));
    arguments.extend([recipe.suite.clone(), text(first)]);
    arguments.extend(recipe.mirror.clone());
    exec::run("debootstrap", &arguments)?;
    let lines: String = set
        .excluded
        .iter()
        .map(|pattern| format!("path-exclude={pattern}\n"))
        .collect();
    let excludes = first.join(EXCLUDES);
    if let Some(folder) = excludes.parent() {
        fs_err::create_dir_all(folder)?;
    }
    Ok(fs_err::write(excludes, lines)?)
}

/// Writes the machine's first program to the path that the initrd starts.
fn add_init(first: &Path) -> Result<(), ImageError> {
    let init = first.join(INIT_PATH);
    fs_err::write(&init, INIT)?;
    fs_err::set_permissions(&init, Permissions::from_mode(0o755))?;
    // systemd's package replaces the link when dpkg unpacks it.
    let sbin = if first.join("usr/sbin").is_dir() {
        "usr/sbin/init"
    } else {
        "sbin/init"
    };
    symlink(format!("/{INIT_PATH}"), first.join(sbin))
        .map_err(ImageError::io("link the machine's init"))
}

/// Unpacks the root that the machine returned.
fn unpack_archive(archive: &Path, root: &Path) -> Result<(), ImageError> {
    fs_err::create_dir(root)?;
    let arguments = [
        "--extract",
        "--numeric-owner",
        "--preserve-permissions",
        "--xattrs",
        "--xattrs-include=*",
        &format!("--file={}", archive.display()),
        &format!("--directory={}", root.display()),
    ];
    exec::run("tar", &arguments.map(str::to_owned))
}

/// Makes the machine's kernel and initrd, from fetched packages that are not unpacked yet.
fn unpack_kernel(dir: &Path, first: &Path) -> Result<PathBuf, ImageError> {
    let boot = dir.join("boot");
    fs_err::create_dir_all(&boot)?;
    let text = |p: &Path| p.display().to_string();
    for entry in fs_err::read_dir(first.join(FETCHED))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Kernel packages without a version in their name have no files.
        let is_kernel = ["linux-image-", "linux-modules-"].iter().any(|prefix| {
            name.strip_prefix(prefix)
                .is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
        });
        if is_kernel || name.starts_with("busybox-static_") {
            exec::run("dpkg-deb", &["-x".to_owned(), text(&path), text(&boot)])?;
        }
    }
    // For suites before the merge of /usr.
    for (old, new) in [
        ("lib/modules", "usr/lib/modules"),
        ("bin/busybox", "usr/bin/busybox"),
    ] {
        let (old, new) = (boot.join(old), boot.join(new));
        if old.exists() && !new.exists() {
            if let Some(folder) = new.parent() {
                fs_err::create_dir_all(folder)?;
            }
            fs_err::rename(old, new)?;
        }
    }
    let release = kernel::release(&boot)?;
    let lib = boot.join("lib");
    if !lib.exists() {
        // depmod looks here.
        fs_err::os::unix::fs::symlink("usr/lib", &lib)?;
    } else if !lib.join("modules").exists() {
        fs_err::os::unix::fs::symlink("../usr/lib/modules", lib.join("modules"))?;
    }
    exec::run("depmod", &["-b".to_owned(), text(&boot), release.clone()])?;
    fs_err::rename(
        boot.join(format!("boot/vmlinuz-{release}")),
        boot.join("vmlinuz"),
    )?;
    fs_err::write(boot.join("initrd"), initrd::make(&boot, &release)?)?;
    Ok(boot)
}

/// `timeout`'s arguments: a QEMU that reaches only its disks.
fn machine(recipe: &Recipe, boot: &Path, disks: [&Path; 2], console: &Path) -> Vec<String> {
    let qemu = &recipe.architecture.platform().qemu;
    // Doubled, a comma in a path does not begin an option.
    let path = |p: &Path| p.display().to_string().replace(',', ",,");
    let append = kernel_command_line(recipe.architecture, true);
    let mut arguments: Vec<String> = [
        "--kill-after=10",
        LONGEST,
        qemu.program,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-machine",
        qemu.machine,
        "-accel",
        "tcg,thread=multi,tb-size=512",
        "-cpu",
        qemu.emulated_cpu,
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.extend(["-m".to_owned(), format!("{MEMORY}M")]);
    arguments.extend([
        "-kernel".to_owned(),
        boot.join("vmlinuz").display().to_string(),
    ]);
    arguments.extend([
        "-initrd".to_owned(),
        boot.join("initrd").display().to_string(),
    ]);
    arguments.extend(["-append".to_owned(), append]);
    arguments.extend(["-serial".to_owned(), format!("file:{}", path(console))]);
    for (number, disk) in disks.into_iter().enumerate() {
        arguments.extend([
            "-drive".to_owned(),
            // An interrupted build starts again, so no flush is needed.
            format!(
                "file={},format=raw,if=none,id=d{number},cache=unsafe,discard=unmap",
                path(disk)
            ),
            "-device".to_owned(),
            format!("virtio-blk-pci,drive=d{number}"),
        ]);
    }
    arguments
}

fn last_words(console: &Path) -> String {
    let bytes = std::fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    // The lines after a panic are register dumps.
    if let Some(panic) = lines.iter().position(|l| l.contains("Kernel panic")) {
        lines.truncate(panic + 1);
    }
    let from = lines.len().saturating_sub(6);
    let words = lines.get(from..).unwrap_or_default().join("; ");
    if words.is_empty() {
        "nothing".to_owned()
    } else {
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Architecture;

    #[test]
    fn the_machine_reaches_nothing_but_its_disks() {
        let recipe = Recipe::new("trixie", Architecture::Arm64, None, &[]).unwrap();
        let disks = [Path::new("/a,b/first.raw"), Path::new("/x")];
        let line = machine(&recipe, Path::new("/boot"), disks, Path::new("/c")).join(" ");
        assert!(line.contains("qemu-system-aarch64 -nodefaults -no-user-config"));
        assert!(line.contains("spawn=deny") && !line.contains("-netdev"));
        assert!(line.contains("file=/a,,b/first.raw,format=raw"));
    }

    #[test]
    fn the_end_of_a_console_is_what_people_see() {
        let dir = tempfile::tempdir().unwrap();
        let console = dir.path().join("console");
        assert_eq!(last_words(&console), "nothing");
        std::fs::write(&console, "a\r\n\r\nb\nc\nd\ne\nf\ng\n").unwrap();
        assert_eq!(last_words(&console), "b; c; d; e; f; g");
        std::fs::write(&console, "no init\n[1] Kernel panic - x\nCPU: 0\n").unwrap();
        assert_eq!(last_words(&console), "no init; [1] Kernel panic - x");
    }
}
