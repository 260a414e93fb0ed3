//! Makes bridges, and corrects their settings.

use ipnetwork::IpNetwork;
use rtnetlink::{
    LinkBridge, LinkMessageBuilder, LinkUnspec,
    packet_route::{
        address::{AddressAttribute, AddressFlags},
        link::{BridgeStpState, InfoBridge},
    },
};

use super::{BridgeSpec, Link, LinkError, Links, error::to_io, read, request};
use crate::{Change, failpoint::failpoint, sysctl};

impl Links {
    /// Makes the bridge, or corrects one that has the wanted Ethernet address.
    ///
    /// A link of that name that is not a bridge, or has another Ethernet address, belongs to another program. The result
    /// is then [`LinkError::Foreign`], and nothing changes. A bridge that cannot be completed is removed.
    pub async fn ensure_bridge(&self, spec: &BridgeSpec) -> Result<Change, LinkError> {
        let addresses: Vec<_> = addresses(spec).collect();
        self.ensure(spec, &addresses).await
    }

    /// As [`ensure_bridge`](Links::ensure_bridge), but gives the bridge no address. A name server that binds a port of each
    /// address as it appears (dnsmasq's `--bind-dynamic`) would be faster than ours: ours binds first, then
    /// [`ensure_bridge`](Links::ensure_bridge) adds the addresses.
    pub async fn prepare_bridge(&self, spec: &BridgeSpec) -> Result<Change, LinkError> {
        self.ensure(spec, &[]).await
    }

    /// Corrects the settings and addresses of a bridge; `None` if it is gone. It makes none.
    pub async fn restore_bridge(&self, spec: &BridgeSpec) -> Result<Option<Change>, LinkError> {
        let Some(link) = self.find(&spec.name).await? else {
            return Ok(None);
        };
        self.refuse_foreign(&link, spec).await?;
        let addresses: Vec<_> = addresses(spec).collect();
        let change = self.complete_bridge(&link, spec, &addresses).await?;
        Ok(Some(change))
    }

    async fn ensure(
        &self,
        spec: &BridgeSpec,
        addresses: &[IpNetwork],
    ) -> Result<Change, LinkError> {
        if let Some(link) = self.find(&spec.name).await? {
            self.refuse_foreign(&link, spec).await?;
            return self.complete_bridge(&link, spec, addresses).await;
        }
        self.add_bridge(spec).await?;
        let completed = async {
            failpoint!("up.bridge.added");
            let link = self
                .find(&spec.name)
                .await?
                .ok_or_else(|| LinkError::Missing {
                    name: spec.name.clone(),
                })?;
            self.complete_bridge(&link, spec, addresses).await
        };
        match completed.await {
            Ok(_) => Ok(Change::Created),
            Err(error) => {
                // The first error is reported. A bridge that stays is found next time.
                let _ = self.delete(&spec.name).await;
                Err(error)
            }
        }
    }

    async fn add_bridge(&self, spec: &BridgeSpec) -> Result<(), LinkError> {
        // The kernel fixes a bridge's MTU only when it is changed after creation, so it is created with another one.
        let other_mtu = spec.mtu.saturating_sub(1);
        let message = LinkMessageBuilder::<LinkBridge>::new(&spec.name)
            .address(spec.mac.octets().to_vec())
            .mtu(other_mtu)
            // A guest's DHCP client does not wait for a spanning tree.
            .stp_state(BridgeStpState::Disabled)
            .forward_delay(0)
            .group_fwd_mask(forwarded_groups(spec))
            .build();
        let added = self.handle.link().add(message).execute().await;
        added.map_err(request(|| format!("create the bridge `{}`", spec.name)))
    }

    async fn refuse_foreign(&self, link: &Link, spec: &BridgeSpec) -> Result<(), LinkError> {
        let what = match (link.kind.as_deref(), link.mac) {
            (Some("bridge"), Some(mac)) if mac == spec.mac => return Ok(()),
            (Some("bridge"), Some(mac)) => {
                let links = self.list().await?;
                let ports = links.iter().filter(|port| port.master == Some(link.index));
                let ports: Vec<&str> = ports.map(|port| port.name.as_str()).collect();
                let ports = if ports.is_empty() {
                    "none".to_owned()
                } else {
                    ports.join(" ")
                };
                format!(
                    "a bridge with the MAC address {mac}, not {} (ports: {ports})",
                    spec.mac
                )
            }
            (kind, _) => format!(
                "not a bridge but of kind {}",
                kind.unwrap_or("hardware or loopback")
            ),
        };
        Err(LinkError::Foreign {
            name: spec.name.clone(),
            what,
        })
    }

    /// Corrects settings that differ. Switches IPv6 off before the bridge is up, so that no packet leaks.
    async fn complete_bridge(
        &self,
        link: &Link,
        spec: &BridgeSpec,
        addresses: &[IpNetwork],
    ) -> Result<Change, LinkError> {
        let mut change = Change::Unchanged;
        let unspec = || LinkUnspec::new_with_index(link.index);
        if link.mtu != spec.mtu {
            self.change("MTU", &spec.name, unspec().mtu(spec.mtu).build())
                .await?;
            change = Change::Changed;
        }
        if self.wrong_settings(spec).await?.is_some() {
            let message = || LinkMessageBuilder::<LinkBridge>::new(&spec.name).index(link.index);
            // In one message the kernel would set the delay first, and refuse 0 with a spanning tree.
            for message in [
                message().stp_state(BridgeStpState::Disabled),
                message().forward_delay(0),
                message().group_fwd_mask(forwarded_groups(spec)),
            ] {
                self.change(
                    "spanning tree or forwarded groups",
                    &spec.name,
                    message.build(),
                )
                .await?;
            }
            change = Change::Changed;
        }
        let ipv6 = match spec.address6 {
            None => disable_ipv6(&spec.name)?,
            Some(_) => enable_ipv6(&spec.name)?,
        };
        if ipv6 == Change::Changed {
            change = Change::Changed;
        }
        for address in addresses {
            if self.ensure_address(link, &spec.name, *address).await? == Change::Changed {
                change = Change::Changed;
            }
        }
        if !link.up {
            self.change("state", &spec.name, unspec().up().build())
                .await?;
            change = Change::Changed;
        }
        if change == Change::Changed {
            self.read_back(spec, addresses).await?;
        }
        Ok(change)
    }

