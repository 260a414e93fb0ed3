//! The sockets on one bridge: port 53 of the host's address there.
//!
//! They are bound to the address and to the bridge. Bound only to the address, they would receive from every link, since
//! the kernel accepts packets for any of its addresses on any link. Bound to the bridge too, they receive from its ports,
//! and from the host: the kernel counts a packet of the host to its own address as received on the link that has it.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ipnetwork::IpNetwork;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::service::{Service, Step};
use crate::Protocol;
use crate::ports::Holder;

const PORT: u16 = 53;
/// Longest question, in bytes.
const LONGEST_QUESTION: usize = 4096;
/// Connections at a time on each socket.
const CONNECTIONS: usize = 32;
/// How long a connection may be idle (RFC 7766 section 6.2.3), or a reply wait for the client to read it.
const IDLE: Duration = Duration::from_secs(10);

/// The server cannot serve.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Another server has the port.
    #[error(
        "{protocol} port 53 of {address} is taken by {}; end it, or have it listen on other addresses",
        holder.as_ref().map_or_else(|| "another program".to_owned(), ToString::to_string)
    )]
    PortTaken {
        /// The protocol.
        protocol: Protocol,
        /// The address.
        address: IpAddr,
        /// The process that has it, if kvmc may see that process.
        holder: Option<Holder>,
    },
    /// A system call failed.
    #[error("failed to {what} for DNS on {address}")]
    Socket {
        /// The purpose of the call: a verb and its object.
        what: &'static str,
        /// The address.
        address: IpAddr,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

/// A server on one address of a bridge.
#[derive(Debug)]
pub struct Server {
    udp: UdpSocket,
    tcp: TcpListener,
    clients: Clients,
}

impl Server {
    /// Opens the sockets for the address of `range` that the host has, or is to have, on `bridge`. Needs a tokio runtime,
    /// CAP_NET_RAW and CAP_NET_BIND_SERVICE. Without `forwards` guests get answers only from the zone, since a forwarded
    /// query leaves an isolated network.
    ///
    /// # Errors
    /// Another process has the port, or a system call failed.
    pub fn bind(bridge: &str, range: IpNetwork, forwards: bool) -> Result<Self, ServerError> {
        let address = range.ip();
        let watch = || failed("watch a socket", address);
        let udp = open(Protocol::Udp, Some(bridge), address)?;
        let tcp = open(Protocol::Tcp, Some(bridge), address)?;
        Ok(Self {
            udp: UdpSocket::from_std(udp.into()).map_err(watch())?,
            tcp: TcpListener::from_std(tcp.into()).map_err(watch())?,
            clients: Clients { range, forwards },
        })
    }

    /// Checks that the port of an address is free; the host need not have the address yet.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn check_free(address: IpAddr) -> Result<(), ServerError> {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            open(protocol, None, address)?;
        }
        Ok(())
    }

    /// Serves until a socket fails.
    ///
    /// # Errors
    /// A socket failed.
    pub async fn run(self, service: Arc<Service>) -> Result<(), ServerError> {
        let Self { udp, tcp, clients } = self;
        let handler = Handler { service, clients };
        let ended = tokio::select! {
            ended = serve_udp(udp, handler.clone()) => ended,
            never = serve_tcp(tcp, handler) => never,
        };
        ended.map_err(failed("hear", clients.range.ip()))
    }
}

/// The clients that get replies.
#[derive(Debug, Clone, Copy)]
struct Clients {
    /// The network of the clients, with the host's address.
    range: IpNetwork,
    /// Whether their queries are forwarded; the host's own always are.
    forwards: bool,
}

/// Handles the queries of one server.
#[derive(Debug, Clone)]
struct Handler {
    service: Arc<Service>,
    clients: Clients,
}

impl Handler {
    /// Whether a client gets replies: one of the network, or one that the host routes to by the network, as the pods of
    /// nodes whose network plugin does not masquerade.
    fn is_client(&self, client: IpAddr) -> bool {
        self.clients.range.contains(client) || self.is_routed_here(client)
    }

    /// Whether the host would send from its address on the bridge, which is that of routes by the bridge.
    fn is_routed_here(&self, client: IpAddr) -> bool {
        /// Discard (RFC 863); nothing is sent.
        const PORT: u16 = 9;
        let own = self.clients.range.ip();
        if client.is_loopback() || client.is_unspecified() || client.is_multicast() {
            return false;
        }
        let source = std::net::UdpSocket::bind((any(own), 0)).and_then(|socket| {
            socket.connect((client, PORT))?;
            socket.local_addr()
        });
        source.is_ok_and(|source| source.ip() == own)
    }

    fn receive(&self, bytes: &[u8], by: Protocol, client: IpAddr) -> Step {
        let forwards = self.clients.forwards || client == self.clients.range.ip();
        self.service.receive(bytes, by, forwards)
    }
}

