//! Client identifiers that several clients share, as clones of one machine do.

use std::collections::HashMap;

use crate::MacAddr;

/// Most identifiers that are remembered; one more clears the table.
const MOST: usize = 512;

/// The client that sent each identifier first; only for notices.
#[derive(Clone, Debug, Default)]
pub(super) struct Identifiers {
    first: HashMap<Vec<u8>, FirstUse>,
}

#[derive(Clone, Copy, Debug)]
struct FirstUse {
    mac: MacAddr,
    is_reported: bool,
}

impl Identifiers {
    /// Returns the client that sent this identifier first, if it is another one. Returns it once for each identifier.
    pub(super) fn shared(&mut self, id: &[u8], mac: MacAddr) -> Option<MacAddr> {
        // The Ethernet address as identifier, RFC 2132 section 9.14.
        if id.split_first() == Some((&1, &mac.0)) {
            return None;
        }
        match self.first.get_mut(id) {
            Some(first) if first.mac != mac && !first.is_reported => {
                first.is_reported = true;
                Some(first.mac)
            }
            Some(_) => None,
            None => {
                if self.first.len() >= MOST {
                    self.first.clear();
                }
                let first = FirstUse {
                    mac,
                    is_reported: false,
                };
                self.first.insert(id.to_vec(), first);
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
            assert!(ids.first.len() <= MOST);
        }
    }
}
