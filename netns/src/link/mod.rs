//! Links, addresses and routes, over rtnetlink.

mod alias;
mod bridge;
mod detour;
mod error;
mod neighbour;
mod port;
mod read;
mod rule;
mod station;
mod types;
mod veth;

use futures_util::TryStreamExt as _;
use ipnetwork::IpNetwork;
use nix::libc;

pub use self::detour::{Detour, End};
pub use self::error::LinkError;
use self::error::{request, to_io};
pub use self::neighbour::{Neighbour, PendingProbe};
pub use self::rule::Rule;
pub use self::station::stations;
pub use self::types::{Address, BridgeSpec, Link, Route, SpareTap, TapSpec};
use crate::{Change, range};

/// A handle on the links of one network namespace, that of the thread which opened it.
#[derive(Clone, Debug)]
pub struct Links {
    handle: rtnetlink::Handle,
}

impl Links {
    /// Opens a netlink socket in the network namespace of this thread. A task of the current tokio runtime serves it until the
    /// last clone is dropped.
    pub fn open() -> Result<Links, LinkError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| LinkError::NoRuntime)?;
        let (connection, handle, _) = rtnetlink::new_connection().map_err(LinkError::Open)?;
        runtime.spawn(connection);
        Ok(Links { handle })
    }

    /// All links, by index.
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

    /// The routes of all tables but `local`, IPv4 and IPv6.
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

    /// The uplink: the link of the IPv4 default route with the lowest metric in the main table.
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

    /// Removes the link of this name if it is there.
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
            // Another program has removed it meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(Change::Unchanged),
            Err(source) => Err(LinkError::Request {
                action: format!("remove the link `{name}`"),
                source,
            }),
        }
    }

    /// The kernel's message about a link.
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
