//! A pair of virtual links between two network namespaces.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use ipnetwork::IpNetwork;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::{LinkError, Links, request};
use crate::{Change, range};

/// The loopback's index in every namespace.
const LOOPBACK: u32 = 1;

impl Links {
    /// Makes a pair of links in this namespace, both down. The first one has the alias, so it is known wherever it is moved.
    pub async fn create_veth(
        &self,
        name: &str,
        peer: &str,
        mtu: u32,
        alias: &str,
    ) -> Result<(), LinkError> {
        range::validate_link_name(name)?;
        range::validate_link_name(peer)?;
        let other = LinkMessageBuilder::<LinkUnspec>::new()
            .name(peer.to_owned())
            .mtu(mtu)
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(name.to_owned())
            .mtu(mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(other)))
            .append_extra_attribute(LinkAttribute::IfAlias(alias.to_owned()))
            .build();
        let added = self.handle.link().add(message).execute().await;
        added.map_err(request(|| format!("create the link `{name}`")))?;
        // Kernels do not read the alias of a new link.
        self.set_alias(name, alias).await?;
        Ok(())
    }

    /// Moves a link to another namespace. It loses its addresses.
    pub async fn move_link(&self, name: &str, to: &File) -> Result<(), LinkError> {
        let link = self.require(name).await?;
        let message = LinkUnspec::new_with_index(link)
            .setns_by_fd(to.as_raw_fd())
            .build();
        self.change("namespace", name, message).await
    }

    /// Sets a link up and gives it addresses.
    pub async fn set_up(&self, name: &str, addresses: &[IpNetwork]) -> Result<(), LinkError> {
        let link = self.require(name).await?;
        self.change("state", name, LinkUnspec::new_with_index(link).up().build())
            .await?;
        for address in addresses {
            let add = self.handle.address();
            let add = add.add(link, address.ip(), address.prefix()).execute();
            add.await
                .or_else(unless_there)
                .map_err(request(|| format!("add the address {address} to `{name}`")))?;
        }
        Ok(())
    }

    /// Sets the loopback up.
    pub async fn set_up_loopback(&self) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_index(LOOPBACK).up().build();
        self.change("state", "lo", message).await
    }

    /// Adds the default route by a router.
    pub async fn add_default_route(&self, router: IpAddr) -> Result<Change, LinkError> {
        let message = RouteMessageBuilder::<IpAddr>::new();
        let any = match router {
            IpAddr::V4(_) => IpAddr::from([0_u8; 4]),
            IpAddr::V6(_) => IpAddr::from([0_u8; 16]),
        };
        let message = message
            .destination_prefix(any, 0)
            .and_then(|message| message.gateway(router))
            .map_err(|e| LinkError::Request {
                action: format!("make a route by {router}"),
                source: std::io::Error::other(e),
            })?;
        let added = self.handle.route().add(message.build()).execute().await;
        added
            .or_else(unless_there)
            .map_err(request(|| format!("add the default route by {router}")))?;
        Ok(Change::Created)
    }

    async fn require(&self, name: &str) -> Result<u32, LinkError> {
        let link = self.find(name).await?;
        let link = link.ok_or_else(|| LinkError::Missing {
            name: name.to_owned(),
        })?;
        Ok(link.index)
    }
}

/// Accepts that something is there already.
fn unless_there(error: rtnetlink::Error) -> Result<(), rtnetlink::Error> {
    if let rtnetlink::Error::NetlinkError(message) = &error
        && message.to_io().kind() == std::io::ErrorKind::AlreadyExists
    {
        return Ok(());
    }
    Err(error)
}
