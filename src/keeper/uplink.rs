//! Follows the uplink's MTU, which changes with a VPN. Nodes learn of it when they renew their leases.

use std::time::Duration;

use kvmc_netns::Links;

use super::reservations::Reservations;

/// Each check asks the kernel two questions. A node renews its lease every half hour.
const LOOK: Duration = Duration::from_secs(10);

/// Keeps a network's DHCP server announcing the MTU of the uplink, but at most `most`, the bridge's MTU.
pub(super) async fn follow(most: u32, reservations: Reservations) {
    let Ok(links) = Links::open() else {
        return;
    };
    loop {
        // While there is no uplink, the last MTU stays.
        if let Ok(Some(uplink)) = links.uplink().await {
            reservations.set_mtu(usable(uplink.mtu, most));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The MTU for nodes: at most their bridge's, at least what RFC 791 requires of every link.
fn usable(uplink: u32, most: u32) -> Option<u16> {
    const LEAST: u32 = 576;
    u16::try_from(uplink.max(LEAST).min(most)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p32_nodes_get_an_mtu_that_both_links_carry() {
        assert_eq!(usable(1400, 1500), Some(1400));
        assert_eq!(usable(9000, 1500), Some(1500));
        assert_eq!(usable(68, 1500), Some(576));
    }
}
