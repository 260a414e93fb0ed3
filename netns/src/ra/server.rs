//! The loop that answers solicitations on one bridge and sends unsolicited advertisements.

use std::ffi::OsString;
use std::io::IoSliceMut;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6,
    recvmsg, sendto, setsockopt, socket, sockopt,
};
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::message::{Advertisement, is_solicitation};
use super::routing::Routing;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Time between unsolicited advertisements: the default of RFC 4861's MaxRtrAdvInterval.
const INTERVAL: Duration = Duration::from_secs(600);
/// Least time between advertisements to all nodes, RFC 4861's MIN_DELAY_BETWEEN_RAS: one guest must not flood the others.
const BETWEEN: Duration = Duration::from_secs(3);

/// The server cannot serve.
#[derive(Debug, Error)]
#[error("failed to {what} on {bridge}")]
pub struct RaError {
    what: &'static str,
    bridge: String,
    #[source]
    source: nix::Error,
}

/// Sends router advertisements on one bridge.
#[derive(Debug)]
pub struct Server {
    bridge: String,
    socket: UdpSocket,
    /// None where the kernel sends no notices.
    routing: Option<Routing>,
    link: u32,
    message: Vec<u8>,
}

impl Server {
    /// Opens the socket on `bridge`. Needs a tokio runtime and CAP_NET_RAW.
    ///
    /// # Errors
    /// A system call failed.
    pub fn bind(bridge: &str, advertisement: &Advertisement) -> Result<Self, RaError> {
        let fail = |what: &'static str| {
            let bridge = bridge.to_owned();
            move |source| RaError {
                what,
                bridge,
                source,
            }
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let raw = socket(
            AddressFamily::Inet6,
            SockType::Raw,
            flags,
            SockProtocol::IcmpV6,
        )
        .map_err(fail("open an ICMPv6 socket"))?;
        setsockopt(&raw, sockopt::BindToDevice, &OsString::from(bridge))
            .map_err(fail("bind to the device"))?;
        let link = nix::net::if_::if_nametoindex(bridge).map_err(fail("find the link"))?;
        // Receivers drop a packet with a lower hop limit, which may have passed a router.
        setsockopt(&raw, sockopt::Ipv6MulticastHops, &255).map_err(fail("set the hop limit"))?;
        setsockopt(&raw, sockopt::Ipv6Ttl, &255).map_err(fail("set the hop limit"))?;
        setsockopt(&raw, sockopt::Ipv6RecvHopLimit, &true).map_err(fail("ask for hop limits"))?;
        // nix's request has no field for the link.
        socket2::SockRef::from(&raw)
            .join_multicast_v6(&ALL_ROUTERS, link)
            .map_err(|e| fail("join all-routers")(errno(&e)))?;
        // It is a UdpSocket only to wait for packets; recvmsg reads them with their hop limit.
        let socket = UdpSocket::from_std(raw.into())
            .map_err(|_| fail("watch the socket")(nix::Error::EIO))?;
        Ok(Self {
            bridge: bridge.to_owned(),
            socket,
            routing: Routing::listen(link).ok(),
            link,
            message: advertisement.encode(),
        })
    }

    /// Serves until the socket fails.
    ///
    /// # Errors
    /// The socket failed, as when the bridge is gone.
    pub async fn run(mut self) -> Result<(), RaError> {
        let mut unasked = Instant::now();
        let mut last: Option<Instant> = None;
        loop {
            let source = tokio::select! {
                heard = self.hear() => heard.map_err(|source| RaError {
                    what: "hear solicitations",
                    bridge: self.bridge.clone(),
                    source,
                })?,
                () = tokio::time::sleep_until(unasked) => Ipv6Addr::UNSPECIFIED,
                heard = begins(self.routing.as_ref()) => {
                    // A guest that resolved this router's address while the bridge did not route has removed its default
                    // route, RFC 4861 section 7.2.5, and does not solicit again before its link goes down and up.
                    self.routing = self.routing.filter(|_| heard.is_ok());
                    Ipv6Addr::UNSPECIFIED
                }
            };
            let now = Instant::now();
            if !source.is_unspecified() {
                // The server answers a solicitation at once, since there are no other routers.
                self.send(source);
                continue;
            }
            if last.is_none_or(|last| now >= last + BETWEEN) {
                self.send(ALL_NODES);
                last = Some(now);
                unasked = now + INTERVAL;
            } else if let Some(last) = last {
                unasked = unasked.min(last + BETWEEN);
            }
        }
    }

    /// Waits for a solicitation and returns its sender.
    async fn hear(&self) -> Result<Ipv6Addr, nix::Error> {
        loop {
            let received = self
                .socket
                .async_io(Interest::READABLE, || Ok(receive(&self.socket)?))
                .await;
            match received {
                Ok(Some(source)) => return Ok(source),
                Ok(None) => {}
                Err(e) => match errno(&e) {
                    // The bridge is down for a moment.
                    nix::Error::ENETDOWN | nix::Error::EINTR => {}
                    other => return Err(other),
                },
            }
        }
    }

    /// Sends an advertisement. One that cannot be sent is lost: a bridge without ports has no link-local address and no
    /// receivers.
    fn send(&self, to: Ipv6Addr) {
        let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, self.link));
        let _lost = sendto(
            self.socket.as_raw_fd(),
            &self.message,
            &to,
            MsgFlags::empty(),
        );
    }
}

/// Waits until the bridge begins to route; for ever where the kernel sends no notices.
async fn begins(routing: Option<&Routing>) -> std::io::Result<()> {
    match routing {
        Some(routing) => routing.begins().await,
        None => std::future::pending().await,
    }
}

fn errno(error: &std::io::Error) -> nix::Error {
    nix::Error::from_raw(error.raw_os_error().unwrap_or(0))
}

/// Receives a packet and returns the source of a solicitation; `None` for other packets.
fn receive(socket: &UdpSocket) -> Result<Option<Ipv6Addr>, nix::Error> {
    let mut bytes = [0; 1500];
    let mut control = nix::cmsg_space!(nix::libc::c_int);
    let (length, source, hop_limit) = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg::<SockaddrIn6>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        )?;
        let hop_limit = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::Ipv6HopLimit(limit) => u8::try_from(limit).ok(),
            _ => None,
        });
        (received.bytes, received.address, hop_limit)
    };
    let Some((source, hop_limit)) = source.zip(hop_limit) else {
        return Ok(None);
    };
    let message = bytes.get(..length).unwrap_or_default();
    let source = source.ip();
    Ok(is_solicitation(message, source, hop_limit).then_some(source))
}
