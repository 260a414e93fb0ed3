//! Watches nftables for changes by other programs, by the kernel's notices (`NFNLGRP_NFTABLES`).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::unix::AsyncFd;

/// Reports changes to nftables' tables, chains and rules in this network namespace, also those by iptables-nft. Leaves out
/// elements of sets, which may change every second. The kernel announces no changes of iptables-legacy.
#[derive(Debug)]
pub struct Changes(AsyncFd<OwnedFd>);

/// The group of `NFNLGRP_NFTABLES`, which is number 7, as a mask.
const GROUP: u32 = 1 << 6;

impl Changes {
    /// Opens the socket.
    ///
    /// # Errors
    /// The kernel has no nftables, or this process lacks rights.
    pub fn listen() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkNetFilter;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP))?;
        Ok(Self(crate::tap::watched(socket)?))
    }

    /// Waits for a change since the last call.
    ///
    /// # Errors
    /// The socket failed.
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
                    // The socket overflowed with notices.
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

/// Whether a datagram is about a table, chain or rule, as linux/netfilter/nf_tables.h has them; true for a truncated
/// one.
fn is_of_rules(mut bytes: &[u8]) -> bool {
    const SUBSYSTEM: u8 = 10;
    const HEAD: usize = 16;
    /// New and deleted tables, chains and rules.
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
