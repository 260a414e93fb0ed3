//! Reads QEMU's migration streams as far as guest memory and the machine's name are concerned. The state of the
//! devices is left as it is.
//!
//! Source: QEMU's migration/savevm.c and migration/ram.c, versions 7.2 and 10.0. Numbers are big-endian.

use anyhow::{Context, Result, bail, ensure};

use super::PAGE;

/// "QEVM" and the version.
pub(super) const HEADER: [u8; 8] = *b"QEVM\0\0\0\x03";

/// What follows in a stream.
pub(super) mod section {
    /// The end of the devices' state.
    pub(in super::super) const END: u8 = 0;
    /// The first section of a part that is sent in several.
    pub(in super::super) const START: u8 = 1;
    /// A middle one.
    pub(in super::super) const PART: u8 = 2;
    /// The last one.
    pub(in super::super) const LAST: u8 = 3;
    /// A device.
    pub(in super::super) const FULL: u8 = 4;
    /// A part of a device that is not always there.
    pub(in super::super) const SUBSECTION: u8 = 5;
    /// A description of the stream for other programs, in JSON.
    pub(in super::super) const DESCRIPTION: u8 = 6;
    /// The machine's name.
    pub(in super::super) const CONFIGURATION: u8 = 7;
    /// A command to the reader.
    pub(in super::super) const COMMAND: u8 = 8;
    /// Ends a section.
    pub(in super::super) const FOOTER: u8 = 0x7e;
}

/// Flags in the low bits of an address.
pub(super) mod flag {
    /// One byte, which fills the page.
    pub(in super::super) const FILL: u64 = 0x02;
    /// The list of blocks; the address is the size of all.
    pub(in super::super) const SIZES: u64 = 0x04;
    /// The bytes of a page.
    pub(in super::super) const BYTES: u64 = 0x08;
    /// The end of a section.
    pub(in super::super) const END: u64 = 0x10;
    /// The page is of the same block as the one before.
    pub(in super::super) const SAME_BLOCK: u64 = 0x20;
    /// All bits that can be flags.
    pub(super) const ALL: u64 = 0xfff;
}

/// The name and version of the section that memory has.
pub(super) const RAM: &[u8] = b"ram";
pub(super) const RAM_VERSION: u32 = 4;
/// Says how many bits of an address are within a page. QEMU's arm64 decides that at run time.
pub(super) const PAGE_BITS: &[u8] = b"configuration/target-page-bits";
/// The settings that both sides need.
const CAPABILITIES: &[u8] = b"configuration/capabilities";
/// Makes a stream leave out memory that others map.
const IGNORE_SHARED: &[u8] = b"x-ignore-shared";
/// More than any machine has; QEMU 10 has a dozen.
const MOST_BLOCKS: usize = 256;

/// A part of a machine's memory that has a name of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) name: String,
    /// In bytes.
    pub(crate) size: u64,
}

/// The content of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content<'a> {
    Fill(u8),
    Bytes(&'a [u8]),
}

/// A page that a stream writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page<'a> {
    /// The index of its block.
    pub(super) block: usize,
    /// In the block, in bytes.
    pub(super) address: u64,
    pub(super) content: Content<'a>,
}

/// A stream in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stream<'a> {
    /// QEMU's full name of the machine, with its version.
    pub(crate) machine: &'a str,
    pub(super) page_bits: Option<u32>,
    pub(crate) blocks: Vec<Block>,
    pub(super) pages: Vec<Page<'a>>,
    /// The sections of the devices, and what follows them.
    pub(super) devices: &'a [u8],
}

/// Reads a stream that QEMU or [`super::compose`] wrote.
///
/// # Errors
/// Fails at the first byte that does not belong there, and tells where that is.
pub(crate) fn parse(bytes: &[u8]) -> Result<Stream<'_>> {
    let mut reader = Reader { rest: bytes };
    let parsed = stream(&mut reader);
    parsed.with_context(|| {
        let at = bytes.len() - reader.rest.len();
        format!("a migration stream cannot be read at byte {at}")
    })
}

/// Checks that the state of the devices is complete, as far as that can be seen.
///
/// # Errors
/// Fails if it is not.
pub(super) fn devices(bytes: &[u8]) -> Result<&[u8]> {
    let sections = bytes.strip_prefix(&HEADER);
    let sections = sections.context("the state of the devices does not begin as QEMU's do")?;
    let is_whole = sections.first() == Some(&section::FULL)
        && sections.last() == Some(&section::END)
        && sections.len() > 8;
    ensure!(is_whole, "the state of the devices is not complete");
    Ok(sections)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .with_context(|| format!("{count} bytes are missing"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn byte(&mut self) -> Result<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn be16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn be32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn be64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A name after its length in one byte.
    fn name(&mut self) -> Result<&'a [u8]> {
        let length = self.byte()?;
        self.take(usize::from(length))
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<()> {
        let found = self.byte()?;
        ensure!(found == byte, "{what} is missing; found {found:#04x}");
        Ok(())
    }

    fn next_is(&self, byte: u8) -> bool {
        self.rest.first() == Some(&byte)
    }
}

/// What the head of a stream says.
struct Configuration<'a> {
    machine: &'a str,
    page_bits: Option<u32>,
    ignores_shared: bool,
}

fn stream<'a>(reader: &mut Reader<'a>) -> Result<Stream<'a>> {
    let header: [u8; 8] = reader.array()?;
    ensure!(header == HEADER, "it does not begin as QEMU's do");
    let configuration = configuration(reader)?;
    reader.expect(section::START, "the section of memory")?;
    let id = reader.be32()?;
    let (name, instance, version) = (reader.name()?, reader.be32()?, reader.be32()?);
    ensure!(
        name == RAM && instance == 0 && version == RAM_VERSION,
        "the first section is {} of version {version}; expected ram of version {RAM_VERSION}",
        name.escape_ascii()
    );
    let mut memory = Memory::default();
    memory.section(reader, &configuration)?;
    footer(reader, id)?;
    while !memory.is_whole {
        match reader.byte()? {
            section::COMMAND => {
                let _kind = reader.be16()?;
                let length = reader.be16()?;
                reader.take(usize::from(length))?;
            }
            kind @ (section::PART | section::LAST) => {
                ensure!(reader.be32()? == id, "a section is not of memory");
                memory.section(reader, &configuration)?;
                footer(reader, id)?;
                memory.is_whole = kind == section::LAST;
            }
            other => bail!("a section of kind {other} lies between those of memory"),
        }
    }
    // QEMU 10 says that the other side goes on.
    while reader.next_is(section::COMMAND) {
        let _kind = (reader.byte()?, reader.be16()?);
        let length = reader.be16()?;
        reader.take(usize::from(length))?;
    }
    ensure!(
        reader.next_is(section::FULL) || reader.next_is(section::END),
        "no device follows the memory"
    );
    Ok(Stream {
        machine: configuration.machine,
        page_bits: configuration.page_bits,
        blocks: memory.blocks,
        pages: memory.pages,
        devices: reader.rest,
    })
}

