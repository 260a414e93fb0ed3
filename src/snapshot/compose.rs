//! Writes the migration stream by which a fresh QEMU takes on the memory and the devices of a saved node.
//!
//! The fresh QEMU has the frozen machine's memory mapped, so the stream holds only the pages that differ. The firmware
//! in a QEMU's own blocks of memory comes from the frozen machine's state, since a QEMU that waits for a stream leaves
//! them empty (`rom_reset` of QEMU's hw/core/loader.c). A node that booted goes on without a BIOS: Linux needs none until
//! it reboots, and then kvmc starts another QEMU (`-no-reboot`).

use std::io::Write;

use anyhow::{Context, Result, ensure};
use kvmc_images::Architecture;

use super::copy::Delta;
use super::stream::{self, Block, Content, Stream, flag, section};
use super::{PAGE, PAGE_64};

/// The id of the memory's section. QEMU numbers sections from 0, so the devices have others.
const ID: u32 = 0x7fff_fff0;
/// The name that the memory of a woken node has, see `CommandLine::add_memory_backend`.
const FROZEN_RAM: &str = "ram0";
/// An empty description of the stream. QEMU complains if there is none.
const DESCRIPTION: &[u8] = b"{}";
/// Bits of an address within a page.
const PAGE_BITS: u32 = PAGE.trailing_zeros();

/// The machine that reads a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    kind: String,
    page_bits: Option<u32>,
    ram: Block,
}

impl Machine {
    /// The machine of a node that woke from the frozen machine with this state.
    ///
    /// # Errors
    /// Fails if the state cannot be read, or is of a machine with another size of memory.
    pub(crate) fn woken(frozen_state: &[u8], ram: u64) -> Result<Self> {
        let stream = stream::parse(frozen_state)?;
        let machine = Self {
            kind: stream.machine.to_owned(),
            page_bits: stream.page_bits,
            ram: Block {
                name: FROZEN_RAM.to_owned(),
                size: ram,
            },
        };
        machine.check(&stream)?;
        Ok(machine)
    }

    /// The machine of a node that booted. `kind` is QEMU's full name of it, which the property `type` of `/machine`
    /// has before `-machine`.
    ///
    /// # Errors
    /// Fails if the name cannot be one.
    pub(crate) fn booted(architecture: Architecture, kind: &str, ram: u64) -> Result<Self> {
        ensure!(
            stream::is_machine(kind),
            "{kind:?} is no name of a machine of QEMU"
        );
        let (name, page_bits) = match architecture {
            Architecture::Amd64 => ("pc.ram", None),
            Architecture::Arm64 => ("mach-virt.ram", Some(PAGE_BITS)),
        };
        Ok(Self {
            kind: kind.to_owned(),
            page_bits,
            ram: Block {
                name: name.to_owned(),
                size: ram,
            },
        })
    }

    /// Checks that a frozen machine's state is of this machine.
    fn check(&self, frozen: &Stream<'_>) -> Result<()> {
        ensure!(
            frozen.machine == self.kind && frozen.page_bits == self.page_bits,
            "the frozen machine is a {}; expected a {}",
            frozen.machine,
            self.kind
        );
        ensure!(
            frozen.blocks.contains(&self.ram),
            "the frozen machine has no memory {} of {} bytes",
            self.ram.name,
            self.ram.size
        );
        Ok(())
    }
}

