//! Watches for a link that begins to route IPv6, by the kernel's notices (`RTNLGRP_IPV6_NETCONF`).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::unix::AsyncFd;

/// Receives notices about one link.
#[derive(Debug)]
pub(super) struct Routing {
    socket: AsyncFd<OwnedFd>,
    link: u32,
}

/// The group of `RTNLGRP_IPV6_NETCONF`, which is number 25, as a mask.
const GROUP: u32 = 1 << 24;

impl Routing {
    /// Opens the socket.
    ///
    /// # Errors
    /// A system call failed.
    pub(super) fn listen(link: u32) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP))?;
        let socket = crate::tap::watched(socket)?;
        Ok(Self { socket, link })
    }

    /// Waits until the link begins to route, or the socket overflows with notices.
    ///
    /// # Errors
    /// The socket failed.
    pub(super) async fn begins(&self) -> io::Result<()> {
        let mut buffer = [0; 8192];
        loop {
            let hear = |socket: &OwnedFd| {
                Ok(recv(
                    socket.as_raw_fd(),
                    &mut buffer,
                    MsgFlags::MSG_DONTWAIT,
                )?)
            };
            match self
                .socket
                .async_io(tokio::io::Interest::READABLE, hear)
                .await
            {
                Ok(length) => {
                    if routes(buffer.get(..length).unwrap_or_default(), self.link) {
                        return Ok(());
                    }
                }
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::ENOBUFS) => return Ok(()),
                    Some(Errno::EINTR) => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

/// Whether a datagram, as in linux/netconf.h, says that a link routes.
fn routes(mut bytes: &[u8], link: u32) -> bool {
    const RTM_NEWNETCONF: u16 = 80;
    const NETCONFA_IFINDEX: u16 = 1;
    const NETCONFA_FORWARDING: u16 = 2;
    /// Bytes of a netlink header.
    const HEAD: usize = 16;
    const ATTRIBUTES: usize = HEAD + 4;
    while let [a, b, c, d, k, l, ..] = bytes {
        let length = u32::from_ne_bytes([*a, *b, *c, *d]) as usize;
        let Some(message) = bytes.get(..length).filter(|_| length >= HEAD) else {
            return false;
        };
        let mut attributes = message.get(ATTRIBUTES..).unwrap_or_default();
        let (mut is_ours, mut is_on) = (false, false);
        while let [a, b, k, l, value @ ..] = attributes {
            let value = value.first_chunk().map(|v| u32::from_ne_bytes(*v));
            match u16::from_ne_bytes([*k, *l]) {
                NETCONFA_IFINDEX => is_ours = value == Some(link),
                NETCONFA_FORWARDING => is_on = value.is_some_and(|v| v != 0),
                _ => {}
            }
            let length = usize::from(u16::from_ne_bytes([*a, *b]));
            // An attribute without a length would make the loop endless.
            attributes = attributes
                .get(length.max(4).next_multiple_of(4)..)
                .unwrap_or_default();
        }
        if u16::from_ne_bytes([*k, *l]) == RTM_NEWNETCONF && is_ours && is_on {
            return true;
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, link: u32, forwarding: u32) -> Vec<u8> {
        let attribute = |kind: u16, value: u32| {
            [
                &8_u16.to_ne_bytes()[..],
                &kind.to_ne_bytes(),
                &value.to_ne_bytes(),
            ]
            .concat()
        };
        [
            &36_u32.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &[0; 10],
            &[10, 0, 0, 0],
            &attribute(1, link),
            &attribute(2, forwarding),
        ]
        .concat()
    }

    #[test]
    fn one_link_that_begins_to_route_is_told_from_all_else() {
        let [off, other, gone] = [message(80, 7, 0), message(80, 8, 1), message(81, 7, 1)];
        let all_else = [off, other, gone].concat();
        assert!(!routes(&all_else, 7));
        assert!(routes(&[all_else, message(80, 7, 1)].concat(), 7));
        assert!(!routes(&message(80, 7, 1)[..30], 7), "cut");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fall_over(bytes: Vec<u8>, attributes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _either = routes(&bytes, 7);
            let length = (20 + attributes.len()) as u32;
            let _either = routes(&[&length.to_ne_bytes()[..], &[80, 0], &[0; 14], &attributes].concat(), 7);
        }
    }
}
