//! Taps: ports of a bridge whose other end is a file descriptor.

use std::os::fd::OwnedFd;

use rtnetlink::LinkUnspec;

use super::{Link, LinkError, Links, TapSpec, bridge::disable_ipv6};
use crate::{range, tap};

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

    /// Checks that a tap is as [`create_tap`](Links::create_tap) makes it: without its bridge a guest would have no network.
    pub async fn check_tap(&self, spec: &TapSpec) -> Result<(), LinkError> {
        let bridge = self.bridge_of(spec).await?;
        let what = match self.find(&spec.name).await? {
            None => "it is gone".to_owned(),
            Some(tap) if tap.master != Some(bridge.index) => {
                format!("it is not a port of `{}`", spec.bridge)
            }
            Some(tap) if tap.mtu != spec.mtu => format!("MTU {}, not {}", tap.mtu, spec.mtu),
            Some(tap) if !tap.up => "it is down".to_owned(),
            Some(_) => return Ok(()),
        };
        Err(LinkError::ReadBack {
            name: spec.name.clone(),
            what,
        })
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
