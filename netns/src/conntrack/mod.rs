//! The connections that the kernel tracks in this network namespace, by ctnetlink.
//!
//! No crate reads them, since one that makes a tree of each entry takes too long where another program has very many.

mod entry;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
    setsockopt, socket,
};
use nix::sys::time::TimeVal;

use self::entry::{Entry, general};
use crate::netlink::{DONE, ERROR, errno, messages, push};
use crate::sysctl::{self, SysctlError};

/// NFNL_SUBSYS_CTNETLINK with IPCTNL_MSG_CT_GET and IPCTNL_MSG_CT_DELETE.
const GET: u16 = 0x101;
const DELETE: u16 = 0x102;
/// NLM_F_REQUEST, alone, with NLM_F_DUMP, and with NLM_F_ACK.
const REQUEST: u16 = 1;
const DUMP: u16 = 0x301;
const ACKNOWLEDGED: u16 = 5;
/// NLM_F_DUMP_INTR: the table changed during the dump, which may lack entries.
const INTERRUPTED: u16 = 0x10;
/// Most dumps, if each is interrupted.
const DUMPS: usize = 3;
/// Requests in one datagram. The answers to all of them fit the socket's buffer.
const BATCH: usize = 64;
/// The kernel fills datagrams of up to this size.
const DATAGRAM: usize = 32 << 10;
/// Seconds that the kernel has for an answer.
const ANSWER: i64 = 5;

/// The connections could not be read or removed.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The kernel refused a request.
    #[error("cannot {action} the connections that the kernel tracks")]
    Request {
        /// The operation.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The number of connections cannot be read.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
}

/// Forgets the connections that have an address which is meant, before or after NAT, and returns their number. With
/// `ipv6` also those over IPv6. A kernel without conntrack or ctnetlink has none.
///
/// # Errors
/// Fails if the kernel refuses a request.
pub fn forget(ipv6: bool, is_meant: impl Fn(IpAddr) -> bool) -> Result<usize, ConntrackError> {
    // This also loads no module of the kernel that nobody uses.
    let tracked = sysctl::read("net.netfilter.nf_conntrack_count")?;
    if tracked.is_none_or(|number| number == "0") {
        return Ok(0);
    }
    let failed = |action| {
        move |errno: Errno| ConntrackError::Request {
            action,
            source: errno.into(),
        }
    };
    let family = match ipv6 {
        true => libc::AF_UNSPEC,
        false => libc::AF_INET,
    };
    let mut forgotten = 0;
    for _ in 0..DUMPS {
        let (entries, is_whole) = match list(family as u8, &is_meant) {
            Err(Errno::EPROTONOSUPPORT | Errno::EOPNOTSUPP | Errno::EINVAL) => return Ok(0),
            listed => listed.map_err(failed("read"))?,
        };
        forgotten += delete(&entries).map_err(failed("remove"))?;
        if is_whole {
            break;
        }
    }
    Ok(forgotten)
}

/// The entries that are meant, and whether the dump was not interrupted.
fn list(family: u8, is_meant: &impl Fn(IpAddr) -> bool) -> nix::Result<(Vec<Entry>, bool)> {
    let asks = open()?;
    let mut request = Vec::new();
    push(&mut request, GET, DUMP, 1, &general(family));
    send(&asks, &request)?;
    let (mut entries, mut is_whole) = (Vec::new(), true);
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = receive(&asks, &mut buffer)?;
        for message in messages(buffer.get(..length).unwrap_or_default()) {
            is_whole &= message.flags & INTERRUPTED == 0;
            match message.kind {
                ERROR | DONE => match errno(message.body) {
                    0 => return Ok((entries, is_whole)),
                    errno => return Err(Errno::from_raw(errno)),
                },
                // The kernel answers with IPCTNL_MSG_CT_NEW.
                _ => entries.extend(Entry::read(message.body, is_meant)),
            }
        }
    }
}

/// Deletes the entries, and returns how many were still there.
fn delete(entries: &[Entry]) -> nix::Result<usize> {
    let mut deleted = 0;
    if entries.is_empty() {
        return Ok(deleted);
    }
    let asks = open()?;
    for batch in entries.chunks(BATCH) {
        let mut requests = Vec::new();
        for (entry, number) in batch.iter().zip(1..) {
            // The kernel answers in order, so the last answer is that of all. It always tells of failures.
            let flags = match number == batch.len() {
                true => ACKNOWLEDGED,
                false => REQUEST,
            };
            push(
                &mut requests,
                DELETE,
                flags,
                number as u32,
                &entry.request(),
            );
        }
        send(&asks, &requests)?;
        deleted += batch.len() - refused(&asks, batch.len())?;
    }
    Ok(deleted)
}

/// Reads the answers to a batch, and returns how many entries had ended meanwhile.
fn refused(asks: &OwnedFd, batch: usize) -> nix::Result<usize> {
    let (mut gone, mut failed) = (0, None);
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = receive(asks, &mut buffer)?;
        let answers = messages(buffer.get(..length).unwrap_or_default());
        for answer in answers.filter(|message| message.kind == ERROR) {
            match errno(answer.body) {
                0 => {}
                libc::ENOENT => gone += 1,
                errno => failed = Some(Errno::from_raw(errno)),
            }
            if answer.sequence as usize == batch {
                return failed.map_or(Ok(gone), Err);
            }
        }
    }
}

fn open() -> nix::Result<OwnedFd> {
    let asks = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    setsockopt(&asks, ReceiveTimeout, &TimeVal::new(ANSWER, 0))?;
    Ok(asks)
}

fn send(asks: &OwnedFd, bytes: &[u8]) -> nix::Result<()> {
    let kernel = NetlinkAddr::new(0, 0);
    sendto(asks.as_raw_fd(), bytes, &kernel, MsgFlags::empty()).map(drop)
}

fn receive(asks: &OwnedFd, buffer: &mut [u8]) -> nix::Result<usize> {
    loop {
        match recv(asks.as_raw_fd(), buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            received => return received,
        }
    }
}
