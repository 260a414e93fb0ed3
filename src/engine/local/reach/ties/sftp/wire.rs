//! The packets of SFTP version 3 (draft-ietf-secsh-filexfer-02), as OpenSSH speaks it.

use std::io::{self, Read};

/// Longest packet that is taken, in bytes. OpenSSH's limit.
const LONGEST: u32 = 256 << 10;

/// Kinds of requests.
pub(super) mod request {
    pub(in super::super) const INIT: u8 = 1;
    pub(in super::super) const OPEN: u8 = 3;
    pub(in super::super) const CLOSE: u8 = 4;
    pub(in super::super) const READ: u8 = 5;
    pub(in super::super) const WRITE: u8 = 6;
    pub(in super::super) const LSTAT: u8 = 7;
    pub(in super::super) const FSTAT: u8 = 8;
    pub(in super::super) const SETSTAT: u8 = 9;
    pub(in super::super) const FSETSTAT: u8 = 10;
    pub(in super::super) const OPENDIR: u8 = 11;
    pub(in super::super) const READDIR: u8 = 12;
    pub(in super::super) const REMOVE: u8 = 13;
    pub(in super::super) const MKDIR: u8 = 14;
    pub(in super::super) const RMDIR: u8 = 15;
    pub(in super::super) const REALPATH: u8 = 16;
    pub(in super::super) const STAT: u8 = 17;
    pub(in super::super) const RENAME: u8 = 18;
    pub(in super::super) const READLINK: u8 = 19;
    pub(in super::super) const SYMLINK: u8 = 20;
    pub(in super::super) const EXTENDED: u8 = 200;
}

/// Kinds of answers.
pub(super) mod answer {
    pub(in super::super) const VERSION: u8 = 2;
    pub(in super::super) const STATUS: u8 = 101;
    pub(in super::super) const HANDLE: u8 = 102;
    pub(in super::super) const DATA: u8 = 103;
    pub(in super::super) const NAME: u8 = 104;
    pub(in super::super) const ATTRS: u8 = 105;
    pub(in super::super) const EXTENDED: u8 = 201;
}

/// The codes of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Code {
    Ok = 0,
    Eof = 1,
    NoSuchFile = 2,
    PermissionDenied = 3,
    Failure = 4,
    BadMessage = 5,
    Unsupported = 8,
}

/// Reads a packet; `None` when the other side has ended.
///
/// # Errors
/// Fails if the packet is too long, or ends early.
pub(super) fn packet(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_be_bytes(length);
    if length == 0 || length > LONGEST {
        return Err(io::Error::other(format!("a packet of {length} bytes")));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    from.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

/// The rest of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a>(pub(super) &'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Code> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Code::BadMessage)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Code> {
        let bytes = self.take(1)?;
        bytes.first().copied().ok_or(Code::BadMessage)
    }

    pub(super) fn number(&mut self) -> Result<u32, Code> {
        let bytes = self.take(4)?.try_into();
        bytes.map(u32::from_be_bytes).map_err(|_| Code::BadMessage)
    }

    pub(super) fn long(&mut self) -> Result<u64, Code> {
        let bytes = self.take(8)?.try_into();
        bytes.map(u64::from_be_bytes).map_err(|_| Code::BadMessage)
    }

    pub(super) fn text(&mut self) -> Result<&'a [u8], Code> {
        let length = self.number()?;
        self.take(usize::try_from(length).map_err(|_| Code::BadMessage)?)
    }
}

/// A packet that is written.
#[derive(Debug)]
pub(super) struct Packet(Vec<u8>);

impl Packet {
    pub(super) fn new(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, kind])
    }

    pub(super) fn number(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(super) fn long(mut self, number: u64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(super) fn text(self, text: &[u8]) -> Self {
        let mut packet = self.number(u32::try_from(text.len()).unwrap_or_default());
        packet.0.extend(text);
        packet
    }

    /// The packet with its length.
    pub(super) fn bytes(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).unwrap_or_default();
        if let Some(head) = self.0.get_mut(..4) {
            head.copy_from_slice(&length.to_be_bytes());
        }
        self.0
    }
}

/// What a request wants of a file's attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) size: Option<u64>,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mode: Option<u32>,
    /// Access and modification, in seconds since 1970.
    pub(super) times: Option<(u32, u32)>,
}

impl Wanted {
    pub(super) fn read(parts: &mut Parts<'_>) -> Result<Self, Code> {
        let flags = parts.number()?;
        let mut wanted = Self::default();
        if flags & 1 != 0 {
            wanted.size = Some(parts.long()?);
        }
        if flags & 2 != 0 {
            wanted.owner = Some((parts.number()?, parts.number()?));
        }
        if flags & 4 != 0 {
            wanted.mode = Some(parts.number()?);
        }
        if flags & 8 != 0 {
            wanted.times = Some((parts.number()?, parts.number()?));
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_as_they_are_written_and_broken_ones_refused() {
        let bytes = Packet::new(3).number(7).text(b"/a").long(9).bytes();
        let mut from = &bytes[..];
        let read = packet(&mut from).unwrap().unwrap();
        let mut parts = Parts(&read);
        assert_eq!((parts.byte(), parts.number()), (Ok(3), Ok(7)));
        assert_eq!((parts.text(), parts.long()), (Ok(&b"/a"[..]), Ok(9)));
        assert_eq!(parts.number(), Err(Code::BadMessage));
        assert!(packet(&mut &b""[..]).unwrap().is_none());
        for broken in [&[0, 0, 0, 0][..], &[255; 8], &[0, 0, 0, 9, 1]] {
            assert!(packet(&mut &*broken).is_err(), "{broken:?}");
        }
        assert_eq!(Parts(&[0, 0, 0, 9, 1]).text(), Err(Code::BadMessage));
    }
}
