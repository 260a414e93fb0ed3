//! Who on the host's links has an address already: asked by ARP before the host takes it.

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

/// Each address is asked for so often: a packet may be lost.
const TIMES: u32 = 2;
/// How long a neighbour may take to answer; one behind a radio may sleep for a beacon or two, 102 ms each.
const PATIENCE: Duration = Duration::from_millis(60);
const PATIENCE_BY_RADIO: Duration = Duration::from_millis(240);
/// Links asked at most; beyond, they are containers' and not the host's ways out.
const MOST_LINKS: usize = 32;

/// A station that answers for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The address.
    pub address: Ipv4Addr,
    /// Who answers.
    pub mac: MacAddr,
    /// The name of the link that it is on.
    pub link: String,
}

impl Links {
    /// Asks on all Ethernet links who has these addresses, by probes that claim nothing (RFC 5227 section
    /// 2.1.1), and listens for 60 ms, or 240 where one is a radio's, while the caller does something else.
    /// Where packets cannot be sent, nobody answers.
    ///
    /// # Errors
    /// That the links cannot be read.
    pub async fn who_has(&self, addresses: Vec<Ipv4Addr>) -> Result<Asked, LinkError> {
        let mut links = self.list().await?;
        links.retain(|l| l.up && l.master.is_none() && l.mac.is_some_and(MacAddr::is_unicast));
        links.truncate(MOST_LINKS);
        if links.is_empty() || addresses.is_empty() {
            return Ok(Asked(None));
        }
        let patience = if links.iter().any(|l| is_radio(&l.name)) {
            PATIENCE_BY_RADIO
        } else {
            PATIENCE
        };
        // A thread of its own hears in time, whatever the caller's is at.
        Ok(Asked(Some(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let heard = runtime.and_then(|r| r.block_on(ask(&links, &addresses, patience)));
            heard.unwrap_or_default()
        }))))
    }
}

/// Whether a link is of a wireless card: cfg80211 has its physical device beside it in sysfs.
fn is_radio(name: &str) -> bool {
    std::path::Path::new("/sys/class/net")
        .join(name)
        .join("phy80211")
        .exists()
}

/// A question under way, see [`Links::who_has`].
#[derive(Debug)]
pub struct Asked(Option<std::thread::JoinHandle<Vec<Neighbour>>>);

impl Asked {
    /// Who has answered; waits for the rest of the patience.
    #[must_use]
    pub fn heard(self) -> Vec<Neighbour> {
        let heard = self.0.map(std::thread::JoinHandle::join);
        heard.and_then(Result::ok).unwrap_or_default()
    }
}

async fn ask(
    links: &[Link],
    addresses: &[Ipv4Addr],
    patience: Duration,
) -> io::Result<Vec<Neighbour>> {
    let socket = on_all_links()?;
    let mut found: Vec<Neighbour> = Vec::new();
    for _ in 0..TIMES {
        for link in links {
            probe(&socket, link, addresses);
        }
        let until = Instant::now() + patience / TIMES;
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

fn on_all_links() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let none: Option<SockProtocol> = None;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, none)?;
    let all = link_address(0, ETH_P_ARP).ok_or(nix::Error::EINVAL)?;
    bind(socket.as_raw_fd(), &all)?;
    watched(socket)
}

/// A probe that cannot be sent, as on a link that has no carrier, has no answer.
fn probe(socket: &AsyncFd<OwnedFd>, link: &Link, addresses: &[Ipv4Addr]) {
    let Some((mac, to)) = link.mac.zip(link_address(link.index, ETH_P_ARP)) else {
        return;
    };
    for address in addresses {
        let frame = arp::probe(mac, *address);
        let _lost = sendto(socket.as_raw_fd(), &frame, &to, MsgFlags::empty());
    }
}

/// The next one who says to have an address, and the index of the link; none of what is no ARP.
async fn hear(socket: &AsyncFd<OwnedFd>) -> io::Result<Option<(u32, MacAddr, Ipv4Addr)>> {
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
