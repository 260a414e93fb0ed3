//! Finds the process that has a port: for error messages, and for checks before kvmc takes a port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, Instant};

mod diag;
mod socket;

use crate::Protocol;
use socket::Socket;

/// How long the ports of a process may stay taken after its end.
const LINGERING: Duration = Duration::from_secs(1);

/// A process that has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its pid, if kvmc may see it.
    pub process: Option<i32>,
    /// The name of its program, as the kernel has it.
    pub name: String,
    /// The address that it listens on.
    pub address: IpAddr,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.process {
            Some(process) => write!(f, "{} (pid {process}, on {})", self.name, self.address),
            None => write!(f, "{} on {}", self.name, self.address),
        }
    }
}

/// The process that has a port of an address, or of all addresses, in this network namespace. For the unspecified address,
/// a process that has the port of any address.
#[must_use]
pub fn holder(protocol: Protocol, address: IpAddr, port: u16) -> Option<Holder> {
    find(protocol, address, port, |_| true)
}

/// As [`holder`], for a socket bound to the link of this index: sockets bound to other links do not count.
#[must_use]
pub fn holder_on(protocol: Protocol, link: u32, address: IpAddr, port: u16) -> Option<Holder> {
    find(protocol, address, port, |s| {
        s.link.is_none_or(|l| l == 0 || l == link)
    })
}

/// As [`holder`], but counts only a socket that is certainly not bound to a link, and so conflicts on each.
#[must_use]
pub fn holder_on_all(protocol: Protocol, address: IpAddr, port: u16) -> Option<Holder> {
    find(protocol, address, port, |s| s.link == Some(0))
}

/// Takes a port. Tries again for a second while no process has it, since the ports of a killed process become free a
/// moment after its end.
///
/// # Errors
/// The last error of `take`.
pub(crate) fn take(
    mut take: impl FnMut() -> nix::Result<()>,
    holder: impl Fn() -> Option<Holder>,
) -> nix::Result<()> {
    let until = Instant::now() + LINGERING;
    loop {
        match take() {
            Err(nix::Error::EADDRINUSE)
                if Instant::now() < until && holder().is_none_or(|h| h.process.is_none()) =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

fn find(
    protocol: Protocol,
    address: IpAddr,
    port: u16,
    is_in_the_way: impl Fn(&Socket) -> bool,
) -> Option<Holder> {
    let mut all = sockets(protocol).into_iter();
    let found = all.find(|s| s.has(address, port) && is_in_the_way(s))?;
    let process = process_of(found.inode);
    Some(Holder {
        process: process.as_ref().map(|(process, _)| *process),
        name: process.map_or_else(|| "another program".to_owned(), |(_, name)| name),
        address: found.address,
    })
}

/// All UDP sockets, or all TCP sockets that listen: from sock_diag(7), which knows their links, else from /proc.
fn sockets(protocol: Protocol) -> Vec<Socket> {
    let name = match protocol {
        Protocol::Udp => "udp",
        Protocol::Tcp => "tcp",
    };
    let mut all = Vec::new();
    for (family, table) in [
        (diag::INET, name.to_owned()),
        (diag::INET6, format!("{name}6")),
    ] {
        let asked = diag::sockets(protocol, family);
        all.extend(asked.unwrap_or_else(|_| {
            let path = format!("/proc/thread-self/net/{table}");
            listed(&std::fs::read_to_string(path).unwrap_or_default(), protocol)
        }));
    }
    all
}

/// The sockets in the text of /proc/net/udp, tcp, udp6 or tcp6.
fn listed(table: &str, protocol: Protocol) -> Vec<Socket> {
    /// TCP_LISTEN of the kernel's net/tcp_states.h.
    const LISTENS: &str = "0A";
    let sockets = table.lines().skip(1).filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (address, port) = words.get(1)?.split_once(':')?;
        let hears = protocol == Protocol::Udp || words.get(3) == Some(&LISTENS);
        hears.then_some(Socket {
            address: parse(address)?,
            port: u16::from_str_radix(port, 16).ok()?,
            link: None,
            inode: words.get(9)?.parse().ok()?,
        })
    });
    sockets.collect()
}

/// An address as /proc/net writes it: words of four bytes in the processor's order.
fn parse(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for at in (0..hex.len()).step_by(8) {
        let word = u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    if let Ok(v4) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes.as_slice())
        .ok()
        .map(|v6| Ipv6Addr::from(v6).into())
}

/// The process that has the socket of this inode open, and its name.
fn process_of(inode: u64) -> Option<(i32, String)> {
    let wanted = format!("socket:[{inode}]");
    let has_it = |process: &Path| {
        let descriptors = std::fs::read_dir(process.join("fd")).into_iter().flatten();
        descriptors
            .flatten()
            .any(|d| std::fs::read_link(d.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()))
    };
    std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .find_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            has_it(&entry.path()).then_some(())?;
            let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            Some((process, name.trim().to_owned()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_a_process_is_waited_for_and_others_are_not() {
        let someone = |process| Holder {
            process,
            name: "x".to_owned(),
            address: Ipv4Addr::UNSPECIFIED.into(),
        };
        let mut tries = 0;
        let mut free_the_third_time = || {
            tries += 1;
            if tries < 3 {
                Err(nix::Error::EADDRINUSE)
            } else {
                Ok(())
            }
        };
        take(&mut free_the_third_time, || Some(someone(None))).unwrap();
        assert_eq!(tries, 3);
        let mut tries = 0;
        let never = || {
            tries += 1;
            Err(nix::Error::EADDRINUSE)
        };
        take(never, || Some(someone(Some(1)))).unwrap_err();
        assert_eq!(tries, 1);
    }

    #[test]
    fn the_holder_of_a_port_is_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 11 2 0\n   1: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12 2 0\n";
        let sockets = listed(table, Protocol::Udp);
        let found = |address: [u8; 4], port| {
            let mut all = sockets.iter();
            all.find(|s| s.has(address.into(), port)).map(|s| s.inode)
        };
        assert_eq!(found([192, 168, 80, 1], 53), Some(12));
        assert_eq!(found([192, 168, 80, 1], 54), None);
        assert_eq!(found([127, 0, 0, 1], 53), Some(11));
        assert_eq!(found([0; 4], 53), Some(11), "any is in the way of all");
        assert_eq!(listed(table, Protocol::Tcp), [], "none listens");
    }

    #[test]
    fn this_process_is_named() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = socket.local_addr().unwrap();
        let found = holder(Protocol::Udp, at.ip(), at.port()).unwrap();
        assert_eq!(found.process, i32::try_from(std::process::id()).ok());
        assert!(found.to_string().contains("on 127.0.0.1)"), "{found}");
    }
}
