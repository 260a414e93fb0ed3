//! The kernel's list of sockets, by sock_diag(7).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::socket::Socket;
use crate::Protocol;
use crate::netlink::{DONE, ERROR, errno, messages, number, push};

pub(super) const INET: u8 = 2;
pub(super) const INET6: u8 = 10;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
/// Bit of TCP_LISTEN, of the kernel's net/tcp_states.h.
const LISTENS: u32 = 1 << 10;

/// All UDP sockets of a family, or all TCP sockets that listen.
///
/// # Errors
/// A system call failed, or the kernel has no udp_diag or tcp_diag.
pub(super) fn sockets(protocol: Protocol, family: u8) -> io::Result<Vec<Socket>> {
    let asks = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(
        asks.as_raw_fd(),
        &question(protocol, family),
        &kernel,
        MsgFlags::empty(),
    )?;
    let mut all = Vec::new();
    let mut buffer = vec![0; 32 << 10];
    loop {
        let length = match recv(asks.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            length => length?,
        };
        if read(buffer.get(..length).unwrap_or_default(), &mut all)? {
            return Ok(all);
        }
    }
}

/// A request: the kernel's inet_diag_req_v2 behind a header.
fn question(protocol: Protocol, family: u8) -> Vec<u8> {
    let (number, states) = match protocol {
        Protocol::Udp => (libc::IPPROTO_UDP, u32::MAX),
        Protocol::Tcp => (libc::IPPROTO_TCP, LISTENS),
    };
    let mut body = vec![family, number as u8, 0, 0];
    body.extend(states.to_ne_bytes());
    body.extend([0; 48]);
    let mut bytes = Vec::new();
    push(
        &mut bytes,
        SOCK_DIAG_BY_FAMILY,
        NLM_F_REQUEST_DUMP,
        0,
        &body,
    );
    bytes
}

/// Reads the messages of a datagram; true at the last one.
fn read(bytes: &[u8], all: &mut Vec<Socket>) -> io::Result<bool> {
    for message in messages(bytes) {
        match message.kind {
            SOCK_DIAG_BY_FAMILY => all.extend(socket_of(message.body)),
            DONE => return Ok(true),
            ERROR => return Err(io::Error::from_raw_os_error(errno(message.body))),
            _ => {}
        }
    }
    Ok(false)
}

/// A socket from the kernel's inet_diag_msg.
fn socket_of(body: &[u8]) -> Option<Socket> {
    let address = match *body.first()? {
        INET => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(body.get(8..12)?).ok()?)),
        INET6 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(body.get(8..24)?).ok()?)),
        _ => return None,
    };
    Some(Socket {
        address,
        port: u16::from_be_bytes(body.get(4..6)?.try_into().ok()?),
        link: number(body, 40),
        inode: u64::from(number(body, 68)?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_socket_is_told_with_its_link() {
        let at = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = at.local_addr().unwrap().port();
        let all = sockets(Protocol::Udp, INET).unwrap();
        let mine = all.iter().find(|s| s.port == port).unwrap();
        assert_eq!(mine.address, at.local_addr().unwrap().ip());
        assert_eq!(mine.link, Some(0));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fall_over(bytes: Vec<u8>) {
            let _either = read(&bytes, &mut Vec::new());
        }
    }
}
