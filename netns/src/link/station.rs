//! Asks the stations of a bridge by ARP who has addresses, RFC 826.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::libc::ETH_P_ARP;
use nix::sys::socket::{MsgFlags, sendto};
use tokio::time::{Instant, timeout_at};

use super::Link;
use super::neighbour::{hear, listen};
use crate::tap::link_address;
use crate::{MacAddr, arp};

/// How long it listens after the last expected answer, since a second station may have the same address.
const SECOND: Duration = Duration::from_millis(150);
/// Most stations that are told of for one address, for guests may send what they like.
const MOST: usize = 4;

/// All stations that say within `time` that they have one of these addresses, each with the MAC address of the station that
/// should have it. Asks as `own` on a link, once more those that are silent for half of the time, and returns early when
/// all have answered. Of an address with very many stations it tells a few, and the right one.
///
/// # Errors
/// No socket can be had, or the link is gone.
pub async fn stations(
    link: &Link,
    own: Ipv4Addr,
    wanted: &[(Ipv4Addr, MacAddr)],
    time: Duration,
) -> io::Result<Vec<(Ipv4Addr, MacAddr)>> {
    let (mac, to) = (link.mac)
        .zip(link_address(link.index, ETH_P_ARP))
        .ok_or(nix::Error::ENODEV)?;
    let mut found: Vec<(Ipv4Addr, MacAddr)> = Vec::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    let socket = listen(link.index)?;
    let ask = |address: Ipv4Addr| {
        let frame = arp::request(mac, own, address);
        sendto(socket.as_raw_fd(), &frame, &to, MsgFlags::empty())
    };
    for (address, _) in wanted {
        ask(*address)?;
    }
    let began = Instant::now();
    let (mut until, mut has_asked_again) = (began + time, false);
    let silent = |found: &[(Ipv4Addr, MacAddr)]| -> Vec<Ipv4Addr> {
        let has_answered = |address: &Ipv4Addr| found.iter().any(|(of, _)| of == address);
        let all = wanted.iter().map(|(address, _)| *address);
        all.filter(|address| !has_answered(address)).collect()
    };
    loop {
        let pause = if has_asked_again {
            until
        } else {
            until.min(began + time / 2)
        };
        match timeout_at(pause, hear(&socket)).await {
            Ok(heard) => {
                let Some((_, mac, address)) = heard? else {
                    continue;
                };
                let news = (address, mac);
                let is_asked = wanted.iter().any(|(of, _)| *of == address);
                let of_it = found.iter().filter(|(of, _)| *of == address).count();
                let has_room = of_it < MOST || wanted.contains(&news);
                if is_asked && has_room && !found.contains(&news) {
                    found.push(news);
                    if silent(&found).is_empty() {
                        until = until.min(Instant::now() + SECOND);
                    }
                }
            }
            Err(_) if Instant::now() >= until => return Ok(found),
            Err(_) => {
                has_asked_again = true;
                for address in silent(&found) {
                    // One that is lost is as one that is not answered.
                    let _lost = ask(address);
                }
            }
        }
    }
}
