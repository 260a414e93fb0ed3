//! Who changes rules, hears of it: nftables' own notices (`NFNLGRP_NFTABLES`), whoever the changer is.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::unix::AsyncFd;

/// A socket that hears of every change to nftables' tables, chains and rules in this network namespace,
/// iptables-nft's included; of sets' elements, which may come and go each second, it keeps silent. The legacy
/// iptables tells nobody.
#[derive(Debug)]
pub struct Changes(AsyncFd<OwnedFd>);

/// The group of `NFNLGRP_NFTABLES`, which is number 7, as a mask.
const GROUP: u32 = 1 << 6;

impl Changes {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system's: no nftables in the kernel, no rights.
    pub fn listen() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkNetFilter;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP))?;
        Ok(Self(crate::tap::watched(socket)?))
    }

    /// Waits until there has been a change since the last call.
    ///
    /// # Errors
    /// The system's.
    pub async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut heard = false;
            let mut buffer = [0; 8192];
            loop {
                match recv(self.0.get_ref().as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                    Ok(length) => {
                        heard |= is_of_rules(buffer.get(..length).unwrap_or_default());
                    }
                    // More than the socket holds: all the more has changed.
                    Err(Errno::ENOBUFS) => heard = true,
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            ready.clear_ready();
            if heard {
                return Ok(());
            }
        }
    }
}

/// Whether a datagram tells of a table, chain or rule, of the kernel's linux/netfilter/nf_tables.h; one that is cut
/// may.
fn is_of_rules(mut bytes: &[u8]) -> bool {
    const SUBSYSTEM: u8 = 10;
    const HEAD: usize = 16;
    /// New and deleted ones of the three.
    const KINDS: [u8; 6] = [0, 2, 3, 5, 6, 8];
    while let [a, b, c, d, kind, subsystem, ..] = bytes {
        if *subsystem == SUBSYSTEM && KINDS.contains(kind) {
            return true;
        }
        let length = u32::from_ne_bytes([*a, *b, *c, *d]) as usize;
        if length < HEAD || length > bytes.len() {
            return true;
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8) -> Vec<u8> {
        [&20_u32.to_ne_bytes()[..], &[kind, 10], &[0; 14]].concat()
    }

    #[test]
    fn elements_of_sets_are_no_rules() {
        let element = [message(12), message(15)].concat();
        assert!(!is_of_rules(&element));
        assert!(is_of_rules(&[element.clone(), message(6)].concat()));
        assert!(is_of_rules(&element[..30]), "cut");
        assert!(!is_of_rules(&[]));
    }
}
