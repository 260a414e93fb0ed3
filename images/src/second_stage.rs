//! A template's packages where the host cannot run its programs: debootstrap's first stage here, which
//! only unpacks, and the second in an emulated machine, whose disk this is and whose kernel is the
//! template's own. What comes of it is handed back as an archive on a second disk.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::build::{Wanted, kernel_release, make_file_system};
use crate::{ImageError, Recipe, exec, initrd, kernel_command_line};

/// The machine's memory, in MiB; its page cache is all the speed that there is.
const MEMORY: u32 = 2048;
/// Bytes that the second stage may add to the disk, and its archive take.
const ROOM: u64 = 4 << 30;
/// Longest that it may take, in seconds: three times what it took on two slow cores.
const LONGEST: &str = "10800";
/// The first program of the machine.
const INIT: &str = include_str!("../guest/second-stage");
const INIT_PATH: &str = "kvmc-second-stage";
/// Debian's folder of fetched packages.
const FETCHED: &str = "var/cache/apt/archives";

/// Makes `root` what mmdebstrap would have made it.
///
/// # Errors
/// The program that failed, or what the machine said last.
pub(crate) fn install(
    recipe: &Recipe,
    wanted: &Wanted<'_>,
    dir: &Path,
    root: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<(), ImageError> {
    let text = |p: &Path| p.display().to_string();
    let first = dir.join("first");
    let mut arguments = vec![
        "--foreign".to_owned(),
        "--variant=minbase".to_owned(),
        format!("--arch={}", recipe.architecture),
        format!("--include={}", wanted.packages.join(",")),
        format!("--components={}", recipe.distribution().components),
    ];
    arguments.extend(wanted.keyring.map(|k| format!("--keyring={}", text(k))));
    arguments.extend([recipe.suite.clone(), text(&first)]);
    arguments.extend(recipe.mirror.clone());
    exec::run("debootstrap", &arguments)?;
    let lines: String = wanted
        .excluded
        .iter()
        .map(|pattern| format!("path-exclude={pattern}\n"))
        .collect();
    fs_err::create_dir_all(first.join("etc/dpkg/dpkg.cfg.d"))?;
    fs_err::write(first.join("etc/dpkg/dpkg.cfg.d/kvmc"), lines)?;
    let init = first.join(INIT_PATH);
    fs_err::write(&init, INIT)?;
    fs_err::set_permissions(&init, Permissions::from_mode(0o755))?;
    // What the initrd starts; systemd's own takes its place when it is unpacked.
    let sbin = if first.join("usr/sbin").is_dir() {
        "usr/sbin/init"
    } else {
        "sbin/init"
    };
    symlink(format!("/{INIT_PATH}"), first.join(sbin))
        .map_err(ImageError::io("link the machine's init"))?;
    let boot = unpack_kernel(dir, &first)?;
    say("configuring packages in an emulated machine, which takes long");
    let disk = dir.join("first.raw");
    make_file_system(&first, &disk, ROOM)?;
    fs_err::remove_dir_all(&first)?;
    let archive = dir.join("archive.raw");
    fs_err::File::create(&archive)?.set_len(ROOM)?;
    let console = dir.join("console.log");
    exec::run(
        "timeout",
        &machine(recipe, &boot, [&disk, &archive], &console),
    )?;
    fs_err::create_dir(root)?;
    let unpacked = exec::run(
        "tar",
        &[
            "--extract".to_owned(),
            "--numeric-owner".to_owned(),
            "--preserve-permissions".to_owned(),
            "--xattrs".to_owned(),
            "--xattrs-include=*".to_owned(),
            format!("--file={}", text(&archive)),
            format!("--directory={}", text(root)),
        ],
    );
    // An archive is there only when all went well.
    if unpacked.is_err() || !root.join("var/lib/dpkg/status").exists() {
        return Err(ImageError::Incomplete {
            what: format!(
                "packages: the machine that was to configure them said last: {}",
                last_words(&console)
            ),
        });
    }
    for left in [disk, archive] {
        fs_err::remove_file(left)?;
    }
    fs_err::remove_file(root.join("etc/dpkg/dpkg.cfg.d/kvmc"))?;
    Ok(fs_err::remove_dir_all(boot)?)
}

/// The template's kernel and an initrd, from packages that are fetched and not yet unpacked.
fn unpack_kernel(dir: &Path, first: &Path) -> Result<PathBuf, ImageError> {
    let boot = dir.join("boot");
    fs_err::create_dir_all(&boot)?;
    let text = |p: &Path| p.display().to_string();
    for entry in fs_err::read_dir(first.join(FETCHED))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The packages without a version in their names only depend on those with it.
        let is_kernel = ["linux-image-", "linux-modules-"].iter().any(|prefix| {
            name.strip_prefix(prefix)
                .is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
        });
        if is_kernel || name.starts_with("busybox-static_") {
            exec::run("dpkg-deb", &["-x".to_owned(), text(&path), text(&boot)])?;
        }
    }
    // Suites before the merge of /usr.
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
    let release = kernel_release(&boot)?;
    let lib = boot.join("lib");
    if !lib.exists() {
        // Where depmod looks.
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

/// `timeout`'s arguments: a QEMU that can reach nothing but its disks.
fn machine(recipe: &Recipe, boot: &Path, disks: [&Path; 2], console: &Path) -> Vec<String> {
    let qemu = &recipe.architecture.platform().qemu;
    // A comma in a path begins no option.
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
            // Thrown away when it is cut short: no flush is waited for.
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
    // What follows a panic is for the kernel's developers.
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
    use crate::Architecture;

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