/// Writes the stream of a node: the blocks of the frozen machine's state but its memory, the pages of `delta`, and the
/// devices as `xen-save-devices-state` saved them. Without a frozen machine the memory is zeros but for `delta`.
///
/// A plain `migrate-incoming` reads it, with the capability `x-ignore-shared` off.
///
/// # Errors
/// Fails if a state cannot be read or is of another machine, if a page lies beyond the memory, or if `out` cannot be
/// written.
pub(crate) fn compose(
    out: &mut impl Write,
    machine: &Machine,
    frozen_state: Option<&[u8]>,
    devices: &[u8],
    delta: &Delta,
) -> Result<()> {
    let devices = stream::devices(devices)?;
    let frozen = frozen_state.map(stream::parse).transpose()?;
    if let Some(frozen) = &frozen {
        machine.check(frozen)?;
    }
    let mut blocks = vec![machine.ram.clone()];
    let frozen_blocks = frozen.iter().flat_map(|f| &f.blocks);
    blocks.extend(
        frozen_blocks
            .filter(|b| b.name != machine.ram.name)
            .cloned(),
    );
    let mut writer = Writer { out, last: "" };
    writer.head(machine)?;
    writer.blocks(&blocks)?;
    for page in frozen.iter().flat_map(|f| &f.pages) {
        let block = frozen.as_ref().and_then(|f| f.blocks.get(page.block));
        let block = block.context("a block is missing")?;
        // The fresh QEMU has the frozen machine's memory already.
        if block.name != machine.ram.name {
            writer.page(&block.name, page.address, page.content)?;
        }
    }
    for (address, bytes) in delta.iter() {
        ensure!(
            address + PAGE_64 <= machine.ram.size,
            "a page lies beyond the memory"
        );
        writer.page(&machine.ram.name, address, Content::Bytes(bytes))?;
    }
    writer.end(devices)
}

struct Writer<'a, W> {
    out: &'a mut W,
    /// The block of the page before.
    last: &'a str,
}

impl<'a, W: Write> Writer<'a, W> {
    fn head(&mut self, machine: &Machine) -> Result<()> {
        self.out.write_all(&stream::HEADER)?;
        self.out.write_all(&[section::CONFIGURATION])?;
        self.be32(u32::try_from(machine.kind.len())?)?;
        self.out.write_all(machine.kind.as_bytes())?;
        if let Some(bits) = machine.page_bits {
            self.out.write_all(&[section::SUBSECTION])?;
            self.name(stream::PAGE_BITS)?;
            self.be32(1)?;
            self.be32(bits)?;
        }
        Ok(())
    }

    fn blocks(&mut self, blocks: &[Block]) -> Result<()> {
        self.out.write_all(&[section::START])?;
        self.be32(ID)?;
        self.name(stream::RAM)?;
        self.be32(0)?;
        self.be32(stream::RAM_VERSION)?;
        let total = blocks
            .iter()
            .try_fold(0_u64, |sum, b| sum.checked_add(b.size));
        let total = total.context("the machine's memory is too large")?;
        self.be64(total | flag::SIZES)?;
        for block in blocks {
            self.name(block.name.as_bytes())?;
            self.be64(block.size)?;
        }
        self.section_end()?;
        self.out.write_all(&[section::LAST])?;
        self.be32(ID)
    }

    fn page(&mut self, block: &'a str, address: u64, content: Content<'_>) -> Result<()> {
        let is_same = self.last == block;
        let content = match content {
            Content::Bytes(bytes) if bytes.iter().all(|b| *b == 0) => Content::Fill(0),
            other => other,
        };
        let kind = match content {
            Content::Fill(_) => flag::FILL,
            Content::Bytes(_) => flag::BYTES,
        };
        self.be64(address | kind | if is_same { flag::SAME_BLOCK } else { 0 })?;
        if !is_same {
            self.name(block.as_bytes())?;
            self.last = block;
        }
        match content {
            Content::Fill(byte) => self.out.write_all(&[byte])?,
            Content::Bytes(bytes) => self.out.write_all(bytes)?,
        }
        Ok(())
    }

    fn end(&mut self, devices: &[u8]) -> Result<()> {
        self.section_end()?;
        self.out.write_all(devices)?;
        self.out.write_all(&[section::DESCRIPTION])?;
        self.be32(u32::try_from(DESCRIPTION.len())?)?;
        self.out.write_all(DESCRIPTION)?;
        Ok(())
    }

    fn section_end(&mut self) -> Result<()> {
        self.be64(flag::END)?;
        self.out.write_all(&[section::FOOTER])?;
        self.be32(ID)
    }

    fn name(&mut self, name: &[u8]) -> Result<()> {
        self.out.write_all(&[u8::try_from(name.len())?])?;
        self.out.write_all(name)?;
        Ok(())
    }

    fn be32(&mut self, number: u32) -> Result<()> {
        self.out.write_all(&number.to_be_bytes())?;
        Ok(())
    }

    fn be64(&mut self, number: u64) -> Result<()> {
        self.out.write_all(&number.to_be_bytes())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
