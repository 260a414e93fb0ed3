//! The loop: a UDP socket bound to the bridge to hear, raw frames to answer.
//!
//! Frames of our own need no ARP entry for a client that has no address yet, and carry a checksum that
//! is whole whatever the bridge offloads.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, sendto,
    setsockopt, socket, sockopt,
};
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::{Destination, LeaseFile, Notice, Reply, Table, handle};
use crate::MacAddr;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// What keeps the server from serving.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Another server has the port.
    #[error(
        "UDP port 67 on {bridge} is taken by another DHCP server; `ss -lunp sport = 67` names it"
    )]
    PortTaken {
        /// The bridge.
        bridge: String,
    },
    /// The system refused something.
    #[error("failed to {what} on {bridge}")]
    Socket {
        /// What.
        what: &'static str,
        /// The bridge.
        bridge: String,
        /// The system's word.
        #[source]
        source: nix::Error,
    },
}

/// A server on one bridge.
#[derive(Debug)]
pub struct Server {
    bridge: String,
    udp: UdpSocket,
    raw: OwnedFd,
    link: u32,
    mac: MacAddr,
}

impl Server {
    /// Opens the sockets on `bridge`; needs a tokio runtime, CAP_NET_RAW and CAP_NET_BIND_SERVICE.
    ///
    /// # Errors
    /// That the port is taken, or the system's word.
    pub fn bind(bridge: &str) -> Result<Self, ServerError> {
        let fail = |what: &'static str| {
            let bridge = bridge.to_owned();
            move |source| ServerError::Socket {
                what,
                bridge,
                source,
            }
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let udp = socket(AddressFamily::Inet, SockType::Datagram, flags, None)
            .map_err(fail("open a socket"))?;
        setsockopt(&udp, sockopt::BindToDevice, &OsString::from(bridge))
            .map_err(fail("bind to the device"))?;
        setsockopt(&udp, sockopt::Broadcast, &true).map_err(fail("allow broadcasts"))?;
        let any = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT));
        bind(udp.as_raw_fd(), &any).map_err(|source| match source {
            nix::Error::EADDRINUSE => ServerError::PortTaken {
                bridge: bridge.to_owned(),
            },
            source => fail("bind to port 67")(source),
        })?;
        let raw = socket(
            AddressFamily::Packet,
            SockType::Raw,
            flags,
            None::<SockProtocol>,
        )
        .map_err(fail("open a raw socket"))?;
        let link = nix::net::if_::if_nametoindex(bridge).map_err(fail("find the link"))?;
        let mac = mac_of(bridge).map_err(fail("find the Ethernet address"))?;
        let udp = UdpSocket::from_std(udp.into())
            .map_err(|_| fail("watch the socket")(nix::Error::EIO))?;
        Ok(Self {
            bridge: bridge.to_owned(),
            udp,
            raw,
            link,
            mac,
        })
    }

    /// Serves for ever, and keeps `lease_file` up to date.
    ///
    /// # Errors
    /// That the socket failed for good, as when the bridge is gone.
    pub async fn run(
        self,
        table: Arc<Mutex<Table>>,
        notices: mpsc::Sender<Notice>,
        mut lease_file: Option<LeaseFile>,
    ) -> Result<(), ServerError> {
        let mut packet = vec![0; 2048];
        loop {
            let fail = |source| ServerError::Socket {
                what: "hear",
                bridge: self.bridge.clone(),
                source,
            };
            let heard = self.udp.recv(&mut packet).await;
            let length = match heard {
                Ok(length) => length,
                Err(e) if e.raw_os_error() == Some(nix::libc::ENETDOWN) => continue,
                Err(e) => return Err(fail(nix::Error::from_raw(e.raw_os_error().unwrap_or(0)))),
            };
            let outcome = {
                let Ok(mut table) = table.lock() else {
                    continue;
                };
                let outcome = handle(&mut table, now(), packet.get(..length).unwrap_or_default());
                // Before the ACK goes out: what was promised must survive us.
                if let Some(file) = &mut lease_file {
                    file.follow(&table);
                }
                outcome
            };
            if let Some(reply) = outcome.reply {
                let server = table
                    .lock()
                    .map(|t| t.config.server)
                    .unwrap_or(Ipv4Addr::UNSPECIFIED);
                self.send(&reply, server);
            }
            if let Some(notice) = outcome.notice {
                // Nobody is owed a notice; the server must not wait.
                let _full = notices.try_send(notice);
            }
        }
    }

    /// A reply that cannot be sent is lost as any packet may be: the client asks again.
    fn send(&self, reply: &Reply, server: Ipv4Addr) {
        let (address, mac) = match reply.to {
            Destination::Broadcast => (Ipv4Addr::BROADCAST, MacAddr([0xff; 6])),
            Destination::Client { address, mac } => (address, mac),
            Destination::Relay(relay) => {
                let to = SockaddrIn::from(SocketAddrV4::new(relay, SERVER_PORT));
                let _lost = sendto(self.udp.as_raw_fd(), &reply.bytes, &to, MsgFlags::empty());
                return;
            }
        };
        let frame = frame(&reply.bytes, (self.mac, server), (mac, address));
        let Some(to) = crate::tap::link_address(self.link) else {
            return;
        };
        let _lost = sendto(self.raw.as_raw_fd(), &frame, &to, MsgFlags::empty());
    }
}

