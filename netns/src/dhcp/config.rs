//! The parameters that the server gives to clients, and its reservations.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, OptionCode};
use ipnet::Ipv4Net;
use ipnetwork::Ipv4Network;

use crate::MacAddr;

/// The settings of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The server's address, which is its identifier, RFC 2132 section 9.7.
    pub server: Ipv4Addr,
    /// The subnet of the clients.
    pub subnet: Ipv4Network,
    /// The default router.
    pub router: Option<Ipv4Addr>,
    /// Other routes as destination and router, RFC 3442. Clients that use them ignore `router`, so the default route is
    /// sent beside them.
    pub routes: Vec<(Ipv4Network, Ipv4Addr)>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// The clients' domain.
    pub domain: Option<String>,
    /// The link's MTU in bytes, RFC 2132 section 5.1.
    pub mtu: Option<u16>,
    /// The duration of a lease. A client may request less, down to a minute.
    pub lease_time: Duration,
    /// Whether an address without a reservation is probed by ARP before it is offered, RFC 2131 section 3.1.
    /// [`super::Server`] sends the probes.
    pub probe: bool,
}

/// An address kept for one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The client's Ethernet address; its client identifier has no effect.
    pub mac: MacAddr,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its name, option 12.
    pub hostname: String,
}

/// Shortest lease that a client can request, in seconds.
const SHORTEST_LEASE: u32 = 60;

/// The parameters for a client without option 55, in this order.
const DEFAULT_PARAMETERS: [OptionCode; 10] = [
    OptionCode::SubnetMask,
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::Hostname,
    OptionCode::DomainName,
    OptionCode::InterfaceMtu,
    OptionCode::BroadcastAddr,
    OptionCode::Renewal,
    OptionCode::Rebinding,
    OptionCode::ClasslessStaticRoute,
];

impl Config {
    /// The duration of a lease in seconds, for a client that requests `wish`.
    pub(super) fn lease_seconds(&self, wish: Option<u32>) -> u32 {
        let longest = u32::try_from(self.lease_time.as_secs()).unwrap_or(u32::MAX);
        wish.map_or(longest, |wish| wish.max(SHORTEST_LEASE).min(longest))
    }

    /// The parameters that a client requests and that have a value, in the client's order, RFC 2132 section 9.8; without a
    /// request all of them. `lease` is in seconds; without it there are no times.
    pub(super) fn parameters(
        &self,
        requested: Option<&[OptionCode]>,
        hostname: Option<&str>,
        lease: Option<u32>,
    ) -> Vec<DhcpOption> {
        let requested = requested.unwrap_or(&DEFAULT_PARAMETERS);
        let most = requested.len().min(DEFAULT_PARAMETERS.len());
        let mut options: Vec<DhcpOption> = Vec::with_capacity(most);
        let mut add = |code: OptionCode| {
            if options.iter().all(|known| OptionCode::from(known) != code) {
                options.extend(self.parameter(code, hostname, lease));
            }
        };
        for &code in requested {
            // The mask comes before the router in any case, section 3.3.
            if code == OptionCode::Router && requested.contains(&OptionCode::SubnetMask) {
                add(OptionCode::SubnetMask);
            }
            add(code);
        }
        options
    }

    fn parameter(
        &self,
        code: OptionCode,
        hostname: Option<&str>,
        lease: Option<u32>,
    ) -> Option<DhcpOption> {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(match code {
            OptionCode::SubnetMask => DhcpOption::SubnetMask(self.subnet.mask()),
            OptionCode::Router => DhcpOption::Router(vec![self.router?]),
            OptionCode::DomainNameServer if !self.dns.is_empty() => {
                DhcpOption::DomainNameServer(self.dns.clone())
            }
            OptionCode::Hostname => DhcpOption::Hostname(hostname.and_then(text)?),
            OptionCode::DomainName => {
                DhcpOption::DomainName(self.domain.as_deref().and_then(text)?)
            }
            OptionCode::InterfaceMtu => DhcpOption::InterfaceMtu(self.mtu?),
            OptionCode::BroadcastAddr => DhcpOption::BroadcastAddr(self.subnet.broadcast()),
            // The same fractions that clients use by default, RFC 2131 section 4.4.5.
            OptionCode::Renewal => DhcpOption::Renewal(lease? / 2),
            OptionCode::Rebinding => DhcpOption::Rebinding(rebinding(lease?)),
            OptionCode::ClasslessStaticRoute => {
                DhcpOption::ClasslessStaticRoute(self.classless_routes()?)
            }
            _ => return None,
        })
    }

    fn classless_routes(&self) -> Option<Vec<(Ipv4Net, Ipv4Addr)>> {
        if self.routes.is_empty() {
            return None;
        }
        let default = self.router.map(|router| (Ipv4Net::default(), router));
        let others = self.routes.iter().filter_map(|(destination, router)| {
            let network = Ipv4Net::new(destination.network(), destination.prefix());
            Some((network.ok()?, *router))
        });
        Some(default.into_iter().chain(others).collect())
    }
}

/// Seven eighths, without overflow.
pub(super) fn rebinding(seconds: u32) -> u32 {
    seconds - seconds.div_ceil(8)
}
