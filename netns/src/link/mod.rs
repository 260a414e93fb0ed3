//! Links, addresses and routes: thin typed verbs over rtnetlink.

mod alias;
mod bridge;
mod error;
mod neighbour;
mod port;
mod read;

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use nix::libc;

pub use self::error::LinkError;
use self::error::{request, to_io};
pub use self::neighbour::{Asked, Neighbour};
use crate::{Change, MacAddr, range};

/// A handle on the links of one network namespace: that of the thread which opened it.
#[derive(Clone, Debug)]
pub struct Links {
    handle: rtnetlink::Handle,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it, unique in its namespace.
    pub index: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its Ethernet address, when it has one.
    pub mac: Option<MacAddr>,
    /// A word for people that it was given, `IFLA_IFALIAS`.
    pub alias: Option<String>,
    /// The largest packet it carries, in bytes, without the Ethernet header.
    pub mtu: u32,
    /// The driver's kind (`bridge`, `veth`, `tun`, ...); none for hardware and the loopback.
    pub kind: Option<String>,
    /// The index of the bridge (or bond, VRF, ...) that it is a port of.
    pub master: Option<u32>,
    /// Whether it is set up administratively; says nothing of a carrier.
    pub up: bool,
}

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The index of the link.
    pub link: u32,
    /// The name of the link.
    pub link_name: String,
    /// The address, with the length of the prefix that it shares with its neighbours.
    pub network: IpNetwork,
}

/// A route of any table but `local`, which holds the host's own addresses: a VPN has its own table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; a prefix of length 0 is a default route.
    pub destination: IpNetwork,
    /// The index of the link that packets leave by; the first one of several next hops.
    pub link: Option<u32>,
    /// The name of that link.
    pub link_name: Option<String>,
    /// The router that packets are handed to; none when the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The routing table; 254 is the main table.
    pub table: u32,
    /// Of two routes to one destination the lower metric wins.
    pub metric: u32,
}

/// A bridge as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeSpec {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its Ethernet address: fixed, or it would follow that of its lowest port.
    pub mac: MacAddr,
    /// Its MTU in bytes: fixed, or it would follow that of its smallest port.
    pub mtu: u32,
    /// The host's address on it, with the length of the prefix.
    pub address: Ipv4Network,
    /// The same of IPv6; without one, IPv6 is off on it.
    pub address6: Option<Ipv6Network>,
}

/// A tap as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapSpec {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// The name of the bridge that it becomes a port of.
    pub bridge: String,
    /// Its MTU in bytes.
    pub mtu: u32,
}

impl Links {
    /// Opens a netlink socket in the network namespace of this thread and runs it as a task of the
    /// current tokio runtime. The task ends with the last clone.
    pub fn open() -> Result<Links, LinkError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| LinkError::NoRuntime)?;
        let (connection, handle, _) = rtnetlink::new_connection().map_err(LinkError::Open)?;
        runtime.spawn(connection);
        Ok(Links { handle })
    }

    /// All links, in the order of their indexes.
    pub async fn list(&self) -> Result<Vec<Link>, LinkError> {
        let messages = self.handle.link().get().execute();
        let mut links: Vec<Link> = messages
            .map_ok(|message| read::link(&message))
            .try_collect()
            .await
            .map_err(request(|| "list the links".to_owned()))?;
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The link of this name.
    pub async fn find(&self, name: &str) -> Result<Option<Link>, LinkError> {
        Ok(self
            .message(name)
            .await?
            .map(|message| read::link(&message)))
    }

    /// All addresses of all links, IPv4 and IPv6.
    pub async fn addresses(&self) -> Result<Vec<Address>, LinkError> {
        let links = self.list().await?;
        let messages = self.handle.address().get().execute();
        messages
            .try_filter_map(|message| std::future::ready(Ok(read::address(&message, &links))))
            .try_collect()
            .await
            .map_err(request(|| "list the addresses".to_owned()))
    }

    /// The unicast routes (and the blackholes and the like) of all tables but `local`, IPv4 and IPv6.
    pub async fn routes(&self) -> Result<Vec<Route>, LinkError> {
        let links = self.list().await?;
        let mut routes = Vec::new();
        for question in [
            rtnetlink::RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
            rtnetlink::RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
        ] {
            let messages = self.handle.route().get(question).execute();
            let found: Vec<Route> = messages
                .try_filter_map(|message| std::future::ready(Ok(read::route(&message, &links))))
                .try_collect()
                .await
                .map_err(request(|| "list the routes".to_owned()))?;
            routes.extend(found);
        }
        Ok(routes)
    }

    /// The link by which this namespace reaches the internet: that of the IPv4 default route of the main
    /// table with the lowest metric.
    pub async fn uplink(&self) -> Result<Option<Link>, LinkError> {
        self.by_default(|destination| destination.is_ipv4()).await
    }

    /// As [`uplink`](Links::uplink), by the IPv6 default route.
    pub async fn uplink6(&self) -> Result<Option<Link>, LinkError> {
        self.by_default(|destination| destination.is_ipv6()).await
    }

    async fn by_default(
        &self,
        is_of_family: impl Fn(&IpNetwork) -> bool,
    ) -> Result<Option<Link>, LinkError> {
        let routes = self.routes().await?;
        let best = routes
            .iter()
            .filter(|route| route.table == u32::from(read::MAIN_TABLE))
            .filter(|route| is_of_family(&route.destination) && route.destination.prefix() == 0)
            .filter_map(|route| route.link.map(|link| (route.metric, link)))
            .min();
        let Some((_, index)) = best else {
            return Ok(None);
        };
        Ok(self
            .list()
            .await?
            .into_iter()
            .find(|link| link.index == index))
    }

    /// Removes the link of this name; one that is gone already is done.
    pub async fn delete(&self, name: &str) -> Result<Change, LinkError> {
        let Some(link) = self.find(name).await? else {
            return Ok(Change::Unchanged);
        };
        match self
            .handle
            .link()
            .del(link.index)
            .execute()
            .await
            .map_err(to_io)
        {
            Ok(()) => Ok(Change::Removed),
            // Between the look and the deed somebody else removed it.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(Change::Unchanged),
            Err(source) => Err(LinkError::Request {
                action: format!("remove the link `{name}`"),
                source,
            }),
        }
    }

    /// The kernel's full description of a link.
    async fn message(&self, name: &str) -> Result<Option<read::LinkMessage>, LinkError> {
        range::validate_link_name(name)?;
        let found = self
            .handle
            .link()
            .get()
            .match_name(name)
            .execute()
            .try_collect::<Vec<_>>()
            .await;
        match found.map_err(to_io) {
            Ok(messages) => Ok(messages.into_iter().next()),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(source) => Err(LinkError::Request {
                action: format!("look up the link `{name}`"),
                source,
            }),
        }
    }

    /// Changes an existing link.
    async fn change(
        &self,
        what: &str,
        name: &str,
        message: read::LinkMessage,
    ) -> Result<(), LinkError> {
        let changed = self.handle.link().change(message).execute().await;
        changed.map_err(request(|| format!("set the {what} of `{name}`")))
    }
}