fn configuration<'a>(reader: &mut Reader<'a>) -> Result<Configuration<'a>> {
    reader.expect(section::CONFIGURATION, "the machine's name")?;
    let length = usize::try_from(reader.be32()?)?;
    let machine = std::str::from_utf8(reader.take(length)?)?;
    ensure!(is_machine(machine), "the machine's name is {machine:?}");
    let mut found = Configuration {
        machine,
        page_bits: None,
        ignores_shared: false,
    };
    while reader.next_is(section::SUBSECTION) {
        reader.byte()?;
        let (name, version) = (reader.name()?, reader.be32()?);
        if name == PAGE_BITS && version == 1 {
            found.page_bits = Some(reader.be32()?);
        } else if name == CAPABILITIES && version == 1 {
            for _ in 0..reader.be32()? {
                let capability = reader.name()?;
                ensure!(
                    capability == IGNORE_SHARED,
                    "it needs the capability {}",
                    capability.escape_ascii()
                );
                found.ignores_shared = true;
            }
        } else {
            bail!(
                "it has the unknown part {} of version {version}",
                name.escape_ascii()
            );
        }
    }
    Ok(found)
}

/// Whether a text can be QEMU's name of a machine.
pub(super) fn is_machine(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

fn footer(reader: &mut Reader<'_>, id: u32) -> Result<()> {
    reader.expect(section::FOOTER, "the end of a section")?;
    ensure!(reader.be32()? == id, "a section ends as another one");
    Ok(())
}

/// The memory in a stream as far as it was read.
#[derive(Default)]
struct Memory<'a> {
    blocks: Vec<Block>,
    pages: Vec<Page<'a>>,
    /// The block of the page before.
    last: Option<usize>,
    is_whole: bool,
}

impl<'a> Memory<'a> {
    fn section(&mut self, reader: &mut Reader<'a>, of: &Configuration<'_>) -> Result<()> {
        loop {
            let word = reader.be64()?;
            let (address, flags) = (word & !flag::ALL, word & flag::ALL);
            match flags & !flag::SAME_BLOCK {
                flag::END => return Ok(()),
                flag::SIZES => self.sizes(reader, address, of.ignores_shared)?,
                flag::FILL => {
                    let block = self.block(reader, flags, address)?;
                    let content = Content::Fill(reader.byte()?);
                    self.add(block, address, content);
                }
                flag::BYTES => {
                    let block = self.block(reader, flags, address)?;
                    let content = Content::Bytes(reader.take(PAGE)?);
                    self.add(block, address, content);
                }
                other => bail!("a page has the unknown flags {other:#x}"),
            }
        }
    }

    fn add(&mut self, block: usize, address: u64, content: Content<'a>) {
        self.pages.push(Page {
            block,
            address,
            content,
        });
    }

    /// The index of the block that the next page is of.
    fn block(&mut self, reader: &mut Reader<'a>, flags: u64, address: u64) -> Result<usize> {
        if flags & flag::SAME_BLOCK == 0 {
            let name = reader.name()?;
            let found = self.blocks.iter().position(|b| b.name.as_bytes() == name);
            self.last = Some(found.with_context(|| {
                format!("a page is of the unknown block {}", name.escape_ascii())
            })?);
        }
        let index = self.last.context("the first page names no block")?;
        let block = self.blocks.get(index).context("a block is missing")?;
        ensure!(
            address < block.size,
            "a page lies at {address:#x}, but {} has {:#x} bytes",
            block.name,
            block.size
        );
        Ok(index)
    }

    /// Reads the list of blocks, whose sizes make up `total`.
    fn sizes(&mut self, reader: &mut Reader<'a>, total: u64, has_addresses: bool) -> Result<()> {
        ensure!(self.blocks.is_empty(), "a second list of blocks follows");
        let mut left = total;
        while left > 0 {
            let name = std::str::from_utf8(reader.name()?)?.to_owned();
            let size = reader.be64()?;
            if has_addresses {
                let _in_the_machine = reader.be64()?;
            }
            left = left
                .checked_sub(size)
                .context("the blocks are larger than their sum")?;
            let is_new = self.blocks.iter().all(|b| b.name != name);
            ensure!(
                is_new && size > 0 && self.blocks.len() < MOST_BLOCKS,
                "the list of blocks has {name:?} of {size} bytes"
            );
            self.blocks.push(Block { name, size });
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
