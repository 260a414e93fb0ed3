//! The sockets: UDP bound to the bridge to hear requests, ARP to hear who is there, raw frames to answer.
//!
//! Frames of our own need no ARP entry for a client that has no address yet, and carry a checksum that
//! is whole whatever the bridge offloads.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};

use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, recv,
    sendto, setsockopt, socket, sockopt,
};
use thiserror::Error;
use tokio::io::{Interest, unix::AsyncFd};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::frame::frame;
use super::service::{Event, Service};
use super::{Destination, LeaseFile, Reply, Table};
use crate::MacAddr;
use crate::arp;
use crate::ports::{self, Holder, Protocol};
use crate::tap::{link_address, watched};

pub(super) const SERVER_PORT: u16 = 67;
pub(super) const CLIENT_PORT: u16 = 68;
const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// Bytes of requests that wait while the server is busy; the default holds less than a hundred requests.
const BACKLOG: usize = 4 << 20;

/// What keeps the server from serving.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Another server has the port.
    #[error(
        "UDP port 67 on {bridge} is taken by {}; let it serve DHCP on links of its own alone, or end it",
        holder.as_ref().map_or_else(|| "another DHCP server (`ss -lunp sport = 67` names it)".to_owned(), ToString::to_string)
    )]
    PortTaken {
        /// The bridge.
        bridge: String,
        /// Who has it, where that can be seen.
        holder: Option<Holder>,
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
    arp: AsyncFd<OwnedFd>,
    link: LinkAddr,
    mac: MacAddr,
}

impl Server {
    /// Takes port 67 on a bridge. Needs CAP_NET_RAW and CAP_NET_BIND_SERVICE.
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
        // Without the right to go beyond the system's limit, what the limit allows.
        let _as_far_as_it_goes = setsockopt(&udp, sockopt::RcvBufForce, &BACKLOG)
            .or_else(|_| setsockopt(&udp, sockopt::RcvBuf, &BACKLOG));
        let any = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT));
        let index = nix::net::if_::if_nametoindex(bridge).map_err(fail("find the link"))?;
        let holder = || ports::holder_on(Protocol::Udp, index, ANY, SERVER_PORT);
        let taken = ports::take(|| bind(udp.as_raw_fd(), &any), holder);
        taken.map_err(|source| match source {
            nix::Error::EADDRINUSE => ServerError::PortTaken {
                bridge: bridge.to_owned(),
                holder: holder(),
            },
            source => fail("bind to port 67")(source),
        })?;
        let packets = || {
            let none: Option<SockProtocol> = None;
            socket(AddressFamily::Packet, SockType::Raw, flags, none)
                .map_err(fail("open a raw socket"))
        };
        // Without a protocol, it hears nothing.
        let raw = packets()?;
        let address = |protocol| {
            link_address(index, protocol)
                .ok_or(nix::Error::EINVAL)
                .map_err(fail("name the link"))
        };
        let arp = packets()?;
        bind(arp.as_raw_fd(), &address(nix::libc::ETH_P_ARP)?).map_err(fail("listen for ARP"))?;
        let mac = mac_of(bridge).map_err(fail("find the Ethernet address"))?;
        let watch = |_| fail("watch the socket")(nix::Error::EIO);
        Ok(Self {
            bridge: bridge.to_owned(),
            udp: UdpSocket::from_std(udp.into()).map_err(watch)?,
            raw,
            arp: watched(arp).map_err(watch)?,
            link: address(nix::libc::ETH_P_IP)?,
            mac,
        })
    }

    /// Whether somebody has port 67 of all links, so that it could not be had on a bridge that is yet to be made.
    /// Who serves links of his own alone is in nobody's way.
    ///
    /// # Errors
    /// That the port is taken, and by whom.
    pub fn check_free(bridge: &str) -> Result<(), ServerError> {
        match ports::holder_on_all(Protocol::Udp, ANY, SERVER_PORT) {
            None => Ok(()),
            holder => Err(ServerError::PortTaken {
                bridge: bridge.to_owned(),
                holder,
            }),
        }
    }

    /// Serves for ever, and keeps `lease_file` up to date.
    ///
    /// # Errors
    /// That the socket failed for good, as when the bridge is gone.
    pub async fn run(
        self,
        table: Arc<Mutex<Table>>,
        events: mpsc::Sender<Event>,
        lease_file: Option<LeaseFile>,
    ) -> Result<(), ServerError> {
        Service::new(self, table, events, lease_file).run().await
    }

    /// Waits until there is a request.
    pub(super) async fn requested(&self) -> Result<(), ServerError> {
        self.udp.readable().await.map_err(|e| self.deaf(&e))
    }

    /// The next request, if there is one already.
    pub(super) fn request(&self, packet: &mut [u8]) -> Result<Option<usize>, ServerError> {
        match self.udp.try_recv(packet) {
            Ok(length) => Ok(Some(length)),
            // The bridge was down for a moment.
            Err(e) if e.raw_os_error() == Some(nix::libc::ENETDOWN) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(self.deaf(&e)),
        }
    }

    fn deaf(&self, error: &io::Error) -> ServerError {
        ServerError::Socket {
            what: "hear",
            bridge: self.bridge.clone(),
            source: nix::Error::from_raw(error.raw_os_error().unwrap_or(0)),
        }
    }

    /// The next ARP frame. One that cannot be heard is empty.
    pub(super) async fn spoken(&self, frame: &mut [u8]) -> usize {
        let hear = |socket: &OwnedFd| Ok(recv(socket.as_raw_fd(), frame, MsgFlags::empty())?);
        self.arp
            .async_io(Interest::READABLE, hear)
            .await
            .unwrap_or(0)
    }

    /// Asks everybody who has an address.
    pub(super) fn ask(&self, address: Ipv4Addr) {
        self.send_frame(&arp::probe(self.mac, address));
    }

    /// A reply that cannot be sent is lost as any packet may be: the client asks again.
    pub(super) fn send(&self, reply: &Reply, server: Ipv4Addr) {
        let (address, mac) = match reply.to {
            Destination::Broadcast => (Ipv4Addr::BROADCAST, MacAddr::BROADCAST),
            Destination::Client { address, mac } => (address, mac),
            Destination::Relay(relay) => {
                let to = SockaddrIn::from(SocketAddrV4::new(relay, SERVER_PORT));
                let _lost = sendto(self.udp.as_raw_fd(), &reply.bytes, &to, MsgFlags::empty());
                return;
            }
        };
        self.send_frame(&frame(&reply.bytes, (self.mac, server), (mac, address)));
    }

    fn send_frame(&self, frame: &[u8]) {
        let _lost = sendto(self.raw.as_raw_fd(), frame, &self.link, MsgFlags::empty());
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
