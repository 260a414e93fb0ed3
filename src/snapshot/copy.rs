//! The pages of a guest that differ from those of its frozen machine.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};

use super::ram::Ram;
use super::{PAGE, PAGE_64};

/// Pages more than a fifth that a buffer has room for.
const SPARE: usize = 256;
/// Pages of the frozen machine that are read at once.
const AT_ONCE: usize = 256;

/// A buffer for a guest's pages, in memory that the kernel has given already.
#[derive(Debug)]
pub(crate) struct Copy {
    buffer: Vec<u8>,
}

impl Ram {
    /// Makes a buffer for the pages that differ from the frozen machine's now, and a fifth more. The guest may run.
    ///
    /// # Errors
    /// Fails if the process has ended.
    pub(crate) fn reserve(&self) -> Result<Copy> {
        let pages = self.written()?.len();
        // The kernel gives memory when it is written to, and a buffer of zeros is not.
        let buffer = vec![u8::MAX; (pages + pages / 5 + SPARE) * PAGE];
        Ok(Copy { buffer })
    }
}

impl Copy {
    /// Bytes that the buffer takes.
    #[cfg(test)]
    pub(crate) const fn size(&self) -> usize {
        self.buffer.len()
    }

    /// Copies the pages that the guest has written. The guest must be stopped.
    ///
    /// # Errors
    /// Fails if the process has ended, or if this process may not read its memory.
    pub(crate) fn take(mut self, ram: &Ram) -> Result<Delta> {
        let pages = ram.written()?;
        let needed = pages.len() * PAGE;
        if needed > self.buffer.len() {
            self.buffer = vec![0; needed];
        }
        let buffer = self.buffer.get_mut(..needed).unwrap_or_default();
        ram.read(&pages, buffer)?;
        self.buffer.truncate(needed);
        Ok(Delta::new(pages, self.buffer))
    }
}

/// Copied pages, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Delta {
    pages: Vec<Copied>,
    data: Vec<u8>,
}

/// A page, and which of the copied ones it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Copied {
    number: u32,
    place: u32,
}

impl Delta {
    /// Pages with these numbers, whose bytes are in `data` one after the other.
    pub(super) fn new(numbers: Vec<u32>, data: Vec<u8>) -> Self {
        let pages = numbers.into_iter().zip(0..);
        Self {
            pages: pages
                .map(|(number, place)| Copied { number, place })
                .collect(),
            data,
        }
    }

    /// The number of pages.
    #[cfg(test)]
    pub(crate) const fn len(&self) -> usize {
        self.pages.len()
    }

