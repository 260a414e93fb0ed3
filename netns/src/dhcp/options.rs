//! The options of a received packet, joined before dhcproto reads them.
//!
//! dhcproto 0.15 reads only the options field, joins only adjacent parts of an option, and stops at the
//! first option that it cannot read. docs/DHCP.md shows the packets.

use std::ops::Range;

use dhcproto::v4::OptionCode;

/// Bytes of a message before its options, the cookie included, RFC 2131 section 2.
pub(super) const HEADER: usize = 240;
/// Fields of the header that hold options when option 52 says so.
pub(super) const SNAME: Range<usize> = 44..108;
pub(super) const FILE: Range<usize> = 108..236;
/// Longest value of an option in one part, in bytes.
const LONGEST: usize = 255;

/// The options that the server reads, each once, with their values as bytes.
#[derive(Debug)]
pub(super) struct RawOptions(Vec<(OptionCode, Vec<u8>)>);

impl RawOptions {
    /// Gathers the options from the options field, then `file`, then `sname`, and joins the parts of an option: RFC 2131
    /// section 4.1, RFC 3396 section 5. `None` when an option does not fit into its field.
    pub(super) fn gather(header: &[u8], field: &[u8]) -> Option<Self> {
        let mut options = Self(Vec::with_capacity(8));
        options.add(field)?;
        let overload = match options.get(OptionCode::OptionOverload) {
            Some([fields]) => *fields,
            _ => 0,
        };
        if overload & 1 != 0 {
            options.add(header.get(FILE)?)?;
        }
        if overload & 2 != 0 {
            options.add(header.get(SNAME)?)?;
        }
        Some(options)
    }

    fn add(&mut self, mut rest: &[u8]) -> Option<()> {
        while let [code, more @ ..] = rest {
            rest = more;
            let code = match OptionCode::from(*code) {
                OptionCode::Pad => continue,
                OptionCode::End => break,
                code => code,
            };
            let (length, more) = rest.split_first()?;
            let (value, more) = more.split_at_checked(usize::from(*length))?;
            rest = more;
            if !is_read(code) {
                continue;
            }
            match self.0.iter_mut().find(|(known, _)| *known == code) {
                Some((_, joined)) => joined.extend(value),
                None => self.0.push((code, value.to_vec())),
            }
        }
        Some(())
    }

    pub(super) fn get(&self, code: OptionCode) -> Option<&[u8]> {
        let (_, value) = self.0.iter().find(|(known, _)| *known == code)?;
        Some(value)
    }

    /// The message that dhcproto reads: this header, and the options with a valid length. `sname` and
    /// `file` are empty.
    pub(super) fn message(&self, header: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(2 * HEADER);
        message.extend(header);
        if let Some(names) = message.get_mut(SNAME.start..FILE.end) {
            names.fill(0);
        }
        for (code, value) in &self.0 {
            if let Ok(length) = u8::try_from(value.len())
                && has_valid_length(*code, value.len())
            {
                message.extend([u8::from(*code), length]);
                message.extend(value);
            }
        }
        message.push(OptionCode::End.into());
        message
    }
}

fn is_read(code: OptionCode) -> bool {
    use OptionCode as O;
    matches!(
        code,
        O::RequestedIpAddress
            | O::AddressLeaseTime
            | O::OptionOverload
            | O::MessageType
            | O::ServerIdentifier
            | O::ParameterRequestList
            | O::MaxMessageSize
            | O::ClientIdentifier
            | O::RapidCommit
            | O::RelayAgentInformation
    )
}

/// Whether dhcproto is to read an option of this length, RFC 2132.
fn has_valid_length(code: OptionCode, length: usize) -> bool {
    use OptionCode as O;
    match code {
        O::MessageType => length == 1,
        O::MaxMessageSize => length == 2,
        O::RequestedIpAddress | O::AddressLeaseTime | O::ServerIdentifier => length == 4,
        O::RapidCommit => length == 0,
        O::ParameterRequestList => length <= LONGEST,
        // A type and at least one byte, section 9.14.
        O::ClientIdentifier => (2..=LONGEST).contains(&length),
        _ => false,
    }
}
