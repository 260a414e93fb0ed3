//! Imports one image from a user's file into the store.

use std::path::Path;

use super::disk::make_disk;
use super::disk_format::{self, DiskFormat};
use super::name::check_name;
use super::pull::pointer;
use super::subject::Subject;
use crate::architecture::Architecture;
use crate::error::ImageError;
use crate::exec::stop_if_told;
use crate::failpoint::failpoint;
use crate::image::{Boot, Guest, Image, Origin};
use crate::image::{FORMAT, Meta, now};
use crate::store::Store;

/// Copies a user's file into the store.
///
/// # Errors
/// The file is not a usable disk, or cannot be copied.
pub fn import(
    store: &Store,
    path: &Path,
    name: &str,
    architecture: Architecture,
    boot: Boot,
) -> Result<Image, ImageError> {
    if let Some(image) = imported(store, path, architecture)? {
        return as_wanted(image, path, architecture, boot);
    }
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    check_name(&file, architecture)?;
    let stamp = stamp(path)?;
    // Checked before the copy, so that a large file is refused at once.
    let subject = Subject::File(path);
    if disk_format::probe(path, subject)? == DiskFormat::Qcow2 {
        disk_format::judge_qcow2(path, subject)?;
        disk_format::judge_content(path, subject)?;
    }
    let (disk, _lock) = store.workplace()?;
    let copy = disk.path().join("copy");
    std::fs::copy(path, &copy).map_err(ImageError::io(format!(
        "copy {} into the store",
        path.display()
    )))?;
    failpoint!("import.copy");
    stop_if_told()?;
    make_disk(disk.path(), &copy, subject)?;
    failpoint!("import.disk");
    stop_if_told()?;
    let _moved_or_used_up = std::fs::remove_file(&copy);
    let meta = Meta {
        format: FORMAT,
        name: name.to_owned(),
        key: None,
        architecture,
        boot,
        guest: Guest::CloudInit,
        origin: Origin::Imported {
            path: path.to_owned(),
            stamp: stamp.clone(),
        },
        parent: None,
        created: now(),
        digests: std::collections::BTreeMap::new(),
    };
    // The same bytes may be in the store already, imported by another name.
    let image = as_wanted(store.admit(disk, meta)?, path, architecture, boot)?;
    store.point(&pointer(&stamp), &image)?;
    failpoint!("import.pointer");
    Ok(image)
}

/// Refuses an image in the store with this content but for another architecture or firmware.
fn as_wanted(
    image: Image,
    path: &Path,
    architecture: Architecture,
    boot: Boot,
) -> Result<Image, ImageError> {
    if image.architecture == architecture && image.boot == boot {
        return Ok(image);
    }
    Err(ImageError::Unfit {
        path: path.to_owned(),
        why: format!(
            "is in the store already as the image {}, for {} and to be started by {}; remove that image first",
            image.id,
            image.architecture,
            image.boot.name()
        ),
    })
}

/// The image that was imported from a file, if the file has not changed since.
///
/// # Errors
/// There is no such file.
pub fn imported(
    store: &Store,
    path: &Path,
    architecture: Architecture,
) -> Result<Option<Image>, ImageError> {
    store.pointed(&pointer(&stamp(path)?), architecture)
}

