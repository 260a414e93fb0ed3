//! A client's query, and the replies that kvmc writes.

use hickory_proto::op::{
    Message as Reply, MessageType, Metadata, OpCode, Query as Question, ResponseCode,
};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use super::super::cache::Key;
use super::super::edns::{self, Edns};
use super::super::wire::{self, HEADER, flag};

/// A client's query.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) id: u16,
    pub(super) flags: u16,
    pub(super) edns: Option<Edns>,
    /// Name, type and class as the client wrote them.
    pub(super) question: Box<[u8]>,
    pub(super) name: Name,
    pub(super) kind: RecordType,
    /// Longest reply, in bytes.
    pub(super) limit: usize,
}

impl Query {
    /// The key of its answer in the cache.
    pub(super) fn key(&self) -> Key {
        let mut question = self.question.clone();
        let name = question.len().saturating_sub(4);
        if let Some(name) = question.get_mut(..name) {
            name.make_ascii_lowercase();
        }
        Key {
            question,
            dnssec: self.edns.is_some_and(|e| e.dnssec),
            checking_disabled: self.flags & flag::CHECKING_DISABLED != 0,
        }
    }

    /// A reply without records.
    pub(super) fn begin(&self) -> Reply {
        let mut metadata = Metadata::new(self.id, MessageType::Response, OpCode::Query);
        metadata.recursion_desired = self.flags & flag::RECURSION_DESIRED != 0;
        metadata.recursion_available = true;
        metadata.checking_disabled = self.flags & flag::CHECKING_DISABLED != 0;
        let mut reply = Reply::new(self.id, MessageType::Response, OpCode::Query);
        reply.metadata = metadata;
        let mut question = Question::query(self.name.clone(), self.kind);
        question.set_query_class(DNSClass::from(wire::word(
            &self.question,
            self.question.len().saturating_sub(2),
        )));
        reply.add_query(question);
        reply
    }

    /// A reply with this code and no record; `error` is an extended error.
    pub(super) fn error(&self, code: ResponseCode, error: Option<&[u8]>) -> Vec<u8> {
        let mut reply = self.begin();
        reply.metadata.response_code = code;
        self.finish(reply, error)
    }

    /// The bytes of a reply, with the client's own question, and OPT if the client sent one.
    pub(super) fn finish(&self, reply: Reply, error: Option<&[u8]>) -> Vec<u8> {
        let rcode_high = reply.metadata.response_code.high();
        match reply.to_vec() {
            Ok(bytes) => self.close(bytes, rcode_high, error),
            // The reply is longer than 64 KiB, for instance.
            Err(_) => self.truncated(&reply_header(self), 0),
        }
    }

    /// Appends OPT, and truncates what is longer than the limit.
    pub(super) fn close(
        &self,
        mut bytes: Vec<u8>,
        rcode_high: u8,
        error: Option<&[u8]>,
    ) -> Vec<u8> {
        wire::put(&mut bytes, HEADER, &self.question);
        let header = bytes.get(..HEADER).unwrap_or_default().to_vec();
        self.append_opt(&mut bytes, rcode_high, error);
        if bytes.len() > self.limit {
            return self.truncated(&header, rcode_high);
        }
        bytes
    }

    fn truncated(&self, header: &[u8], rcode_high: u8) -> Vec<u8> {
        let mut bytes = header.to_vec();
        let flags = wire::flags(header) | flag::TRUNCATED;
        wire::put(&mut bytes, 2, &flags.to_be_bytes());
        wire::put(&mut bytes, 4, &[0, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend(&*self.question);
        self.append_opt(&mut bytes, rcode_high, None);
        bytes
    }

    fn append_opt(&self, bytes: &mut Vec<u8>, rcode_high: u8, error: Option<&[u8]>) {
        if let Some(edns) = self.edns {
            let count = wire::word(bytes, 10).saturating_add(1);
            wire::put(bytes, 10, &count.to_be_bytes());
            bytes.extend(edns::opt(rcode_high, edns.dnssec, error));
        }
    }
}

fn reply_header(query: &Query) -> Vec<u8> {
    let mut header = vec![0; HEADER];
    let kept = query.flags & flag::RECURSION_DESIRED;
    let flags = flag::RESPONSE | flag::RECURSION_AVAILABLE | kept;
    wire::put(&mut header, 0, &query.id.to_be_bytes());
    wire::put(&mut header, 2, &flags.to_be_bytes());
    header
}

/// A reply without a question, to a query that could not be parsed.
pub(super) fn bare(query: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut reply = query.get(..HEADER).unwrap_or_default().to_vec();
    let kept = wire::flags(query) & (flag::OPCODE | flag::RECURSION_DESIRED);
    let flags = flag::RESPONSE | flag::RECURSION_AVAILABLE | kept | u16::from(code.low());
    wire::put(&mut reply, 2, &flags.to_be_bytes());
    wire::put(&mut reply, 4, &[0; 8]);
    reply
}
