//! What a tar archive holds that may be meant: a disk, or an OVA's disk.

use std::fs::File;
use std::path::Path;

use super::head::Head;
use super::unusable::beside;
use crate::shell::quote;

/// Most entries that are looked at.
const MOST: usize = 4096;
const BLOCK: usize = 512;
/// How the names of disks end, and how qemu-img calls the formats that kvmc does not take as they are.
const DISKS: [(&str, &str); 8] = [
    (".vmdk", "vmdk"),
    (".vhd", "vpc"),
    (".vhdx", "vhdx"),
    (".vdi", "vdi"),
    (".qcow2", ""),
    (".img", ""),
    (".raw", ""),
    (".qcow", "qcow"),
];

/// The names in an archive that matter.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// The description of an OVA.
    ovf: Option<String>,
    /// The first disk, and its format for qemu-img.
    disk: Option<(String, &'static str)>,
    /// It is an image of containers.
    containers: bool,
    /// `image export` of kvmc wrote it.
    exported: bool,
    first: Option<String>,
}

/// Whether a file begins with the header of a tar archive, with or without ustar's magic: the sum of its bytes is in it,
/// where the sum itself counts as blanks.
pub(super) fn is_tar(head: &Head) -> bool {
    let Some(block) = head.start.get(..BLOCK) else {
        return false;
    };
    let field = block.get(148..156).unwrap_or_default();
    let digits: String = field.iter().map(|b| char::from(*b)).collect();
    let digits = digits.trim_matches(|c: char| c == ' ' || c == '\0');
    let Ok(expected) = u32::from_str_radix(digits, 8) else {
        return false;
    };
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    let blanks: u32 = field.iter().map(|b| u32::from(*b)).sum();
    block.first() != Some(&0) && sum - blanks + 8 * u32::from(b' ') == expected
}

impl Contents {
    /// Reads the names in an archive, as far as it can be read.
    pub(super) fn of(path: &Path) -> Self {
        let mut contents = Self::default();
        let Ok(file) = File::open(path) else {
            return contents;
        };
        let mut archive = tar::Archive::new(file);
        // Raw, since the crate reads a long name into memory, however long it says to be.
        let Ok(entries) = archive.entries_with_seek().map(|e| e.raw(true)) else {
            return contents;
        };
        for entry in entries.take(MOST) {
            let Ok(entry) = entry else { break };
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if entry.header().entry_type().is_file() {
                contents.add(&name);
            }
        }
        contents
    }

    fn add(&mut self, name: &str) {
        let lower = name.to_ascii_lowercase();
        let plain = lower.trim_end_matches(".gz").trim_end_matches(".xz");
        if lower.ends_with(".ovf") {
            self.ovf.get_or_insert_with(|| name.to_owned());
        }
        if let Some((_, format)) = DISKS.iter().find(|(form, _)| plain.ends_with(form)) {
            self.disk.get_or_insert_with(|| (name.to_owned(), format));
        }
        self.containers |= ["manifest.json", "oci-layout"].contains(&name.trim_start_matches("./"));
        self.exported |= name == "kvmc-image.json";
        self.first.get_or_insert_with(|| name.to_owned());
    }

    pub(super) fn what(&self) -> String {
        let named = |name: &str| format!("`{}`", name.escape_debug());
        if self.exported {
            return "is an exported image, not a disk".to_owned();
        }
        if self.containers {
            return "is an image of containers, which has no kernel".to_owned();
        }
        match (&self.ovf, &self.disk, &self.first) {
            (Some(ovf), _, _) => format!("is an OVA, a tar archive with {}", named(ovf)),
            (None, Some((disk, _)), _) => format!("is a tar archive with {}", named(disk)),
            (None, None, Some(first)) => {
                format!(
                    "is a tar archive without a disk; its first file is {}",
                    named(first)
                )
            }
            (None, None, None) => "is a tar archive".to_owned(),
        }
    }

    pub(super) fn cure(&self, file: &str) -> String {
        if self.exported {
            return "import it by itself, and name the image by its tag".to_owned();
        }
        match &self.disk {
            _ if self.containers => "take an image for virtual machines".to_owned(),
            Some((disk, format)) => {
                // tar reads an archive that is packed, too.
                let mut text =
                    format!("`tar -xf {} {}` unpacks its disk", quote(file), quote(disk));
                let is_packed = disk.ends_with(".gz") || disk.ends_with(".xz");
                if !format.is_empty() && !is_packed {
                    text.push_str(&format!(
                        "; then `qemu-img convert -f {format} -O qcow2 {} {}` converts it",
                        quote(disk),
                        quote(&beside(disk, "qcow2"))
                    ));
                }
                text
            }
            None => format!("`tar -tf {}` lists what it holds", quote(file)),
        }
    }
}
