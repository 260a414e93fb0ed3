//! Finds the ids of a frozen machine in its memory, and writes a clone's own ids there before the clone runs.
//!
//! The agent shows a clone's ids by files mounted over the kernel's, which a container that mounts /proc or /sys anew
//! does not see.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::memory::Memory;

/// The ids of a machine in the guest's kernel, as text of 36 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ids {
    /// SMBIOS' UUID.
    pub(crate) uuid: String,
    /// `None` if the agent does not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) boot_id: Option<String>,
}

/// An id as it lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Form {
    /// In SMBIOS' table, where the first three fields are little-endian (DSP0134, section 7.2.1).
    Smbios,
    /// As the kernel keeps it of that table.
    UuidText,
    BootId,
    BootIdText,
}

/// Where a frozen machine's ids lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Places {
    ids: Ids,
    places: Vec<(u64, Form)>,
}

impl Ids {
    fn bytes(&self, form: Form) -> Option<Vec<u8>> {
        let text = match form {
            Form::Smbios | Form::UuidText => &self.uuid,
            Form::BootId | Form::BootIdText => self.boot_id.as_ref()?,
        };
        let raw = raw(text)?;
        let swapped = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        match form {
            Form::Smbios => swapped.iter().map(|i| raw.get(*i).copied()).collect(),
            Form::BootId => Some(raw),
            Form::UuidText | Form::BootIdText => Some(text.clone().into_bytes()),
        }
    }
}

/// The 16 bytes of a UUID.
fn raw(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let bytes = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    let bytes: Option<Vec<u8>> = bytes.collect();
    bytes.filter(|b| b.len() == 16)
}

impl Places {
    /// Looks for a machine's ids in its memory.
    ///
    /// # Errors
    /// Fails if the memory cannot be read.
    pub(super) fn find(memory: &Memory, ids: Ids) -> Result<Self> {
        let mut places = Vec::new();
        for form in [Form::Smbios, Form::UuidText, Form::BootId, Form::BootIdText] {
            if let Some(bytes) = ids.bytes(form) {
                let found = memory.find(&bytes)?;
                places.extend(found.into_iter().map(|offset| (offset, form)));
            }
        }
        Ok(Self { ids, places })
    }

    /// Writes a clone's ids into its memory, which its QEMU has mapped privately. The guest must not run yet.
    ///
    /// # Errors
    /// Fails if the clone's memory cannot be found or written.
    pub(crate) fn give(&self, pid: i32, ids: &Ids) -> Result<()> {
        if self.places.is_empty() {
            return Ok(());
        }
        let maps = fs_err::read_to_string(format!("/proc/{pid}/maps"))?;
        let mapped: Vec<_> = maps.lines().filter_map(mapping).collect();
        let memory = File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/{pid}/mem"))
            .context("failed to open a clone's memory")?;
        for (offset, form) in &self.places {
            let (Some(was), Some(new)) = (self.ids.bytes(*form), ids.bytes(*form)) else {
                continue;
            };
            let holds = |m: &&Mapping| m.offset <= *offset && *offset < m.offset + m.length;
            let map = mapped.iter().find(holds);
            let map = map.context("a clone's memory is not mapped")?;
            let address = map.address + (offset - map.offset);
            let mut there = vec![0; was.len()];
            memory.read_exact_at(&mut there, address)?;
            if there == was {
                memory.write_all_at(&new, address)?;
            }
        }
        Ok(())
    }
}

/// A part of a guest's memory as a process has it.
struct Mapping {
    address: u64,
    length: u64,
    /// In the guest's memory.
    offset: u64,
}

/// Reads a line of /proc/PID/maps, proc(5), that is a private mapping of a guest's memory.
fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let is_private = words.next()?.ends_with('p');
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let (address, end, offset) = (number(from)?, number(to)?, number(words.next()?)?);
    let is_ours = words
        .nth(2)?
        .starts_with(&format!("/memfd:{}", Memory::NAME));
    (is_ours && is_private).then(|| Mapping {
        address,
        length: end.saturating_sub(address),
        offset,
    })
}

#[cfg(test)]
mod tests {
    #![allow(unsafe_code, reason = "memory to write into")]

    use nix::sys::mman::{MapFlags, ProtFlags, mmap};

    use super::*;

    fn ids(digit: char) -> Ids {
        let text = "00112233-4455-6677-8899-aabbccddeeff".replace("00", &format!("0{digit}"));
        Ids {
            boot_id: Some(text.replace("ff", "1f")),
            uuid: text,
        }
    }

    #[test]
    fn a_uuid_is_little_endian_in_the_table_of_smbios() {
        let bytes = ids('0').bytes(Form::Smbios).unwrap();
        assert_eq!(bytes[..8], [0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66]);
        assert_eq!(bytes[8..], [0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
        for text in ["", "0011", "zz112233-4455-6677-8899-aabbccddeeff"] {
            assert_eq!(raw(text), None, "{text}");
        }
    }

    #[test]
    fn a_clone_gets_its_own_ids_and_the_frozen_memory_keeps_what_it_has() {
        let (was, new) = (ids('0'), ids('7'));
        let size = 3 * (2 << 20);
        let memory = Memory::new(size).unwrap();
        let file = memory.share().unwrap();
        // One of them lies across two of the pieces that are read at once.
        let offsets = [0xf_0010, (2 << 20) - 8, (4 << 20) + 5, size - 36];
        let forms = [Form::Smbios, Form::BootId, Form::UuidText, Form::BootIdText];
        for (offset, form) in offsets.iter().zip(forms) {
            file.write_all_at(&was.bytes(form).unwrap(), *offset)
                .unwrap();
        }
        memory.seal().unwrap();
        let places = Places::find(&memory, was.clone()).unwrap();
        let mut found: Vec<_> = places.places.iter().map(|(offset, _)| *offset).collect();
        found.sort_unstable();
        assert_eq!(found, offsets);
        let length = std::num::NonZeroUsize::new(usize::try_from(size).unwrap()).unwrap();
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, read below as long as it is there.
        let mapped = unsafe { mmap(None, length, protection, MapFlags::MAP_PRIVATE, &file, 0) };
        let mapped = mapped.unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        places.give(pid, &new).unwrap();
        // SAFETY: as above.
        let seen = unsafe {
            std::slice::from_raw_parts(mapped.as_ptr().cast::<u8>().cast_const(), length.get())
        };
        for (offset, form) in offsets.iter().zip(forms) {
            let expected = new.bytes(form).unwrap();
            let at = usize::try_from(*offset).unwrap();
            assert_eq!(seen[at..at + expected.len()], expected, "{form:?}");
        }
        assert_eq!(Places::find(&memory, was).unwrap(), places);
    }

    #[test]
    fn memory_that_is_not_there_is_an_error_and_no_places_are_none() {
        let places = |places| Places {
            ids: ids('0'),
            places,
        };
        places(vec![]).give(1, &ids('1')).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let beyond = places(vec![(1 << 50, Form::BootId)]);
        assert!(beyond.give(pid, &ids('1')).is_err());
    }
}
