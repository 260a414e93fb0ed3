//! The messages and attributes of netlink(7), for the protocols that rtnetlink does not speak.

/// Bytes of a message's header.
pub(crate) const HEAD: usize = 16;
/// Bytes of an attribute's header.
const ATTRIBUTE: usize = 4;
/// The bits of an attribute's type that name it (NLA_TYPE_MASK).
const KIND: u16 = 0x3fff;

pub(crate) const ERROR: u16 = 2;
pub(crate) const DONE: u16 = 3;

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) body: &'a [u8],
}

/// An attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attribute<'a> {
    pub(crate) kind: u16,
    pub(crate) value: &'a [u8],
    /// With its header.
    pub(crate) whole: &'a [u8],
}

/// The messages of a datagram, up to the first that is cut off.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = number(bytes, 0)? as usize;
        let whole = cut(&mut bytes, length, HEAD)?;
        Some(Message {
            kind: short(whole, 4)?,
            flags: short(whole, 6)?,
            sequence: number(whole, 8)?,
            body: whole.get(HEAD..)?,
        })
    })
}

/// The attributes in a message or in another attribute, up to the first that is cut off.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    std::iter::from_fn(move || {
        let length = usize::from(short(bytes, 0)?);
        let whole = cut(&mut bytes, length, ATTRIBUTE)?;
        Some(Attribute {
            kind: short(whole, 2)? & KIND,
            value: whole.get(ATTRIBUTE..)?,
            whole,
        })
    })
}

/// Cuts off what has this length, and what fills it up to four bytes.
fn cut<'a>(bytes: &mut &'a [u8], length: usize, least: usize) -> Option<&'a [u8]> {
    let whole = bytes.get(..length).filter(|whole| whole.len() >= least)?;
    *bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(whole)
}

/// Adds a message to `bytes`.
pub(crate) fn push(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, body: &[u8]) {
    let length = u32::try_from(HEAD + body.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The errno in the body of an error, or of the end of a dump; 0 for success.
pub(crate) fn errno(body: &[u8]) -> i32 {
    number(body, 0).map_or(nix::libc::EIO, |n| (n as i32).wrapping_neg())
}

pub(crate) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_that_is_cut_off_ends_the_datagram() {
        let mut bytes = Vec::new();
        push(&mut bytes, 7, 1, 9, b"abcde");
        push(&mut bytes, 8, 0, 10, b"");
        let read: Vec<_> = messages(&bytes).map(|m| (m.kind, m.sequence)).collect();
        assert_eq!(read, [(7, 9), (8, 10)]);
        assert_eq!(messages(&bytes).next().unwrap().body, b"abcde");
        assert_eq!(messages(&bytes[..bytes.len() - 1]).count(), 1);
    }

    #[test]
    fn no_length_is_believed_that_leads_nowhere() {
        for length in [0_u32, 1, 15, 17, u32::MAX] {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.resize(HEAD, 0);
            assert_eq!(messages(&bytes).count(), 0, "{length}");
        }
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[4, 0, 1, 0x80, 9]).next().unwrap().kind, 1);
    }

    proptest! {
        #[test]
        fn whatever_is_read_lies_in_the_bytes(bytes: Vec<u8>) {
            let length = |whole: usize| whole <= bytes.len();
            prop_assert!(messages(&bytes).all(|m| length(m.body.len() + HEAD)));
            prop_assert!(attributes(&bytes).all(|a| length(a.whole.len())));
        }
    }
}
