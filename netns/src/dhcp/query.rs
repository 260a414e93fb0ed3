//! What relays ask about leases, RFC 4388: by address, by Ethernet address or by client identifier.

use std::net::Ipv4Addr;

use super::handle::{Destination, Reply, longest};
use super::table::{Lease, Table};
use super::wire::{Kind, Message, Request, code};
use crate::MacAddr;

/// The answer for the relay, which must name itself. Leases are not kept by client identifier, so of those
/// nothing is known.
pub(super) fn answer(table: &Table, now: u64, request: &Request) -> Option<Reply> {
    if request.giaddr.is_unspecified() {
        return None;
    }
    let by_address = Some(request.ciaddr).filter(|a| !a.is_unspecified());
    let by_mac = Some(request.mac).filter(|m| m.is_unicast());
    let address = match (by_address, by_mac, &request.client_id) {
        (Some(address), None, None) => Some(address).filter(|a| table.contains(*a)),
        (None, Some(mac), None) => table.on_record(mac),
        (None, None, Some(_)) => None,
        // One thing at a time, section 6.2.
        _ => return None,
    };
    let owner = address.and_then(|a| table.owner(a));
    let is_active = |lease: Option<Lease>| lease.is_none_or(|l| l.expires > now);
    let (kind, mac) = match owner {
        Some((mac, lease)) if is_active(lease) => (Kind::LeaseActive, mac),
        _ if by_address.is_some() && address.is_some() => (Kind::LeaseUnassigned, MacAddr([0; 6])),
        _ => (Kind::LeaseUnknown, request.mac),
    };
    let mut options = vec![(
        code::SERVER_IDENTIFIER,
        table.config.server.octets().to_vec(),
    )];
    let ciaddr = match kind {
        Kind::LeaseUnknown => request.ciaddr,
        _ => address.unwrap_or(Ipv4Addr::UNSPECIFIED),
    };
    if kind == Kind::LeaseActive
        && let Some((_, Some(lease))) = owner
    {
        options.extend(times(table, lease, now));
    }
    let message = Message {
        kind,
        xid: request.xid,
        flags: request.flags,
        ciaddr,
        yiaddr: Ipv4Addr::UNSPECIFIED,
        giaddr: request.giaddr,
        mac,
        options,
        relay_agent: request.relay_agent.clone(),
    };
    Some(Reply {
        bytes: message.encode(longest(table, request)),
        to: Destination::Relay(request.giaddr),
        promises: false,
    })
}

/// What is left of a lease and of its times, in seconds, and how long ago the client was last heard.
fn times(table: &Table, lease: Lease, now: u64) -> [(u8, Vec<u8>); 4] {
    let seconds = |s: u64| u32::try_from(s).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    let whole = table.config.lease_time.as_secs();
    let left = lease.expires.saturating_sub(now);
    // A lease that was asked for to be short seems to be older than it is: no worse for the relay.
    let age = whole.saturating_sub(left);
    [
        (code::LEASE_TIME, seconds(left)),
        (code::RENEWAL_TIME, seconds((whole / 2).saturating_sub(age))),
        (
            code::REBINDING_TIME,
            seconds((whole - whole.div_ceil(8)).saturating_sub(age)),
        ),
        (code::LAST_TRANSACTION_TIME, seconds(age)),
    ]
}
