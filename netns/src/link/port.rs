//! Taps: ports of a bridge whose other end is a file descriptor.

use std::os::fd::OwnedFd;

use futures_util::future::try_join_all;
use rtnetlink::LinkUnspec;

use super::{Link, LinkError, Links, SpareTap, TapSpec, bridge::disable_ipv6};
use crate::{range, tap};

impl TapSpec {
    /// What of a tap is not as [`create_tap`](Links::create_tap) makes it, among the links that there are.
    #[must_use]
    pub fn difference(&self, links: &[Link]) -> Option<String> {
        let named = |name: &str| links.iter().find(|link| link.name == name);
        let Some(bridge) = named(&self.bridge) else {
            return Some(format!("`{}` is gone", self.bridge));
        };
        difference(named(&self.name), bridge.index, self)
    }
}

fn difference(tap: Option<&Link>, bridge: u32, spec: &TapSpec) -> Option<String> {
    match tap {
        None => Some("it is gone".to_owned()),
        Some(tap) if tap.master != Some(bridge) => {
            Some(format!("it is not a port of `{}`", spec.bridge))
        }
        Some(tap) if tap.mtu != spec.mtu => Some(format!("MTU {}, not {}", tap.mtu, spec.mtu)),
        Some(tap) if !tap.up => Some("it is down".to_owned()),
        Some(_) => None,
    }
}

impl Links {
    /// Makes a tap as a port of its bridge, and reads the result back.
    ///
    /// The tap ends with the last copy of the returned descriptor, also after an error. An existing link of that name is an
    /// error. The descriptor is close-on-exec and has a virtio-net header before each frame.
    pub async fn create_tap(&self, spec: &TapSpec) -> Result<OwnedFd, LinkError> {
        range::validate_link_name(&spec.name)?;
        let bridge = self.bridge_of(spec).await?;
        let fd = tap::create(&spec.name).map_err(|source| LinkError::Tap {
            name: spec.name.clone(),
            source,
        })?;
        let tap = self
            .find(&spec.name)
            .await?
            .ok_or_else(|| LinkError::Missing {
                name: spec.name.clone(),
            })?;
        disable_ipv6(&spec.name)?;
        let message = LinkUnspec::new_with_index(tap.index)
            .mtu(spec.mtu)
            .controller(bridge.index)
            .up()
            .build();
        self.change("bridge", &spec.name, message).await?;
        self.check_tap(spec).await?;
        Ok(fd)
    }

    /// Makes a tap that is down and a port of no bridge. It ends as one of [`create_tap`](Links::create_tap) does.
    pub async fn create_spare_tap(&self, name: &str) -> Result<OwnedFd, LinkError> {
        range::validate_link_name(name)?;
        let fd = tap::create(name).map_err(|source| LinkError::Tap {
            name: name.to_owned(),
            source,
        })?;
        disable_ipv6(name)?;
        Ok(fd)
    }

    /// Puts spare taps in the places of taps that are ports of bridges. No frame of the old ones passes once the first of the
    /// new ones is a port. The old ones are down then, and have their second names.
    ///
    /// A tap that is missing is an error before anything is changed.
    pub async fn swap_taps(&self, spares: &[SpareTap]) -> Result<(), LinkError> {
        let links = self.list().await?;
        let index = |name: &str| {
            let link = links.iter().find(|link| link.name == name);
            link.map(|link| link.index)
                .ok_or_else(|| LinkError::Missing {
                    name: name.to_owned(),
                })
        };
        let mut all = Vec::new();
        for spare in spares {
            range::validate_link_name(&spare.old_name)?;
            let tap = &spare.takes_place_of;
            let bridge = self.bridge_of(tap).await?.index;
            all.push((spare, index(&tap.name)?, index(&spare.name)?, bridge));
        }
        let gone = all.iter().map(async |(spare, old, _, _)| {
            let name = &spare.takes_place_of.name;
            let message = LinkUnspec::new_with_index(*old).nocontroller().down();
            self.change("bridge", name, message.build()).await
        });
        try_join_all(gone).await?;
        let renamed = all.iter().map(async |(spare, old, _, _)| {
            let message = LinkUnspec::new_with_index(*old).name(spare.old_name.clone());
            let name = &spare.takes_place_of.name;
            self.change("name", name, message.build()).await
        });
        try_join_all(renamed).await?;
        let plugged = all.iter().map(async |(spare, _, new, bridge)| {
            let tap = &spare.takes_place_of;
            let message = LinkUnspec::new_with_index(*new)
                .name(tap.name.clone())
                .mtu(tap.mtu)
                .controller(*bridge)
                .up();
            self.change("bridge", &spare.name, message.build()).await
        });
        try_join_all(plugged).await?;
        let links = self.list().await?;
        let wrong = spares.iter().find_map(|spare| {
            let tap = &spare.takes_place_of;
            Some((tap, tap.difference(&links)?))
        });
        match wrong {
            None => Ok(()),
            Some((tap, what)) => Err(LinkError::ReadBack {
                name: tap.name.clone(),
                what,
            }),
        }
    }

    /// Checks that a tap is as [`create_tap`](Links::create_tap) makes it: without its bridge a guest would have no network.
    pub async fn check_tap(&self, spec: &TapSpec) -> Result<(), LinkError> {
        let bridge = self.bridge_of(spec).await?;
        let tap = self.find(&spec.name).await?;
        let Some(what) = difference(tap.as_ref(), bridge.index, spec) else {
            return Ok(());
        };
        Err(LinkError::ReadBack {
            name: spec.name.clone(),
            what,
        })
    }

    /// Makes a tap that another program changed a port of its bridge again, up and with its MTU. A tap that is gone has no
    /// other end any more, so that stays an error.
    pub async fn restore_tap(&self, spec: &TapSpec) -> Result<(), LinkError> {
        let bridge = self.bridge_of(spec).await?;
        if let Some(tap) = self.find(&spec.name).await? {
            let message = LinkUnspec::new_with_index(tap.index)
                .mtu(spec.mtu)
                .controller(bridge.index)
                .up()
                .build();
            self.change("bridge", &spec.name, message).await?;
        }
        self.check_tap(spec).await
    }

    async fn bridge_of(&self, spec: &TapSpec) -> Result<Link, LinkError> {
        let bridge = self
            .find(&spec.bridge)
            .await?
            .ok_or_else(|| LinkError::Missing {
                name: spec.bridge.clone(),
            })?;
        if bridge.kind.as_deref() != Some("bridge") {
            return Err(LinkError::Foreign {
                name: spec.bridge.clone(),
                what: "not a bridge".to_owned(),
            });
        }
        Ok(bridge)
    }
}
