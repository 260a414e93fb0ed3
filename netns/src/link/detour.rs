//! The way of the host's packets to an address, and the rule and route that lead them elsewhere.

use std::fmt;
use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use ipnetwork::IpNetwork;
use nix::libc;
use rtnetlink::packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{IpVersion, RouteMessageBuilder};

use super::rule::{self, Candidate, Rule};
use super::{LinkError, Links, read, request, to_io};
use crate::Change;

/// The port of ssh, which rules may select by.
const SSH: u16 = 22;

/// A way that is not the wanted one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detour {
    /// Where the packets go.
    pub end: End,
    /// The rule that chose the routing table, or that dropped the packet itself.
    pub rule: Option<Rule>,
    /// The routing table.
    pub table: Option<u32>,
    /// The destination of the route in that table.
    pub route: Option<IpNetwork>,
}

/// Where packets go instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// They leave by this link.
    Link(String),
    /// The host has the address itself.
    Itself,
    /// They go nowhere, for this reason.
    Nowhere(&'static str),
}

impl fmt::Display for Detour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            End::Link(link) => write!(f, "leave by {link}")?,
            End::Itself => f.write_str("stay on this host, which has that address")?,
            End::Nowhere(why) => write!(f, "are dropped ({why})")?,
        }
        if let Some(rule) = &self.rule {
            write!(f, ", by the rule `{rule}`")?;
        }
        match (self.route, self.table) {
            (Some(route), Some(table)) => {
                write!(f, ", by the route {route} of table {}", rule::name(table))
            }
            (None, Some(table)) if self.rule.is_none() => {
                write!(f, ", by table {}", rule::name(table))
            }
            _ => Ok(()),
        }
    }
}

impl Links {
    /// How the host's ssh packets to an address miss the link of this index, or `None` if they leave by it.
    pub async fn detour(&self, to: IpAddr, by: u32) -> Result<Option<Detour>, LinkError> {
        let (end, table) = match self.answer(to).await {
            Ok(Some(message)) if message.header.kind == RouteType::Local => {
                (End::Itself, read::table_of(&message))
            }
            Ok(Some(message)) if dropped(message.header.kind).is_some() => {
                let how = dropped(message.header.kind).unwrap_or_default();
                (End::Nowhere(how), read::table_of(&message))
            }
            Ok(Some(message)) => match output(&message) {
                Some(link) if link == by => return Ok(None),
                Some(link) => {
                    let links = self.list().await?;
                    (
                        End::Link(read::name_of(link, &links)),
                        read::table_of(&message),
                    )
                }
                None => (End::Nowhere("no link"), read::table_of(&message)),
            },
            Ok(None) => (End::Nowhere("no route"), None),
            Err(error) => match refusal(&error) {
                Some(why) => (End::Nowhere(why), None),
                None => {
                    return Err(LinkError::Request {
                        action: format!("look up the route to {to}"),
                        source: error,
                    });
                }
            },
        };
        let rules = self.rules(to).await?;
        let routes = self.candidates(to).await?;
        let found = rule::first(&rules, &routes, to, SSH);
        // What the kernel says counts; the rules name it only where both agree.
        let agrees = |table: u32| found.as_ref().is_some_and(|f| f.table == Some(table));
        let found = match table {
            Some(table) if !agrees(table) => None,
            _ => found,
        };
        // The kernel's errno of a rule is not that of a route.
        let drops = found.as_ref().and_then(|f| f.rule.drops());
        let end = match (end, drops) {
            (End::Nowhere(_), Some(how)) => End::Nowhere(how),
            (end, _) => end,
        };
        Ok(Some(Detour {
            end,
            table: table.or_else(|| found.as_ref().and_then(|f| f.table)),
            route: found.as_ref().and_then(|f| f.route),
            // The rules that every host has choose nothing.
            rule: found.map(|f| f.rule).filter(|rule| !rule.is_usual()),
        }))
    }

