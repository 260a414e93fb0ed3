//! Sockets on one bridge: port 53 of the host's address there.
//!
//! Bound to the address alone, they would be heard from every link of the host, for the kernel takes a
//! packet for any of its addresses on any of its links. Bound to the bridge too, they hear its ports, and
//! the host: what it sends to an address of its own counts as come by the link that has the address.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
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

use super::core::Transport;
use super::service::{Service, Step};
use crate::ports::{Holder, Protocol};

const PORT: u16 = 53;
/// No question is longer.
const LONGEST_QUESTION: usize = 4096;
/// Streams at a time on each socket, and how long one may be idle (RFC 7766 section 6.2.3) or a client
/// may not take what it asked for.
const STREAMS: usize = 32;
const IDLE: Duration = Duration::from_secs(10);

/// What keeps the server from serving.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Another server has the port.
    #[error(
        "{protocol} port 53 of {address} is taken by {}; let it listen on other addresses, or end it",
        holder.as_ref().map_or_else(|| "another program".to_owned(), ToString::to_string)
    )]
    PortTaken {
        /// UDP or TCP.
        protocol: Protocol,
        /// The address.
        address: IpAddr,
        /// Who has it, where that can be seen.
        holder: Option<Holder>,
    },
    /// The system refused something.
    #[error("failed to {what} for DNS on {address}")]
    Socket {
        /// What.
        what: &'static str,
        /// The address.
        address: IpAddr,
        /// The system's word.
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
    /// Opens the sockets for the address of `range` that the host has on `bridge`; needs a tokio runtime,
    /// CAP_NET_RAW and CAP_NET_BIND_SERVICE. Without `forwards` the bridge hears only names of ours: a
    /// question is a way out, too.
    ///
    /// # Errors
    /// That the port is taken, and by whom; or the system's word.
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

    /// Whether the port of an address is free, which need not be on the host yet.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn check_free(address: IpAddr) -> Result<(), ServerError> {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            open(protocol, None, address)?;
        }
        Ok(())
    }

    /// Serves for ever.
    ///
    /// # Errors
    /// That a socket failed for good.
    pub async fn run(self, service: Arc<Service>) -> Result<(), ServerError> {
        let Self { udp, tcp, clients } = self;
        let side = Side { service, clients };
        let ended = tokio::select! {
            ended = datagrams(udp, side.clone()) => ended,
            never = streams(tcp, side) => never,
        };
        ended.map_err(failed("hear", clients.range.ip()))
    }
}

/// Who may ask.
#[derive(Debug, Clone, Copy)]
struct Clients {
    /// They are in it; its address is the host's.
    range: IpNetwork,
    /// They may ask for names of others. The host always may.
    forwards: bool,
}

/// All that a question needs.
#[derive(Debug, Clone)]
struct Side {
    service: Arc<Service>,
    clients: Clients,
}

impl Side {
    fn is_client(&self, client: IpAddr) -> bool {
        self.clients.range.contains(client)
    }

    fn receive(&self, bytes: &[u8], by: Transport, client: IpAddr) -> Step {
        let forwards = self.clients.forwards || client == self.clients.range.ip();
        self.service.receive(bytes, by, forwards)
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
    // A stream of before may be on its way to its end still; who listens is in the way all the same.
    if protocol == Protocol::Tcp {
        setsockopt(&opened, sockopt::ReuseAddr, &true).map_err(fail("take the port over"))?;
    }
    if let Some(link) = link {
        setsockopt(&opened, sockopt::BindToDevice, &OsString::from(link))
            .map_err(fail("bind to the device"))?;
    }
    // To look ahead; and an IPv6 address may wait for its uniqueness to be found out, RFC 4862.
    if link.is_none() || address.is_ipv6() {
        setsockopt(&opened, sockopt::IpFreebind, &true).map_err(fail("bind ahead of time"))?;
    }
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

async fn datagrams(socket: UdpSocket, side: Side) -> std::io::Result<()> {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; LONGEST_QUESTION];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(came) => came,
            // Errors of packets that were sent, and of a link that is down for now.
            Err(e) if is_passing(&e) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            Err(e) => return Err(e),
        };
        if !side.is_client(client.ip()) {
            continue;
        }
        let question = buffer.get(..length).unwrap_or_default();
        match side.receive(question, Transport::Udp, client.ip()) {
            // A reply that cannot be sent is lost as any may be: the client asks again.
            Step::Done(Some(reply)) => drop(socket.try_send_to(&reply, client)),
            Step::Done(None) => {}
            Step::Ask(ask) => {
                let (socket, side) = (Arc::clone(&socket), side.clone());
                tokio::spawn(async move {
                    let reply = side.service.forward(&ask, client.ip()).await;
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

async fn streams(listener: TcpListener, side: Side) -> std::io::Result<()> {
    let places = Arc::new(Semaphore::new(STREAMS));
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            // Out of descriptors, for instance: better a little later than in a tight loop.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        if !side.is_client(client.ip()) {
            continue;
        }
        let side = side.clone();
        tokio::spawn(async move {
            let _its_end = converse(stream, client.ip(), &side).await;
            drop(place);
        });
    }
}

/// Questions and replies, each behind its length, until the client is idle or at its end.
async fn converse(mut stream: TcpStream, client: IpAddr, side: &Side) -> std::io::Result<()> {
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
        let reply = match side.receive(&question, Transport::Tcp, client) {
            Step::Done(Some(reply)) => reply,
            Step::Done(None) => return Ok(()),
            Step::Ask(ask) => side.service.forward(&ask, client).await,
        };
        let length = u16::try_from(reply.len()).map_err(std::io::Error::other)?;
        let mut sent = length.to_be_bytes().to_vec();
        sent.extend(reply);
        timeout(IDLE, stream.write_all(&sent)).await??;
    }
}