/// The unspecified address of the family of another.
const fn any(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

fn failed(what: &'static str, address: IpAddr) -> impl FnOnce(std::io::Error) -> ServerError {
    move |source| ServerError::Socket {
        what,
        address,
        source,
    }
}

fn open(protocol: Protocol, link: Option<&str>, address: IpAddr) -> Result<OwnedFd, ServerError> {
    let fail = |what| {
        let failed = failed(what, address);
        move |e: nix::Error| failed(e.into())
    };
    let family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let kind = match protocol {
        Protocol::Udp => SockType::Datagram,
        Protocol::Tcp => SockType::Stream,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let opened = socket(family, kind, flags, None).map_err(fail("open a socket"))?;
    // Allows the port while earlier connections end; a listening socket still conflicts.
    if protocol == Protocol::Tcp {
        setsockopt(&opened, sockopt::ReuseAddr, &true).map_err(fail("take the port over"))?;
    }
    if let Some(link) = link {
        setsockopt(&opened, sockopt::BindToDevice, &OsString::from(link))
            .map_err(fail("bind to the device"))?;
    }
    // The address may not be there yet, and an IPv6 address may be tentative, RFC 4862.
    setsockopt(&opened, sockopt::IpFreebind, &true).map_err(fail("bind ahead of time"))?;
    let taken = || ServerError::PortTaken {
        protocol,
        address,
        holder: crate::ports::holder(protocol, address, PORT),
    };
    let at = SockaddrStorage::from(SocketAddr::new(address, PORT));
    let or_taken = |what| {
        move |e| match e {
            nix::Error::EADDRINUSE => taken(),
            e => fail(what)(e),
        }
    };
    let holder = || crate::ports::holder(protocol, address, PORT);
    crate::ports::take(|| bind(opened.as_raw_fd(), &at), holder)
        .map_err(or_taken("bind to port 53"))?;
    if protocol == Protocol::Tcp {
        let backlog = Backlog::new(64).map_err(fail("listen"))?;
        listen(&opened, backlog).map_err(|e| match e {
            nix::Error::EADDRINUSE => taken(),
            e => fail("listen")(e),
        })?;
    }
    Ok(opened)
}

async fn serve_udp(socket: UdpSocket, handler: Handler) -> std::io::Result<()> {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; LONGEST_QUESTION];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(came) => came,
            // Errors of earlier packets, and of a link that is down for a moment.
            Err(e) if is_passing(&e) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            Err(e) => return Err(e),
        };
        if !handler.is_client(client.ip()) {
            continue;
        }
        let question = buffer.get(..length).unwrap_or_default();
        match handler.receive(question, Protocol::Udp, client.ip()) {
            // A reply that cannot be sent is lost, and the client asks again.
            Step::Done(Some(reply)) => drop(socket.try_send_to(&reply, client)),
            Step::Done(None) => {}
            Step::Forward(query) => {
                let (socket, handler) = (Arc::clone(&socket), handler.clone());
                tokio::spawn(async move {
                    let reply = handler.service.forward(&query, client.ip()).await;
                    drop(socket.try_send_to(&reply, client));
                });
            }
        }
    }
}

fn is_passing(error: &std::io::Error) -> bool {
    use nix::libc;
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::ECONNREFUSED
                | libc::EPERM
                | libc::ENOBUFS
                | libc::ENOMEM
        )
    )
}

async fn serve_tcp(listener: TcpListener, handler: Handler) -> std::io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            // Where file descriptors have run out, for instance, the loop would be busy.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        if !handler.is_client(client.ip()) {
            continue;
        }
        let handler = handler.clone();
        tokio::spawn(async move {
            let _its_end = serve_connection(stream, client.ip(), &handler).await;
            drop(place);
        });
    }
}

/// Answers the queries of one connection, each behind its length, until the client is idle or closes it.
async fn serve_connection(
    mut stream: TcpStream,
    client: IpAddr,
    handler: &Handler,
) -> std::io::Result<()> {
    loop {
        let question = timeout(IDLE, async {
            let length = usize::from(stream.read_u16().await?);
            if length > LONGEST_QUESTION {
                return Err(std::io::Error::from(std::io::ErrorKind::InvalidData));
            }
            let mut question = vec![0; length];
            stream.read_exact(&mut question).await?;
            Ok(question)
        })
        .await??;
        let reply = match handler.receive(&question, Protocol::Tcp, client) {
            Step::Done(Some(reply)) => reply,
            Step::Done(None) => return Ok(()),
            Step::Forward(query) => handler.service.forward(&query, client).await,
        };
        let length = u16::try_from(reply.len()).map_err(std::io::Error::other)?;
        let mut sent = length.to_be_bytes().to_vec();
        sent.extend(reply);
        timeout(IDLE, stream.write_all(&sent)).await??;
    }
}
