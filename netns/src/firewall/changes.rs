//! Who changes rules, hears of it: nftables' own notices (`NFNLGRP_NFTABLES`), whoever the changer is.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::unix::AsyncFd;

/// A socket that hears of every change to nftables' rules in this network namespace, iptables-nft's
/// included. The legacy iptables tells nobody.
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
                    // More than the socket holds: all the more has changed.
                    Ok(_) | Err(Errno::ENOBUFS) => heard = true,
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
