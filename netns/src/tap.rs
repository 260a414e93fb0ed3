//! The only unsafe code of this crate: the tun driver's ioctl, the address of a packet socket, and watching a socket.
#![allow(
    unsafe_code,
    reason = "TUNSETIFF, sockaddr_ll and AsyncFd of a packet socket have no safe binding"
)]

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    os::unix::fs::OpenOptionsExt as _,
};

use tokio::io::unix::AsyncFd;

use nix::libc;

mod ioctl {
    use nix::libc;

    // The kernel declares the argument as int, but it reads and writes a whole ifreq.
    nix::ioctl_write_ptr_bad!(
        tunsetiff,
        nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
        libc::ifreq
    );
    nix::ioctl_none!(tungetdevnetns, b'T', 227);
}

/// The network namespace that a tap is in, which its descriptor keeps alive.
///
/// # Errors
/// Fails if the descriptor is no tap's, and without the right to administer the namespace.
pub fn namespace_of_tap(tap: BorrowedFd<'_>) -> io::Result<File> {
    // SAFETY: the descriptor is open, and the ioctl takes no argument.
    let namespace = unsafe { ioctl::tungetdevnetns(tap.as_raw_fd()) }?;
    // SAFETY: the ioctl returned a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(namespace) }.into())
}

/// Makes a tap in the network namespace of this thread. It lives as long as the file descriptor. Its frames have a
/// virtio-net header and no packet information.
///
/// An existing link of that name gives `EBUSY` (`IFF_TUN_EXCL`): the maker of a shared tap would receive a guest's traffic.
pub(crate) fn create(name: &str) -> io::Result<OwnedFd> {
    let device = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_TUN_EXCL;
    // SAFETY: ifreq is a plain C struct of integers, an array and a union of such; all zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (target, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *target = byte as libc::c_char;
    }
    // The flags are sixteen bits in the kernel's structure; IFF_TUN_EXCL is the topmost.
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the descriptor is open, and `request` is a valid ifreq that outlives the call.
    unsafe { ioctl::tunsetiff(device.as_raw_fd(), &raw const request) }?;
    Ok(device.into())
}

/// Registers a non-blocking descriptor with the tokio runtime of this thread.
pub(crate) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is the same open descriptor until it is dropped, and AsyncFd lends it out by
    // reference only.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// The address of packet(7) for frames of an Ethernet protocol, such as `ETH_P_IP`, on the link of this index.
pub(crate) fn link_address(
    index: u32,
    protocol: libc::c_int,
) -> Option<nix::sys::socket::LinkAddr> {
    use nix::sys::socket::SockaddrLike as _;
    // SAFETY: sockaddr_ll is a plain C struct of integers and an array; all zero is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).ok()?;
    address.sll_protocol = u16::try_from(protocol).ok()?.to_be();
    address.sll_ifindex = i32::try_from(index).ok()?;
    let length = u32::try_from(size_of::<libc::sockaddr_ll>()).ok()?;
    // SAFETY: it points to a whole sockaddr_ll of that length, whose family is set.
    unsafe { nix::sys::socket::LinkAddr::from_raw((&raw const address).cast(), Some(length)) }
}