/// By getifaddrs(3): /sys may be mounted in another namespace, and show that one's links.
fn mac_of(link: &str) -> nix::Result<MacAddr> {
    nix::ifaddrs::getifaddrs()?
        .filter(|a| a.interface_name == link)
        .find_map(|a| a.address?.as_link_addr()?.addr())
        .map(MacAddr)
        .ok_or(nix::Error::ENODEV)
}

/// Ethernet, IPv4 and UDP around a message.
fn frame(message: &[u8], from: (MacAddr, Ipv4Addr), to: (MacAddr, Ipv4Addr)) -> Vec<u8> {
    let udp_length = u16::try_from(8 + message.len()).unwrap_or(u16::MAX);
    let mut udp = Vec::with_capacity(usize::from(udp_length));
    for word in [SERVER_PORT, CLIENT_PORT, udp_length, 0] {
        udp.extend(word.to_be_bytes());
    }
    udp.extend(message);
    let mut covered = Vec::new();
    covered.extend(from.1.octets());
    covered.extend(to.1.octets());
    covered.extend([0, 17]);
    covered.extend(udp_length.to_be_bytes());
    covered.extend(&udp);
    // Zero would mean that there is none, RFC 768.
    let sum = match checksum(&covered) {
        0 => 0xffff,
        sum => sum,
    };
    udp.splice(6..8, sum.to_be_bytes());

    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_length).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(from.1.octets());
    ip.extend(to.1.octets());
    let sum = checksum(&ip);
    ip.splice(10..12, sum.to_be_bytes());

    let mut frame = Vec::with_capacity(14 + ip.len() + udp.len());
    frame.extend(to.0.0);
    frame.extend(from.0.0);
    frame.extend([8, 0]);
    frame.extend(ip);
    frame.extend(udp);
    frame
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from))
        .sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap_or(0)
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p13_checksums_are_whole() {
        let from = (MacAddr([2; 6]), Ipv4Addr::new(192, 168, 80, 1));
        let to = (MacAddr([4; 6]), Ipv4Addr::new(192, 168, 80, 2));
        for length in [300, 301] {
            let frame = frame(&vec![7; length], from, to);
            assert_eq!(checksum(&frame[14..34]), 0, "IP header");
            let mut covered = frame[26..34].to_vec();
            covered.extend([0, 17]);
            covered.extend(&frame[38..40]);
            covered.extend(&frame[34..]);
            assert_eq!(checksum(&covered), 0, "UDP");
        }
    }
}
