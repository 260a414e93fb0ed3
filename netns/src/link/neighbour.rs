//! Finds stations on the host's links that already have an address, by ARP, before the host takes it.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::libc::ETH_P_ARP;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto,
    socket,
};
use tokio::io::{Interest, unix::AsyncFd};
use tokio::time::{Instant, timeout_at};

use super::{Link, LinkError, Links};
use crate::tap::{link_address, watched};
use crate::{MacAddr, arp};

/// How often each address is probed: a packet may be lost.
const TIMES: u32 = 2;
/// How long a neighbour may take to answer.
const ANSWER_TIME: Duration = Duration::from_millis(60);
/// The same on a wireless link, where a station may sleep for one or two beacons of 102 ms.
const ANSWER_TIME_BY_RADIO: Duration = Duration::from_millis(240);
/// Most links that are probed; further ones are containers' and no uplinks.
const MOST_LINKS: usize = 32;

/// A station that answers for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The address.
    pub address: Ipv4Addr,
    /// The station's Ethernet address.
    pub mac: MacAddr,
    /// The name of the link that it is on.
    pub link: String,
}

impl Links {
    /// Probes these addresses on all Ethernet links (RFC 5227 section 2.1.1) in a thread of its own, and listens for 60 ms, or
    /// 240 ms with a wireless link. Links that cannot send have no answers.
    ///
    /// # Errors
    /// The links cannot be read.
    pub async fn who_has(&self, addresses: Vec<Ipv4Addr>) -> Result<PendingProbe, LinkError> {
        let mut links = self.list().await?;
        links.retain(|l| l.up && l.master.is_none() && l.mac.is_some_and(MacAddr::is_unicast));
        links.truncate(MOST_LINKS);
        if links.is_empty() || addresses.is_empty() {
            return Ok(PendingProbe(None));
        }
        let time = if links.iter().any(|l| is_radio(&l.name)) {
            ANSWER_TIME_BY_RADIO
        } else {
            ANSWER_TIME
        };
        Ok(PendingProbe(Some(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let heard = runtime.and_then(|r| r.block_on(probe_all(&links, &addresses, time)));
            heard.unwrap_or_default()
        }))))
    }
}

/// Whether a link is wireless: cfg80211 links its physical device in sysfs.
fn is_radio(name: &str) -> bool {
    std::path::Path::new("/sys/class/net")
        .join(name)
        .join("phy80211")
        .exists()
}

/// Probes under way, see [`Links::who_has`].
#[derive(Debug)]
pub struct PendingProbe(Option<std::thread::JoinHandle<Vec<Neighbour>>>);

impl PendingProbe {
    /// The stations that answered; waits for the rest of the time.
    #[must_use]
    pub fn answers(self) -> Vec<Neighbour> {
        let heard = self.0.map(std::thread::JoinHandle::join);
        heard.and_then(Result::ok).unwrap_or_default()
    }
}

async fn probe_all(
    links: &[Link],
    addresses: &[Ipv4Addr],
    time: Duration,
) -> io::Result<Vec<Neighbour>> {
    let socket = listen(0)?;
    let mut found: Vec<Neighbour> = Vec::new();
    for _ in 0..TIMES {
        for link in links {
            probe(&socket, link, addresses);
        }
        let until = Instant::now() + time / TIMES;
        while let Ok(heard) = timeout_at(until, hear(&socket)).await {
            let Some((index, mac, address)) = heard? else {
                continue;
            };
            let link = links.iter().find(|l| l.index == index);
            let is_news = !found.iter().any(|n| n.mac == mac && n.address == address);
            if let Some(link) = link.filter(|_| is_news && addresses.contains(&address)) {
                found.push(Neighbour {
                    address,
                    mac,
                    link: link.name.clone(),
                });
            }
        }
    }
    Ok(found)
}

/// A socket for the ARP frames of a link, or of all links with index 0.
pub(super) fn listen(link: u32) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let none: Option<SockProtocol> = None;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, none)?;
    let all = link_address(link, ETH_P_ARP).ok_or(nix::Error::EINVAL)?;
    bind(socket.as_raw_fd(), &all)?;
    watched(socket)
}

/// Sends a probe for each address; one that cannot be sent is lost.
fn probe(socket: &AsyncFd<OwnedFd>, link: &Link, addresses: &[Ipv4Addr]) {
    let Some((mac, to)) = link.mac.zip(link_address(link.index, ETH_P_ARP)) else {
        return;
    };
    for address in addresses {
        let frame = arp::probe(mac, *address);
        let _lost = sendto(socket.as_raw_fd(), &frame, &to, MsgFlags::empty());
    }
}

/// The sender of the next frame and the index of its link; `None` for a frame that is not ARP.
pub(super) async fn hear(
    socket: &AsyncFd<OwnedFd>,
) -> io::Result<Option<(u32, MacAddr, Ipv4Addr)>> {
    let receive = |socket: &OwnedFd| {
        let mut frame = [0; 64];
        let (length, from) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame)?;
        let index = from.and_then(|f| u32::try_from(f.ifindex()).ok());
        let sender = arp::sender(frame.get(..length).unwrap_or_default());
        Ok(index
            .zip(sender)
            .map(|(index, (mac, address))| (index, mac, address)))
    };
    socket.async_io(Interest::READABLE, receive).await
}
