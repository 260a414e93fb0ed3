//! Finds whether something listens on a TCP port, without a connection that its program would see.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpSocket;

/// What came back from a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knock {
    /// Something listens.
    Open,
    /// The host of the address, or a firewall before it, refused.
    Refused,
    /// Nothing came back in time, or the address cannot be reached.
    Silent,
}

/// Sends a SYN. Its answer is not acknowledged but reset, so the program that listens accepts no connection and starts
/// nothing: Linux delays the acknowledgement by 200 ms where `TCP_QUICKACK` is off, tcp(7), and the socket is closed before.
///
/// # Errors
/// No socket can be had, or this host's own rules forbid the packet.
pub async fn knock(address: SocketAddr, time: Duration) -> io::Result<Knock> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    let options = SockRef::from(&socket);
    options.set_tcp_quickack(false)?;
    // To close it then sends a reset.
    options.set_linger(Some(Duration::ZERO))?;
    match tokio::time::timeout(time, socket.connect(address)).await {
        Err(_) => Ok(Knock::Silent),
        Ok(Ok(_)) => Ok(Knock::Open),
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Ok(Knock::Refused),
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::TimedOut => Ok(Knock::Silent),
            _ => Err(error),
        },
    }
}
