//! Queries of relays about leases, RFC 4388: by address, by Ethernet address or by client identifier.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, MessageType};

use super::config::rebinding;
use super::lease::Lease;
use super::message::ReplyMessage;
use super::reply::{Destination, Reply};
use super::request::Request;
use super::table::Table;
use crate::MacAddr;

/// The answer for the relay, which must give its address. Leases have no client identifier, so the answer to a query by
/// client identifier is that the lease is unknown.
pub(super) fn answer(table: &Table, now: u64, request: &Request) -> Option<Reply> {
    if !request.is_relayed() {
        return None;
    }
    let by_address = Some(request.message.ciaddr()).filter(|a| !a.is_unspecified());
    let by_mac = Some(request.mac).filter(|m| m.is_unicast());
    let address = match (by_address, by_mac, request.client_id()) {
        (Some(address), None, None) => Some(address).filter(|a| table.contains(*a)),
        (None, Some(mac), None) => table.on_record(mac),
        (None, None, Some(_)) => None,
        // A query has one key, section 6.2.
        _ => return None,
    };
    let owner = address.and_then(|a| table.owner(a));
    let is_active = |lease: Option<Lease>| lease.is_none_or(|l| l.expires > now);
    let (kind, mac) = match owner {
        Some((mac, lease)) if is_active(lease) => (MessageType::LeaseActive, mac),
        _ if by_address.is_some() && address.is_some() => {
            (MessageType::LeaseUnassigned, MacAddr([0; 6]))
        }
        _ => (MessageType::LeaseUnknown, request.mac),
    };
    let ciaddr = match kind {
        MessageType::LeaseUnknown => request.message.ciaddr(),
        _ => address.unwrap_or(Ipv4Addr::UNSPECIFIED),
    };
    let mut message = ReplyMessage::new(kind, request);
    message.header.set_ciaddr(ciaddr).set_chaddr(&mac.octets());
    let options = &mut message.options;
    options.push(DhcpOption::ServerIdentifier(table.config.server));
    if kind == MessageType::LeaseActive
        && let Some((_, Some(lease))) = owner
    {
        options.extend(times(table, lease, now));
    }
    let to = Destination::Relay(request.message.giaddr());
    Reply::new(table, request, message, to)
}

/// The rest of a lease and of its times, and the time since the client's last message, in seconds.
fn times(table: &Table, lease: Lease, now: u64) -> [DhcpOption; 4] {
    let seconds = |s: u64| u32::try_from(s).unwrap_or(u32::MAX);
    let whole = seconds(table.config.lease_time.as_secs());
    let left = seconds(lease.expires.saturating_sub(now));
    // A lease that is shorter than the configured time appears to be older, which does not harm the relay.
    let age = whole.saturating_sub(left);
    [
        DhcpOption::AddressLeaseTime(left),
        DhcpOption::Renewal((whole / 2).saturating_sub(age)),
        DhcpOption::Rebinding(rebinding(whole).saturating_sub(age)),
        DhcpOption::ClientLastTransactionTime(age),
    ]
}