/// The identity of a file without a read of its content: path, size, inode and time of change.
fn stamp(path: &Path) -> Result<String, ImageError> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs_err::metadata(path)?;
    if !meta.is_file() {
        return Err(ImageError::Unfit {
            path: path.to_owned(),
            why: "is not a file".to_owned(),
        });
    }
    Ok(format!(
        "{} {} {} {}.{}",
        path.display(),
        meta.len(),
        meta.ino(),
        meta.mtime(),
        meta.mtime_nsec()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_not_given_for_another_machine() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let (one, two) = (dir.path().join("one.raw"), dir.path().join("two.raw"));
        let mut disk = vec![7; 1 << 20];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        for path in [&one, &two] {
            std::fs::write(path, &disk).unwrap();
        }
        let take = |path: &Path, a, boot| import(&store, path, "x", a, boot);
        let image = take(&one, Architecture::Amd64, Boot::Bios).unwrap();
        let again = take(&two, Architecture::Amd64, Boot::Bios).unwrap();
        assert_eq!(image.id, again.id);
        for (path, architecture, boot) in [
            (&one, Architecture::Arm64, Boot::Uefi),
            (&two, Architecture::Arm64, Boot::Bios),
            (&one, Architecture::Amd64, Boot::Uefi),
        ] {
            let error = take(path, architecture, boot).unwrap_err().to_string();
            assert!(error.contains("for amd64 and to be started by"), "{error}");
        }
    }

    #[test]
    fn p43_an_image_that_leads_to_other_files_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let qemu_img = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(|a| (*a).to_owned()).collect();
            crate::exec::run("qemu-img", &arguments).unwrap();
        };
        let at = |name: &str| dir.path().join(name).display().to_string();
        qemu_img(&[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-u",
            "-b",
            "/etc/shadow",
            "-F",
            "raw",
            &at("backing"),
            "1M",
        ]);
        qemu_img(&[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-u",
            "-b",
            "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}",
            "-F",
            "raw",
            &at("json"),
            "1M",
        ]);
        let data = format!("data_file={},data_file_raw=on", at("secret"));
        qemu_img(&[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            &data,
            &at("data"),
            "1M",
        ]);
        qemu_img(&["create", "-q", "-f", "qcow2", &at("luks"), "1M"]);
        let mut bytes = std::fs::read(at("luks")).unwrap();
        // The header's crypt_method: LUKS.
        bytes[32..36].copy_from_slice(&2_u32.to_be_bytes());
        std::fs::write(at("luks"), bytes).unwrap();
        let mut disk = vec![7; 4 << 20];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        std::fs::write(at("raw"), disk).unwrap();
        qemu_img(&[
            "convert",
            "-f",
            "raw",
            "-O",
            "qcow2",
            &at("raw"),
            &at("whole"),
        ]);
        let bytes = std::fs::read(at("whole")).unwrap();
        std::fs::write(at("cut"), &bytes[..bytes.len() / 2]).unwrap();
        for (name, word) in [
            ("backing", "its backing file is"),
            ("json", "its backing file is"),
            ("data", "another file"),
            ("luks", "encrypted"),
            ("cut", "damaged or cut short"),
        ] {
            let error = import(
                &store,
                Path::new(&at(name)),
                "x",
                Architecture::Amd64,
                Boot::Bios,
            )
            .unwrap_err()
            .to_string();
            assert!(error.contains(word), "{name}: {error}");
        }
        assert!(store.list().unwrap().is_empty());
        let image = import(
            &store,
            Path::new(&at("whole")),
            "x",
            Architecture::Amd64,
            Boot::Bios,
        )
        .unwrap();
        assert_eq!(image.virtual_size, 4 << 20);
        assert!(Path::new(&at("whole")).exists(), "the user's file stays");
        // The second import finds it by its stamp.
        let again = imported(&store, Path::new(&at("whole")), Architecture::Amd64).unwrap();
        assert_eq!(again.unwrap().id, image.id);
    }

    #[test]
    fn p43_a_raw_disk_that_a_guest_made_look_like_a_qcow2_is_judged_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let raw = dir.path().join("disk.raw");
        let qcow2 = dir.path().join("head");
        let arguments = [
            "create",
            "-q",
            "-f",
            "qcow2",
            "-u",
            "-b",
            "/etc/shadow",
            "-F",
            "raw",
            &qcow2.display().to_string(),
            "1M",
        ];
        crate::exec::run("qemu-img", &arguments.map(str::to_owned)).unwrap();
        let mut disk = vec![0; 4 << 20];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        let head = std::fs::read(&qcow2).unwrap();
        disk[..400].copy_from_slice(&head[..400]);
        std::fs::write(&raw, disk).unwrap();
        let error = import(&store, &raw, "x", Architecture::Amd64, Boot::Bios).unwrap_err();
        assert!(error.to_string().contains("its backing file is"), "{error}");
    }
}