    /// Each page's address in the guest's memory, and its bytes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.pages
            .iter()
            .map(|page| (u64::from(page.number) * PAGE_64, self.bytes(page)))
    }

    fn bytes(&self, page: &Copied) -> &[u8] {
        let at = page.place as usize * PAGE;
        self.data.get(at..at + PAGE).unwrap_or_default()
    }

    /// Removes the pages that a fresh QEMU has anyway: those equal to the frozen machine's, or for a node that booted
    /// those of zeros. Returns how many it removed.
    ///
    /// # Errors
    /// Fails if the frozen machine's memory cannot be read.
    pub(crate) fn drop_equal(&mut self, frozen: Option<&File>) -> Result<usize> {
        let before = self.pages.len();
        let mut kept = Vec::with_capacity(before);
        let mut buffer = vec![0; AT_ONCE * PAGE];
        let runs = self
            .pages
            .chunk_by(|a, b| a.number.checked_add(1) == Some(b.number))
            .flat_map(|run| run.chunks(AT_ONCE));
        for run in runs {
            let there = buffer.get_mut(..run.len() * PAGE).unwrap_or_default();
            if let (Some(frozen), Some(first)) = (frozen, run.first()) {
                frozen
                    .read_exact_at(there, u64::from(first.number) * PAGE_64)
                    .context("a frozen machine's memory cannot be read")?;
            }
            for (page, there) in run.iter().zip(there.chunks(PAGE)) {
                if self.bytes(page) != there {
                    kept.push(*page);
                }
            }
        }
        self.pages = kept;
        Ok(before - self.pages.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(unsafe_code, reason = "memory to write into")]

    use std::num::NonZeroUsize;
    use std::ptr::NonNull;

    use nix::libc::c_void;
    use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

    use super::*;
    use crate::warm::Memory;

    /// Differs from the sizes of all other mappings of the process.
    const SIZE: u64 = 37 * (1 << 20) + 20 * PAGE_64;

    struct Mapped(NonNull<c_void>);

    impl Mapped {
        fn new(file: Option<&File>) -> Self {
            let length = NonZeroUsize::new(usize::try_from(SIZE).unwrap()).unwrap();
            let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            let flags = MapFlags::MAP_PRIVATE;
            // SAFETY: a new mapping.
            let mapped = unsafe {
                match file {
                    Some(file) => mmap(None, length, protection, flags, file, 0).unwrap(),
                    None => mmap_anonymous(None, length, protection, flags).unwrap(),
                }
            };
            // As QEMU does. Otherwise the kernel may join it with a neighbour.
            // SAFETY: the mapping is there.
            unsafe { madvise(mapped, length.get(), MmapAdvise::MADV_DONTFORK).unwrap() }
            Self(mapped)
        }

        fn write(&self, page: usize, byte: u8) {
            // SAFETY: within the mapping.
            unsafe {
                let page = self.0.as_ptr().cast::<u8>().add(page * PAGE);
                std::ptr::write_bytes(page, byte, PAGE);
            }
        }

        fn read(&self, page: usize) -> u8 {
            // SAFETY: within the mapping.
            unsafe { std::ptr::read_volatile(self.0.as_ptr().cast::<u8>().add(page * PAGE)) }
        }
    }

    impl Drop for Mapped {
        fn drop(&mut self) {
            // SAFETY: nobody uses it any more.
            unsafe { munmap(self.0, usize::try_from(SIZE).unwrap()).unwrap() }
        }
    }

    fn pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    fn frozen() -> File {
        let memory = Memory::new(SIZE).unwrap();
        let file = memory.share().unwrap();
        file.write_all_at(&[7; 4 * PAGE], 0).unwrap();
        memory.seal().unwrap();
        file
    }

    // One test, because the mappings of two at the same time would be mistaken for each other.
    #[test]
    fn the_pages_that_a_guest_wrote_are_copied_and_equal_ones_are_dropped() {
        let file = frozen();
        let woken = Mapped::new(Some(&file));
        assert_eq!(woken.read(3), 7, "a page that is only read");
        let ram = Ram::find(pid(), SIZE).unwrap();
        let copy = ram.reserve().unwrap();
        assert_eq!(copy.size(), SPARE * PAGE);
        let last = usize::try_from(SIZE).unwrap() / PAGE - 1;
        // More pages than the buffer has room for.
        let many = 10..10 + SPARE + 40;
        for page in [0, 1, last].into_iter().chain(many.clone()) {
            woken.write(page, 9);
        }
        woken.write(1, 7);
        woken.write(2, 0);
        let mut delta = copy.take(&ram).unwrap();
        let expected: Vec<_> = [0, 1, 2].into_iter().chain(many).chain([last]).collect();
        let numbers = |delta: &Delta| -> Vec<usize> {
            let all = delta.iter();
            all.map(|(at, _)| usize::try_from(at).unwrap() / PAGE)
                .collect()
        };
        assert_eq!(numbers(&delta), expected);
        assert_eq!(delta.drop_equal(Some(&file)).unwrap(), 1);
        let expected: Vec<_> = expected.into_iter().filter(|page| *page != 1).collect();
        assert_eq!(numbers(&delta), expected);
        for (at, bytes) in delta.iter() {
            let byte = if at == 2 * PAGE_64 { 0 } else { 9 };
            assert_eq!(bytes, [byte; PAGE], "{at}");
        }
        drop(woken);

        let booted = Mapped::new(None);
        let ram = Ram::find(pid(), SIZE).unwrap();
        booted.write(4, 1);
        booted.write(5, 0);
        assert_eq!(booted.read(9), 0, "a page that is only read");
        let mut delta = ram.reserve().unwrap().take(&ram).unwrap();
        delta.drop_equal(None).unwrap();
        let left: Vec<_> = delta.iter().collect();
        assert_eq!(left, [(4 * PAGE_64, [1; PAGE].as_slice())]);
    }

    #[test]
    fn frozen_memory_that_is_too_short_is_an_error() {
        let mut delta = Delta::new(vec![0, u32::MAX], vec![1; 2 * PAGE]);
        delta.drop_equal(Some(&frozen())).unwrap_err();
        assert_eq!(delta.len(), 2);
    }
}
