//! Writes a `NoCloud` seed: a small FAT file system with the label that cloud-init looks for.

use std::io::{Cursor, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

use crate::error::ImageError;

/// cloud-init's `DataSourceNoCloud` accepts either case; FAT has upper case.
const LABEL: &[u8; 11] = b"CIDATA     ";
/// Size of a seed without files, in bytes.
const LEAST: usize = 1 << 20;

/// Writes a disk with these files, by name, to `path`, mode 0600.
///
/// # Errors
/// `path` cannot be written.
pub fn write(path: &Path, files: &[(&str, &[u8])]) -> Result<(), ImageError> {
    let bytes = image(files).map_err(ImageError::io(format!("make {}", path.display())))?;
    let mut file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(ImageError::io(format!("make {}", path.display())))?;
    file.write_all(&bytes)
        .and_then(|()| file.sync_all())
        .map_err(ImageError::io(format!("write {}", path.display())))
}

fn image(files: &[(&str, &[u8])]) -> std::io::Result<Vec<u8>> {
    let content: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let size = (LEAST + content + content / 2).next_multiple_of(1 << 16);
    let mut disk = Cursor::new(vec![0; size]);
    let options = FormatVolumeOptions::new()
        .volume_label(*LABEL)
        .fat_type(if size < 8 << 20 {
            FatType::Fat12
        } else {
            FatType::Fat16
        });
    fatfs::format_volume(&mut disk, options)?;
    {
        let system = FileSystem::new(&mut disk, FsOptions::new())?;
        let root = system.root_dir();
        for (name, bytes) in files {
            let mut file = root.create_file(name)?;
            file.write_all(bytes)?;
            file.flush()?;
        }
    }
    Ok(disk.into_inner())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_seed_has_its_label_and_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed");
        let long = vec![b'x'; 300 << 10];
        write(
            &path,
            &[("user-data", &long), ("meta-data", b"instance-id: i\n")],
        )
        .unwrap();
        let mut bytes = Cursor::new(std::fs::read(&path).unwrap());
        let system = FileSystem::new(&mut bytes, FsOptions::new()).unwrap();
        assert_eq!(system.volume_label(), "CIDATA");
        let mut text = String::new();
        let mut file = system.root_dir().open_file("meta-data").unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "instance-id: i\n");
        let mut back = Vec::new();
        let mut file = system.root_dir().open_file("user-data").unwrap();
        file.read_to_end(&mut back).unwrap();
        assert_eq!(back, long);
    }
}
