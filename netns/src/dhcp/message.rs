//! A reply as dhcproto's types, and its encoding.
//!
//! dhcproto 0.15 writes options sorted by their codes, uses neither `file` nor `sname`, and does not pad. This module does
//! order, overload and padding.

use dhcproto::v4::{self, DhcpOption, MessageType, Opcode, OptionCode, UnknownOption};
use dhcproto::{Encodable as _, Encoder, error::EncodeResult};

use super::options::{FILE, HEADER, SNAME};
use super::request::Request;

/// The value of option 52 for both fields.
const FILE_AND_SNAME: u8 = 3;

/// A reply before it is encoded.
#[derive(Clone, Debug)]
pub(super) struct ReplyMessage {
    kind: MessageType,
    /// Without options.
    pub(super) header: v4::Message,
    /// In the order in which they are written; options without room are left out.
    pub(super) options: Vec<DhcpOption>,
    /// Comes last, RFC 3046 section 2.2. Its room is reserved before that of the other options.
    pub(super) relay_agent: Option<Vec<u8>>,
}

impl ReplyMessage {
    /// A reply with the fields that come from the request, RFC 2131 table 3.
    pub(super) fn new(kind: MessageType, request: &Request) -> Self {
        let mut header = v4::Message::default();
        header
            .set_opcode(Opcode::BootReply)
            .set_xid(request.message.xid())
            .set_flags(request.message.flags())
            .set_giaddr(request.message.giaddr())
            .set_chaddr(&request.mac.octets());
        Self {
            kind,
            header,
            options: Vec::new(),
            relay_agent: request.relay_agent.clone(),
        }
    }

    /// The message in at most `limit` bytes, padded to the size that a BOOTP client expects. When the options field has no
    /// room for all options, `file` and `sname` hold some of them, RFC 2131 section 4.1.
    ///
    /// # Errors
    /// dhcproto cannot write an option; it can write all that the server uses.
    pub(super) fn encode(mut self, limit: usize) -> EncodeResult<Vec<u8>> {
        let mut last = Vec::new();
        if let Some(agent) = self.relay_agent.take() {
            last.push(raw(OptionCode::RelayAgentInformation, agent));
        }
        last.push(DhcpOption::End);
        let last = EncodedOptions::new(&last)?;
        let room = limit.saturating_sub(HEADER + last.bytes.len());
        let options = EncodedOptions::new(&self.options)?;
        // Some firmware insists on the message type as the first option.
        let mut field = DhcpOption::MessageType(self.kind).to_vec()?;
        if field.len() + options.bytes.len() <= room {
            field.extend(&options.bytes);
        } else {
            field.extend(DhcpOption::OptionOverload(FILE_AND_SNAME).to_vec()?);
            self.spread(&options, (&mut field, room));
        }
        let mut bytes = self.header.to_vec()?;
        bytes.extend(field);
        bytes.extend(last.bytes);
        bytes.resize(bytes.len().max(v4::MIN_PACKET_SIZE), 0);
        Ok(bytes)
    }

    /// Puts each option into the first field with room for it.
    fn spread(&mut self, options: &EncodedOptions, (field, room): (&mut Vec<u8>, usize)) {
        let (mut file, mut sname) = (Vec::new(), Vec::new());
        // One byte of `file` and of `sname` is for the end option.
        let mut fields = [
            (field, room),
            (&mut file, FILE.len() - 1),
            (&mut sname, SNAME.len() - 1),
        ];
        for option in options.iter() {
            let has_room =
                |(field, room): &&mut (&mut Vec<u8>, usize)| field.len() + option.len() <= *room;
            if let Some((field, _)) = fields.iter_mut().find(has_room) {
                field.extend(option);
            }
        }
        for field in [&mut file, &mut sname] {
            field.push(OptionCode::End.into());
        }
        self.header.set_fname(&file).set_sname(&sname);
    }
}

/// An option that dhcproto writes as these bytes.
fn raw(code: OptionCode, value: Vec<u8>) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(code, value))
}

/// Options as dhcproto writes them, one after the other.
struct EncodedOptions {
    bytes: Vec<u8>,
    /// The position behind each option.
    ends: Vec<usize>,
}

impl EncodedOptions {
    fn new(options: &[DhcpOption]) -> EncodeResult<Self> {
        let mut bytes = Vec::with_capacity(16 * options.len());
        let mut ends = Vec::with_capacity(options.len());
        let mut encoder = Encoder::new(&mut bytes);
        for option in options {
            option.encode(&mut encoder)?;
            ends.push(encoder.len_filled());
        }
        Ok(Self { bytes, ends })
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        let ranges = starts.zip(&self.ends);
        ranges.filter_map(|(start, end)| self.bytes.get(*start..*end))
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
