//! Who has a port, from /proc: for the words of an error only.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 768.
    Udp,
    /// RFC 9293.
    Tcp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// A process that has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number, where this process may see it.
    pub process: Option<i32>,
    /// The name of its program, as the kernel has it.
    pub name: String,
    /// Where it listens.
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

/// Who has a port of an address in this network namespace, or that port of all addresses.
#[must_use]
pub fn holder(protocol: Protocol, address: IpAddr, port: u16) -> Option<Holder> {
    let name = match protocol {
        Protocol::Udp => "udp",
        Protocol::Tcp => "tcp",
    };
    let tables = [name.to_owned(), format!("{name}6")];
    let (inode, at) = tables.iter().find_map(|table| {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).ok()?;
        find(&text, protocol, address, port)
    })?;
    let holder = process_of(inode);
    Some(Holder {
        process: holder.as_ref().map(|(process, _)| *process),
        name: holder.map_or_else(|| "another program".to_owned(), |(_, name)| name),
        address: at,
    })
}

/// The inode of the socket and its address, in the text of /proc/net/udp and its kin.
fn find(table: &str, protocol: Protocol, address: IpAddr, port: u16) -> Option<(u64, IpAddr)> {
    /// TCP_LISTEN of the kernel's net/tcp_states.h.
    const LISTENS: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (at, its_port) = words.get(1)?.split_once(':')?;
        let at = parse(at)?;
        let is_it = u16::from_str_radix(its_port, 16) == Ok(port)
            && (at == address || at.is_unspecified())
            && (protocol == Protocol::Udp || words.get(3) == Some(&LISTENS));
        let inode = words.get(9)?.parse().ok()?;
        is_it.then_some((inode, at))
    })
}

/// Words of four bytes as the processor has them.
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
    fn the_holder_of_a_port_is_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 11 2 0\n   1: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12 2 0\n";
        let gateway: IpAddr = [192, 168, 80, 1].into();
        let found = find(table, Protocol::Udp, gateway, 53);
        assert_eq!(found, Some((12, [0, 0, 0, 0].into())));
        assert_eq!(find(table, Protocol::Udp, gateway, 54), None);
        assert_eq!(
            find(table, Protocol::Tcp, gateway, 53),
            None,
            "none listens"
        );
        let local = find(table, Protocol::Udp, [127, 0, 0, 1].into(), 53);
        assert_eq!(local.map(|(inode, _)| inode), Some(11));
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