    /// Adds the route to the network of a bridge's address, if it is missing. The kernel makes it with the address, but
    /// another program may remove it.
    pub async fn ensure_route(&self, link: u32, address: IpNetwork) -> Result<Change, LinkError> {
        let action = || format!("add the route to {address}");
        let network = IpNetwork::new(address.network(), address.prefix()).ok();
        let message = RouteMessageBuilder::<IpAddr>::new()
            .output_interface(link)
            .protocol(RouteProtocol::Kernel)
            .scope(RouteScope::Link);
        let message = network.and_then(|n| message.destination_prefix(n.ip(), n.prefix()).ok());
        let message = message.and_then(|m| match address {
            IpNetwork::V4(_) => m.pref_source(address.ip()).ok(),
            // The kernel's own metric of such routes.
            IpNetwork::V6(_) => Some(m.priority(256)),
        });
        let Some(message) = message else {
            return Ok(Change::Unchanged);
        };
        let added = self.handle.route().add(message.build()).execute().await;
        match added.map_err(to_io) {
            Ok(()) => Ok(Change::Created),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Ok(Change::Unchanged)
            }
            Err(source) => Err(LinkError::Request {
                action: action(),
                source,
            }),
        }
    }

    /// The kernel's choice for an ssh packet of this host.
    async fn answer(&self, to: IpAddr) -> std::io::Result<Option<RouteMessage>> {
        let question = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(to, if to.is_ipv4() { 32 } else { 128 })
            .map_err(std::io::Error::other)?
            .ip_protocol(libc::IPPROTO_TCP as u8)
            .dport(SSH);
        let mut question = question.build();
        // Otherwise the answer always names the main table.
        question.header.flags = RouteFlags::LookupTable;
        let answers = self.handle.route().get(question).execute();
        let all: Vec<_> = answers.try_collect().await.map_err(to_io)?;
        Ok(all.into_iter().next())
    }

    /// The rules of an address's family, in their order.
    async fn rules(&self, of: IpAddr) -> Result<Vec<Rule>, LinkError> {
        let family = match of {
            IpAddr::V4(_) => IpVersion::V4,
            IpAddr::V6(_) => IpVersion::V6,
        };
        let messages = self.handle.rule().get(family).execute();
        let mut rules: Vec<Rule> = messages
            .map_ok(|message| rule::rule(&message))
            .try_collect()
            .await
            .map_err(request(|| "list the routing rules".to_owned()))?;
        rules.sort_by_key(|rule| rule.priority);
        Ok(rules)
    }

    /// The routes of all tables that hold an address.
    async fn candidates(&self, to: IpAddr) -> Result<Vec<Candidate>, LinkError> {
        let question = match to {
            IpAddr::V4(_) => RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
            IpAddr::V6(_) => RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
        };
        let messages = self.handle.route().get(question).execute();
        let holds = move |message: RouteMessage| {
            let candidate = read::candidate(&message);
            std::future::ready(Ok(candidate.filter(|c| c.destination.contains(to))))
        };
        messages
            .try_filter_map(holds)
            .try_collect()
            .await
            .map_err(request(|| "list the routes".to_owned()))
    }
}

/// The words for a kind of route, which IPv6 answers with.
const fn dropped(kind: RouteType) -> Option<&'static str> {
    match kind {
        RouteType::BlackHole => Some("blackhole"),
        RouteType::Unreachable => Some("unreachable"),
        RouteType::Prohibit => Some("prohibit"),
        _ => None,
    }
}

fn output(message: &RouteMessage) -> Option<u32> {
    message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

/// The words for an errno with which the kernel answers instead of a route, fib_props in net/ipv4/fib_semantics.c.
fn refusal(error: &std::io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::EINVAL => Some("blackhole"),
        libc::EACCES => Some("prohibit"),
        libc::EHOSTUNREACH => Some("unreachable"),
        libc::ENETUNREACH => Some("no route"),
        _ => None,
    }
}
