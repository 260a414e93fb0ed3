//! Reads of an ELF program which loader it needs, elf(5).

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Bytes from the start of a program that hold its headers and its loader's name.
const HEAD: u64 = 16 << 10;
const PT_INTERP: u32 = 3;

/// What a program is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// An ELF program, with its loader if it has one.
    Elf(Option<PathBuf>),
    /// A script, or something else that only the kernel knows how to run.
    Other,
}

/// Looks at a program. One that cannot be read counts as [`Program::Other`].
pub(super) fn look(path: &Path) -> Program {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|f| f.take(HEAD).read_to_end(&mut head));
    match read {
        Ok(_) => parse(&head),
        Err(_) => Program::Other,
    }
}

fn parse(head: &[u8]) -> Program {
    // 64 bits, little endian: the hosts that kvmc runs on.
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return Program::Other;
    }
    Program::Elf(loader(head))
}

fn loader(head: &[u8]) -> Option<PathBuf> {
    let table = number(head, 32, 8)?;
    let size = number(head, 54, 2)?;
    let count = number(head, 56, 2)?;
    (0..count).find_map(|i| {
        let at = table.checked_add(i.checked_mul(size)?)?;
        if number(head, at, 4)? != u64::from(PT_INTERP) {
            return None;
        }
        let offset = usize::try_from(number(head, at.checked_add(8)?, 8)?).ok()?;
        let length = usize::try_from(number(head, at.checked_add(32)?, 8)?).ok()?;
        let name = head.get(offset..offset.checked_add(length)?)?;
        let name = name.split(|b| *b == 0).next()?;
        Some(PathBuf::from(std::ffi::OsString::from_vec(name.to_vec())))
    })
}

/// A little-endian number of so many bytes.
fn number(head: &[u8], at: u64, bytes: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let part = head.get(at..at.checked_add(bytes)?)?;
    Some(part.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_loader_is_read_and_a_script_is_told_apart() {
        let this = std::env::current_exe().unwrap();
        let Program::Elf(Some(loader)) = look(&this) else {
            panic!("this test has no loader");
        };
        assert!(loader.is_file(), "{}", loader.display());
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert_eq!(look(&script), Program::Other);
        assert_eq!(look(dir.path()), Program::Other);
        assert_eq!(look(&dir.path().join("missing")), Program::Other);
    }

    #[test]
    fn no_header_makes_it_fall_over() {
        let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for length in 0..200 {
            parse(&whole[..length]);
        }
        for at in 0..64 {
            for value in [0, 1, 0x7f, 0xff] {
                let mut head = whole[..4096].to_vec();
                head[at] = value;
                parse(&head);
            }
        }
        assert_eq!(parse(b"\x7fELF\x02\x01"), Program::Elf(None));
    }
}
