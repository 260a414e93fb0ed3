//! A socket as the kernel lists it.

use std::net::IpAddr;

/// A socket that receives datagrams or listens for connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// The index of the link that it is bound to, 0 for none; `None` where the kernel does not report it.
    pub(super) link: Option<u32>,
    pub(super) inode: u64,
}

impl Socket {
    /// Whether it has a port of an address: it is bound to that address or to all, or all are asked for.
    pub(super) fn has(&self, address: IpAddr, port: u16) -> bool {
        let everything = self.address.is_unspecified()
            && (self.address.is_ipv6() || address.is_ipv4() || address == self.address);
        let anything = address.is_unspecified() && address.is_ipv4() == self.address.is_ipv4();
        self.port == port && (self.address == address || everything || anything)
    }
}
