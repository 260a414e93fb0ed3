//! Client identifiers that several clients share: clones of one machine send the same one.

use std::collections::HashMap;

use crate::MacAddr;

/// More than this are not remembered; then all are forgotten.
const MOST: usize = 512;

/// Who came with which client identifier. Nothing is decided by it.
#[derive(Clone, Debug, Default)]
pub(super) struct Identifiers {
    seen: HashMap<Vec<u8>, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    first: MacAddr,
    is_told: bool,
}

impl Identifiers {
    /// Returns the client that came with this identifier before, once for each identifier.
    pub(super) fn shared(&mut self, id: &[u8], mac: MacAddr) -> Option<MacAddr> {
        // The Ethernet address as identifier, RFC 2132 section 9.14.
        if id.split_first() == Some((&1, &mac.0)) {
            return None;
        }
        match self.seen.get_mut(id) {
            Some(seen) if seen.first != mac && !seen.is_told => {
                seen.is_told = true;
                Some(seen.first)
            }
            Some(_) => None,
            None => {
                if self.seen.len() >= MOST {
                    self.seen.clear();
                }
                let first = Seen {
                    first: mac,
                    is_told: false,
                };
                self.seen.insert(id.to_vec(), first);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p14_a_shared_identifier_is_told_once() {
        let mut ids = Identifiers::default();
        let mac = |last| MacAddr([2, 0, 0, 0, 0, last]);
        assert_eq!(ids.shared(b"clone", mac(1)), None);
        assert_eq!(ids.shared(b"clone", mac(1)), None);
        assert_eq!(ids.shared(b"clone", mac(2)), Some(mac(1)));
        assert_eq!(ids.shared(b"clone", mac(3)), None);
        assert_eq!(ids.shared(&[1, 2, 0, 0, 0, 0, 4], mac(4)), None);
    }

    #[test]
    fn p25_identifiers_without_number_are_forgotten() {
        let mut ids = Identifiers::default();
        for n in 0..10_000_u32 {
            ids.shared(&n.to_be_bytes(), MacAddr([2; 6]));
            assert!(ids.seen.len() <= MOST);
        }
    }
}
