//! The uplink's MTU, followed: it changes with a VPN, and nodes hear of it when they renew.

use std::time::Duration;

use kvmc_netns::Links;

use super::reservations::Reservations;

/// A look is two questions to the kernel; a node renews every half an hour.
const LOOK: Duration = Duration::from_secs(10);

/// Has a network's DHCP server tell the MTU of the way out, up to `most`, its bridge's own.
pub(super) async fn follow(most: u32, reservations: Reservations) {
    let Ok(links) = Links::open() else {
        return;
    };
    loop {
        // Without an uplink for the moment, what was told last is as good.
        if let Ok(Some(uplink)) = links.uplink().await {
            reservations.set_mtu(usable(uplink.mtu, most));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What nodes are to use: no more than their bridge carries, no less than RFC 791 asks of every link.
fn usable(uplink: u32, most: u32) -> Option<u16> {
    const LEAST: u32 = 576;
    u16::try_from(uplink.max(LEAST).min(most)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p32_nodes_are_told_what_both_links_carry() {
        assert_eq!(usable(1400, 1500), Some(1400));
        assert_eq!(usable(9000, 1500), Some(1500));
        assert_eq!(usable(68, 1500), Some(576));
    }
}