    async fn ensure_address(
        &self,
        link: &Link,
        name: &str,
        address: IpNetwork,
    ) -> Result<Change, LinkError> {
        if self.has_address(link, address).await? {
            return Ok(Change::Unchanged);
        }
        let mut request = self
            .handle
            .address()
            .add(link.index, address.ip(), address.prefix());
        if address.is_ipv6() {
            // Without the flag the address is tentative for a moment, and no socket can be bound to it.
            let flags = AddressAttribute::Flags(AddressFlags::Nodad);
            request.message_mut().attributes.push(flags);
        }
        match request.execute().await.map_err(to_io) {
            Ok(()) => Ok(Change::Changed),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Ok(Change::Unchanged)
            }
            Err(source) => Err(LinkError::Request {
                action: format!("give `{name}` the address {address}"),
                source,
            }),
        }
    }

    async fn has_address(&self, link: &Link, wanted: IpNetwork) -> Result<bool, LinkError> {
        let addresses = self.addresses().await?;
        Ok(addresses
            .iter()
            .any(|address| address.link == link.index && address.network == wanted))
    }

    async fn lacking(
        &self,
        link: &Link,
        addresses: &[IpNetwork],
    ) -> Result<Option<IpNetwork>, LinkError> {
        for address in addresses {
            if !self.has_address(link, *address).await? {
                return Ok(Some(*address));
            }
        }
        Ok(None)
    }

    /// A setting that differs from what [`add_bridge`](Links::add_bridge) sets.
    async fn wrong_settings(&self, spec: &BridgeSpec) -> Result<Option<String>, LinkError> {
        let Some(message) = self.message(&spec.name).await? else {
            return Err(LinkError::Missing {
                name: spec.name.clone(),
            });
        };
        let mut settings = read::bridge_settings(&message);
        let wrong = settings.find(|setting| match setting {
            InfoBridge::StpState(state) => *state != BridgeStpState::Disabled,
            InfoBridge::ForwardDelay(delay) => *delay != 0,
            InfoBridge::GroupFwdMask(mask) => *mask != forwarded_groups(spec),
            _ => false,
        });
        Ok(wrong.map(|setting| format!("{setting:?}")))
    }

    async fn read_back(&self, spec: &BridgeSpec, addresses: &[IpNetwork]) -> Result<(), LinkError> {
        let link = self
            .find(&spec.name)
            .await?
            .ok_or_else(|| LinkError::Missing {
                name: spec.name.clone(),
            })?;
        let what = if link.mac != Some(spec.mac) {
            format!("MAC address {:?}, not {}", link.mac, spec.mac)
        } else if link.mtu != spec.mtu {
            format!("MTU {}, not {}", link.mtu, spec.mtu)
        } else if !link.up {
            "it is down".to_owned()
        } else if let Some(address) = self.lacking(&link, addresses).await? {
            format!("it lacks the address {address}")
        } else if let Some(setting) = self.wrong_settings(spec).await? {
            setting
        } else {
            return Ok(());
        };
        Err(LinkError::ReadBack {
            name: spec.name.clone(),
            what,
        })
    }
}

/// The groups 01-80-C2-00-00-0X that are passed on, a bit each: LLDP's ends in E (IEEE 802.1AB section 7.1).
const fn forwarded_groups(spec: &BridgeSpec) -> u16 {
    if spec.lldp { 1 << 0xe } else { 0 }
}

fn addresses(spec: &BridgeSpec) -> impl Iterator<Item = IpNetwork> {
    let second = spec.address6.map(IpNetwork::V6);
    std::iter::once(IpNetwork::V4(spec.address)).chain(second)
}

/// Switches IPv6 on for a link on which this host is the router: it ignores other routers' advertisements, and does no
/// duplicate address detection.
fn enable_ipv6(name: &str) -> Result<Change, LinkError> {
    let mut change = Change::Unchanged;
    for (key, value) in [
        ("accept_ra", "0"),
        ("autoconf", "0"),
        ("accept_dad", "0"),
        ("dad_transmits", "0"),
        ("disable_ipv6", "0"),
    ] {
        if sysctl::write(&format!("net/ipv6/conf/{name}/{key}"), value)? == Change::Changed {
            change = Change::Changed;
        }
    }
    Ok(change)
}

/// Switches IPv6 off for a link. Otherwise guests could reach the host by its link-local address, which our rules do not
/// filter. A kernel without IPv6 has no such parameter.
pub(super) fn disable_ipv6(name: &str) -> Result<Change, LinkError> {
    let parameter = format!("net/ipv6/conf/{name}/disable_ipv6");
    if sysctl::read(&parameter)?.is_none() {
        return Ok(Change::Unchanged);
    }
    Ok(sysctl::write(&parameter, "1")?)
}
