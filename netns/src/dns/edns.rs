//! EDNS, RFC 6891: the OPT pseudo-record of a message.

use super::message::{Message, Section};
use super::wire::{DATAGRAM, OPT, long};

/// The fields of an OPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edns {
    /// Largest datagram that the sender accepts, in bytes.
    pub(super) size: u16,
    /// The upper bits of the response code.
    pub(super) rcode: u8,
    pub(super) version: u8,
    /// The sender wants DNSSEC records, RFC 3225.
    pub(super) dnssec: bool,
}

impl<'a> Message<'a> {
    /// Its OPT.
    ///
    /// # Errors
    /// There are several OPT records, or one in the wrong place.
    pub(super) fn edns(&self) -> Result<Option<Edns>, ()> {
        let mut all = self.spans.iter().filter(|e| e.kind == OPT);
        let Some(opt) = all.next() else {
            return Ok(None);
        };
        let is_root = self.bytes.get(opt.start) == Some(&0);
        if all.next().is_some() || opt.section != Section::Additional || !is_root {
            return Err(());
        }
        let ttl = long(self.bytes, opt.ttl_at);
        let [rcode, version, flags, _] = ttl.to_be_bytes();
        Ok(Some(Edns {
            size: opt.class,
            rcode,
            version,
            dnssec: flags & 0x80 != 0,
        }))
    }

    /// The extended error (RFC 8914) in its OPT: two bytes of code, then text.
    pub(super) fn extended_error(&self) -> Option<&'a [u8]> {
        let opt = self.spans.iter().find(|e| e.kind == OPT)?;
        let mut options = self.bytes.get(opt.data.clone())?;
        while let [a, b, c, d, rest @ ..] = options {
            let length = usize::from(u16::from_be_bytes([*c, *d]));
            let value = rest.get(..length)?;
            if u16::from_be_bytes([*a, *b]) == 15 && length >= 2 {
                return Some(value);
            }
            options = rest.get(length..)?;
        }
        None
    }
}

/// An OPT of ours, for the end of a message.
pub(super) fn opt(rcode: u8, dnssec: bool, error: Option<&[u8]>) -> Vec<u8> {
    let error = error.unwrap_or_default();
    let mut opt = vec![0];
    opt.extend(OPT.to_be_bytes());
    opt.extend(DATAGRAM.to_be_bytes());
    opt.extend([rcode, 0, if dnssec { 0x80 } else { 0 }, 0]);
    let length = u16::try_from(error.len()).unwrap_or(0);
    if length == 0 {
        opt.extend([0, 0]);
    } else {
        opt.extend((length + 4).to_be_bytes());
        opt.extend([0, 15]);
        opt.extend(length.to_be_bytes());
        opt.extend(error);
    }
    opt
}
