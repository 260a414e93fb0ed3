//! The sockets on one bridge: UDP for requests, ARP for the stations on the link, and raw frames for replies.
//!
//! A raw frame needs no ARP entry for a client without an address, and has a full checksum whatever the bridge offloads.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

use dhcproto::v4::SERVER_PORT;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, recv,
    sendto, setsockopt, socket, sockopt,
};
use thiserror::Error;
use tokio::io::{Interest, unix::AsyncFd};
use tokio::net::UdpSocket;

use super::frame::frame;
use super::reply::{Destination, Reply};
use crate::arp;
use crate::ports::{self, Holder};
use crate::tap::{link_address, watched};
use crate::{MacAddr, Protocol};

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// Size of the receive buffer in bytes; the system's default holds less than a hundred requests.
const BACKLOG: usize = 4 << 20;

/// The server cannot serve.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Another process has the port.
    #[error(
        "UDP port 67 on {bridge} is taken by {}; end it, or have it serve DHCP only on its own links",
        holder.as_ref().map_or_else(|| "another DHCP server (`ss -lunp sport = 67` names it)".to_owned(), ToString::to_string)
    )]
    PortTaken {
        /// The bridge.
        bridge: String,
        /// The process that has it, if kvmc may see that process.
        holder: Option<Holder>,
    },
    /// A system call failed.
    #[error("failed to {what} on {bridge}")]
    Socket {
        /// The purpose of the call: a verb and its object.
        what: &'static str,
        /// The bridge.
        bridge: String,
        /// The system's error.
        #[source]
        source: nix::Error,
    },
}

/// The sockets of a server on one bridge.
#[derive(Debug)]
pub(super) struct Sockets {
    bridge: String,
    udp: UdpSocket,
    raw: OwnedFd,
    arp: AsyncFd<OwnedFd>,
    link: LinkAddr,
    mac: MacAddr,
}

impl Sockets {
    /// Opens the sockets on a bridge. Needs a tokio runtime, CAP_NET_RAW and CAP_NET_BIND_SERVICE.
    ///
    /// # Errors
    /// Another process has port 67, or a system call failed.
    pub(super) fn open(bridge: &str) -> Result<Self, ServerError> {
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
        // Without the right to exceed the system's limit, the limit holds.
        let _as_large_as_allowed = setsockopt(&udp, sockopt::RcvBufForce, &BACKLOG)
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
        // It only sends: a packet socket without a protocol receives nothing.
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

    /// Waits for a request.
    pub(super) async fn wait_for_request(&self) -> Result<(), ServerError> {
        self.udp
            .readable()
            .await
            .map_err(|e| self.receive_error(&e))
    }

    /// Receives the next request if there is one.
    pub(super) fn receive_request(&self, packet: &mut [u8]) -> Result<Option<usize>, ServerError> {
        match self.udp.try_recv(packet) {
            Ok(length) => Ok(Some(length)),
            // The bridge is down for a moment.
            Err(e) if e.raw_os_error() == Some(nix::libc::ENETDOWN) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(self.receive_error(&e)),
        }
    }

    fn receive_error(&self, error: &io::Error) -> ServerError {
        ServerError::Socket {
            what: "receive requests",
            bridge: self.bridge.clone(),
            source: nix::Error::from_raw(error.raw_os_error().unwrap_or(0)),
        }
    }

    /// Waits for the next ARP frame and returns its length; 0 when it cannot be received.
    pub(super) async fn receive_arp(&self, frame: &mut [u8]) -> usize {
        let receive = |socket: &OwnedFd| Ok(recv(socket.as_raw_fd(), frame, MsgFlags::empty())?);
        self.arp
            .async_io(Interest::READABLE, receive)
            .await
            .unwrap_or(0)
    }

    /// Probes an address by ARP.
    pub(super) fn probe(&self, address: Ipv4Addr) {
        self.send_frame(&arp::probe(self.mac, address));
    }

    /// Sends a reply. One that cannot be sent is lost, and the client asks again.
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

/// The Ethernet address of a link, by getifaddrs(3): /sys may belong to another network namespace and show its links.
fn mac_of(link: &str) -> nix::Result<MacAddr> {
    nix::ifaddrs::getifaddrs()?
        .filter(|a| a.interface_name == link)
        .find_map(|a| a.address?.as_link_addr()?.addr())
        .map(MacAddr)
        .ok_or(nix::Error::ENODEV)
}
