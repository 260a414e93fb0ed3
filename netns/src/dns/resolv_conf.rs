//! The host's current resolvers, from resolv.conf(5): a VPN or another network changes them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PORT: u16 = 53;
/// How often the files are checked for a change; in between a query needs no system call.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Most resolvers: glibc uses three, and those behind systemd-resolved are added.
const MOST: usize = 6;
/// The addresses of systemd-resolved, which knows the resolvers of each link.
const STUBS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 53), Ipv4Addr::new(127, 0, 0, 54)];

/// The host's resolvers, best first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolvers {
    /// The resolvers to ask.
    pub servers: Vec<SocketAddr>,
    /// Addresses of kvmc's own name servers, which would ask this one again.
    pub loops: Vec<IpAddr>,
}

/// Metadata of a file that changes with its contents.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// Addresses on which this host serves clusters.
type Ours = Box<dyn Fn() -> Vec<IpAddr> + Send>;

/// The files that name the host's resolvers, read again when they change.
pub struct HostResolvers {
    main: PathBuf,
    uplinks: PathBuf,
    ours: Ours,
    looked: Option<Instant>,
    stamps: [Stamp; 2],
    now: Arc<Resolvers>,
}

impl HostResolvers {
    /// The resolvers of /etc/resolv.conf, and those behind systemd-resolved where that is one of them. `ours` returns the
    /// addresses of this host's own name servers, which are not asked.
    #[must_use]
    pub fn of_this_host(ours: impl Fn() -> Vec<IpAddr> + Send + 'static) -> Self {
        let uplinks = "/run/systemd/resolve/resolv.conf".into();
        Self::new("/etc/resolv.conf".into(), uplinks, Box::new(ours))
    }

    /// The resolvers of other files, for tests.
    #[must_use]
    pub fn new(main: PathBuf, uplinks: PathBuf, ours: Ours) -> Self {
        Self {
            main,
            uplinks,
            ours,
            looked: None,
            stamps: [None, None],
            now: Arc::default(),
        }
    }

    /// The resolvers, and whether they changed since the last call.
    pub fn current(&mut self, now: Instant) -> (Arc<Resolvers>, bool) {
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < LOOK_AGAIN;
        if self.looked.is_some_and(is_fresh) {
            return (Arc::clone(&self.now), false);
        }
        let first = self.looked.replace(now).is_none();
        let stamps = [stamp(&self.main), stamp(&self.uplinks)];
        if stamps == self.stamps && !first {
            return (Arc::clone(&self.now), false);
        }
        self.stamps = stamps;
        let read = |path: &PathBuf| fs::read(path).unwrap_or_default();
        let (main, uplinks) = (read(&self.main), read(&self.uplinks));
        let seen = choose(
            &String::from_utf8_lossy(&main),
            &String::from_utf8_lossy(&uplinks),
            &(self.ours)(),
        );
        let is_new = seen != *self.now;
        self.now = Arc::new(seen);
        (Arc::clone(&self.now), is_new)
    }
}

impl std::fmt::Debug for HostResolvers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HostResolvers").field(&self.now).finish()
    }
}

fn stamp(path: &PathBuf) -> Stamp {
    let of = fs::metadata(path).ok()?;
    Some((of.dev(), of.ino(), of.mtime(), of.mtime_nsec(), of.size()))
}

fn choose(main: &str, uplinks: &str, ours: &[IpAddr]) -> Resolvers {
    let mut named = nameservers(main);
    let is_stub = |s: &SocketAddr| STUBS.iter().any(|stub| s.ip() == IpAddr::V4(*stub));
    // systemd-resolved's own resolvers serve where it does not run, or not in this namespace.
    if named.is_empty() || named.iter().any(is_stub) {
        named.extend(nameservers(uplinks));
    }
    let mut seen = Resolvers::default();
    for server in named {
        if ours.contains(&server.ip()) {
            if !seen.loops.contains(&server.ip()) {
                seen.loops.push(server.ip());
            }
        } else if !seen.servers.contains(&server) && seen.servers.len() < MOST {
            seen.servers.push(server);
        }
    }
    seen
}

fn nameservers(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter_map(address)
        .collect()
}

/// An address; a link-local one with its link.
fn address(text: &str) -> Option<SocketAddr> {
    let Some((address, link)) = text.split_once('%') else {
        return text
            .parse()
            .ok()
            .map(|ip: IpAddr| SocketAddr::new(ip, PORT));
    };
    let index = nix::net::if_::if_nametoindex(link);
    let index = index.ok().or_else(|| link.parse().ok())?;
    let address = address.parse().ok()?;
    Some(SocketAddrV6::new(address, PORT, 0, index).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(main: &str, uplinks: &str) -> Vec<String> {
        let seen = choose(main, uplinks, &[[192, 168, 80, 1].into()]);
        seen.servers.iter().map(|s| s.ip().to_string()).collect()
    }

    #[test]
    fn the_hosts_resolvers_are_those_that_it_uses() {
        let main = "# nameserver 192.0.2.9\nsearch a\nnameserver\t203.0.113.5\nnameserver 2001:db8::1 x\nnameserverx 192.0.2.8\nnameserver bad\n";
        assert_eq!(
            servers(main, "nameserver 192.0.2.1"),
            ["203.0.113.5", "2001:db8::1"]
        );
        assert_eq!(
            servers("nameserver 127.0.0.1", "nameserver 192.0.2.1"),
            ["127.0.0.1"]
        );
        assert_eq!(
            servers("nameserver 127.0.0.53", "nameserver 192.0.2.1"),
            ["127.0.0.53", "192.0.2.1"]
        );
        assert_eq!(servers("", "nameserver 192.0.2.1"), ["192.0.2.1"]);
        assert!(servers("", "").is_empty());
    }

    #[test]
    fn one_of_ours_is_never_asked() {
        let ours = [[192, 168, 80, 1].into()];
        let seen = choose("nameserver 192.168.80.1", "", &ours);
        assert_eq!((seen.servers.len(), seen.loops), (0, ours.to_vec()));
        assert_eq!(
            servers(
                "nameserver 127.0.0.53",
                "nameserver 192.168.80.1\nnameserver 192.0.2.1"
            ),
            ["127.0.0.53", "192.0.2.1"]
        );
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("resolv.conf");
        let mut host =
            HostResolvers::new(main.clone(), dir.path().join("none"), Box::new(Vec::new));
        let mut now = Instant::now();
        assert!(
            host.current(now).0.servers.is_empty(),
            "there is no file yet"
        );
        for (text, server, changed) in [
            ("nameserver 192.0.2.1\n", "192.0.2.1:53", true),
            ("nameserver 192.0.2.1\n# other\n", "192.0.2.1:53", false),
            ("nameserver 192.0.2.2\n", "192.0.2.2:53", true),
        ] {
            fs::write(&main, text).unwrap();
            now += LOOK_AGAIN;
            let (seen, is_new) = host.current(now);
            assert_eq!(
                (seen.servers[0].to_string().as_str(), is_new),
                (server, changed)
            );
            assert!(!host.current(now).1);
        }
    }

    #[test]
    fn fuzz_resolv_conf() {
        kvmc_fuzz::run("resolv-conf", |bytes| {
            let text = String::from_utf8_lossy(bytes);
            format!("{:?}", choose(&text, "nameserver 192.0.2.1\n", &[]))
        });
    }
}
