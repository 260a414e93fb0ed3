//! What the server says to everyone, and to whom it keeps addresses.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;

use super::wire::code;
use crate::MacAddr;

/// What every answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The server's own address: its identifier, RFC 2132 section 9.7.
    pub server: Ipv4Addr,
    /// The range served.
    pub subnet: Ipv4Network,
    /// The default router.
    pub router: Option<Ipv4Addr>,
    /// Other routes, RFC 3442: destination and router. Clients that take them ignore `router`, so the
    /// default route is written beside them.
    pub routes: Vec<(Ipv4Network, Ipv4Addr)>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Domain of the clients.
    pub domain: Option<String>,
    /// The link's MTU in bytes, RFC 2132 section 5.1.
    pub mtu: Option<u16>,
    /// How long a lease lasts. A client may ask for less, down to a minute.
    pub lease_time: Duration,
    /// Whether an address that is not reserved is asked for by ARP before it is offered, RFC 2131
    /// section 3.1. [`super::Server`] does the asking.
    pub probe: bool,
}

/// An address kept for one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The client's Ethernet address; its client identifier does not matter.
    pub mac: MacAddr,
    /// Its address for ever.
    pub address: Ipv4Addr,
    /// Its name, option 12.
    pub hostname: String,
}

/// Shortest lease, in seconds, that a client gets by asking for a short one.
const SHORTEST_LEASE: u32 = 60;

/// What a client gets that says nothing of what it wants, in this order.
const USUAL: [u8; 10] = [
    code::SUBNET_MASK,
    code::ROUTER,
    code::DOMAIN_NAME_SERVER,
    code::HOST_NAME,
    code::DOMAIN_NAME,
    code::INTERFACE_MTU,
    code::BROADCAST_ADDRESS,
    code::RENEWAL_TIME,
    code::REBINDING_TIME,
    code::CLASSLESS_ROUTE,
];

impl Config {
    /// The length in seconds of a lease for a client that asks for `wish`.
    pub(super) fn lease_seconds(&self, wish: Option<u32>) -> u32 {
        let longest = u32::try_from(self.lease_time.as_secs()).unwrap_or(u32::MAX);
        wish.map_or(longest, |wish| wish.max(SHORTEST_LEASE).min(longest))
    }

    /// The options that a client wants and for which there is a value, in the client's order, RFC 2132
    /// section 9.8; all of them when it does not say. `lease` is in seconds; without it there are no times.
    pub(super) fn parameters(
        &self,
        wanted: Option<&[u8]>,
        hostname: Option<&str>,
        lease: Option<u32>,
    ) -> Vec<(u8, Vec<u8>)> {
        let wanted = wanted.unwrap_or(&USUAL);
        let mut options: Vec<(u8, Vec<u8>)> = Vec::with_capacity(wanted.len().min(USUAL.len()));
        let mut add = |code: u8| {
            let is_new = options.iter().all(|(known, _)| *known != code);
            if let Some(value) = is_new
                .then(|| self.parameter(code, hostname, lease))
                .flatten()
            {
                options.push((code, value));
            }
        };
        for &code in wanted {
            // Whatever the order asked for, the mask comes before the router, section 3.3.
            if code == code::ROUTER && wanted.contains(&code::SUBNET_MASK) {
                add(code::SUBNET_MASK);
            }
            add(code);
        }
        options
    }

    fn parameter(&self, code: u8, hostname: Option<&str>, lease: Option<u32>) -> Option<Vec<u8>> {
        let address = |address: Ipv4Addr| address.octets().to_vec();
        let text = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
        match code {
            code::SUBNET_MASK => Some(address(self.subnet.mask())),
            code::ROUTER => self.router.map(address),
            code::DOMAIN_NAME_SERVER => {
                let all: Vec<u8> = self.dns.iter().flat_map(Ipv4Addr::octets).collect();
                (!all.is_empty()).then_some(all)
            }
            code::HOST_NAME => hostname.and_then(text),
            code::DOMAIN_NAME => self.domain.as_deref().and_then(text),
            code::INTERFACE_MTU => self.mtu.map(|mtu| mtu.to_be_bytes().to_vec()),
            code::BROADCAST_ADDRESS => Some(address(self.subnet.broadcast())),
            // The same parts of a lease as RFC 2131 section 4.4.5 has for clients that are not told.
            code::RENEWAL_TIME => lease.map(|s| (s / 2).to_be_bytes().to_vec()),
            code::REBINDING_TIME => lease.map(|s| rebinding(s).to_be_bytes().to_vec()),
            code::CLASSLESS_ROUTE => self.classless_routes(),
            _ => None,
        }
    }

    fn classless_routes(&self) -> Option<Vec<u8>> {
        if self.routes.is_empty() {
            return None;
        }
        let mut value = Vec::new();
        let mut add = |prefix: u8, destination: Ipv4Addr, router: Ipv4Addr| {
            value.push(prefix);
            let significant = usize::from(prefix).div_ceil(8);
            value.extend(destination.octets().iter().take(significant));
            value.extend(router.octets());
        };
        if let Some(router) = self.router {
            add(0, Ipv4Addr::UNSPECIFIED, router);
        }
        for (destination, router) in &self.routes {
            add(destination.prefix(), destination.network(), *router);
        }
        Some(value)
    }
}

/// Seven eighths, without overflow.
fn rebinding(seconds: u32) -> u32 {
    seconds - seconds.div_ceil(8)
}
