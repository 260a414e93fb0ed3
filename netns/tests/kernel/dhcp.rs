//! Tests the DHCP server on a bridge from a port of the bridge.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kvmc_netns::dhcp::{Config, Event, Lease, LeaseFile, NoticeKind, Reservation, Server, Table};
use kvmc_netns::{Links, MacAddr};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::sync::{mpsc, oneshot};

use super::client::Client;
use super::judge::{MessageType, Value, requested, server};
use super::support::{BRIDGE, BRIDGE_MAC, in_namespace, ip, pair, runtime, with_bridge};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NODE: MacAddr = MacAddr([0x52, 0x54, 0, 0, 2, 2]);
const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 0, 2, 9]);
/// Longest time for an answer, and the time that a test waits where none may come.
const ANSWER: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(500);

fn config() -> Config {
    Config {
        server: SERVER,
        subnet: "192.0.2.0/24".parse().unwrap(),
        router: Some(SERVER),
        dns: vec![SERVER],
        domain: None,
        mtu: Some(1400),
        lease_time: Duration::from_secs(3600),
        routes: Vec::new(),
        probe: true,
    }
}

/// The server on its own thread, until dropped.
struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    events: mpsc::Receiver<Event>,
    dir: tempfile::TempDir,
}

impl Serving {
    fn start() -> Self {
        Self::with(tempfile::tempdir().unwrap())
    }

    /// Starts the next run, which has only the lease file of this one.
    fn restart(mut self) -> Self {
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        drop(self);
        Self::with(dir)
    }

    fn with(dir: tempfile::TempDir) -> Self {
        let node = Reservation {
            mac: NODE,
            address: NODE_ADDRESS,
            hostname: "master0".to_owned(),
        };
        let mut table = Table::new(config(), vec![node]);
        let (leases, problem) = LeaseFile::load(dir.path().join("leases"), &mut table);
        assert!(problem.is_none());
        let (stop, stopped) = oneshot::channel();
        let (bound, is_bound) = std::sync::mpsc::channel();
        let (sender, events) = mpsc::channel(64);
        let table = Arc::new(Mutex::new(table));
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let server = Server::bind(BRIDGE).unwrap();
                bound.send(()).unwrap();
                tokio::select! {
                    ended = server.run(table, sender, Some(leases)) => ended.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        is_bound.recv().unwrap();
        Self {
            stop: Some(stop),
            thread: Some(thread),
            events,
            dir,
        }
    }

    fn lease_file(&self) -> std::path::PathBuf {
        self.dir.path().join("leases")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _failed_by_itself = self.thread.take().map(JoinHandle::join);
    }
}

/// A link whose other end is a port of the bridge.
fn port(name: &str) -> String {
    let other = pair(name);
    ip(&["link", "set", name, "master", BRIDGE]);
    other
}

async fn bridge_with_port(name: &str) -> (Links, String) {
    (with_bridge().await, port(name))
}

/// The unexpired leases that another run of the server would read.
fn leases(path: &Path) -> Vec<Lease> {
    let copy = path.with_extension("copy");
    std::fs::copy(path, &copy).unwrap();
    let mut table = Table::new(config(), Vec::new());
    let (_, problem) = LeaseFile::load(copy, &mut table);
    assert!(problem.is_none(), "{problem:?}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    table.leases(now.as_secs()).copied().collect()
}

fn selecting(address: Ipv4Addr) -> [Value; 2] {
    [requested(address), server(SERVER)]
}

#[test]
fn a_node_gets_its_address_in_frames_that_are_whole() {
    in_namespace(async || {
        let (_links, link) = bridge_with_port("c0").await;
        let _serving = Serving::start();
        let client = Client::on(&link, NODE);
        let discover = client.message(MessageType::Discover, 1, &[]);
        client.broadcast(&discover);
        let offer = client.reply(1, ANSWER).unwrap();
        offer.check_wire();
        assert_eq!(offer.kind(), MessageType::Offer);
        assert_eq!((offer.from, offer.to), (BRIDGE_MAC, NODE));
        assert_eq!((offer.source, offer.destination), (SERVER, NODE_ADDRESS));
        let request = client.message(MessageType::Request, 2, &selecting(NODE_ADDRESS));
        client.broadcast(&request);
        let ack = client.reply(2, ANSWER).unwrap();
        ack.check_wire();
        assert_eq!(ack.kind(), MessageType::Ack);
        assert_eq!(ack.message.yiaddr, NODE_ADDRESS);
        assert_eq!(ack.message.option(12), Some(&b"master0"[..]));
        let wrong = selecting(Ipv4Addr::new(192, 0, 2, 77));
        client.broadcast(&client.message(MessageType::Request, 3, &wrong));
        let nak = client.reply(3, ANSWER).unwrap();
        nak.check_wire();
        assert_eq!(nak.kind(), MessageType::Nak);
        assert_eq!(nak.to, MacAddr([0xff; 6]));
        assert_eq!(nak.destination, Ipv4Addr::BROADCAST);
    });
}

#[test]
fn discover_request_renew_inform_and_release() {
    in_namespace(async || {
        let (_links, link) = bridge_with_port("c0").await;
        let serving = Serving::start();
        let file = serving.lease_file();
        let client = Client::on(&link, GUEST);
        client.broadcast(&client.message(MessageType::Discover, 1, &[]));
        let address = client.reply(1, ANSWER).unwrap().message.yiaddr;
        assert!(!file.exists(), "an offer is no lease");
        client.broadcast(&client.message(MessageType::Request, 2, &selecting(address)));
        let ack = client.reply(2, ANSWER).unwrap();
        assert_eq!(
            (ack.kind(), ack.message.yiaddr),
            (MessageType::Ack, address)
        );
        let kept = leases(&file);
        assert_eq!((kept[0].mac, kept[0].address), (GUEST, address));

        // From here on the client has an address, and sends only to the server.
        let say = |kind, xid, options: &[Value]| {
            let mut message = client.message(kind, xid, options);
            message.set_ciaddr(address);
            client.send(BRIDGE_MAC, (address, SERVER), &message);
        };
        let size = || std::fs::metadata(&file).unwrap().len();
        let before = size();
        say(MessageType::Inform, 3, &[]);
        let told = client.reply(3, ANSWER).unwrap();
        told.check_wire();
        assert_eq!(told.message.yiaddr, Ipv4Addr::UNSPECIFIED);
        assert_eq!(size(), before, "written again without need");
        // Leases have whole seconds: after this the lease differs.
        std::thread::sleep(Duration::from_millis(1100));
        say(MessageType::Request, 4, &[]);
        let renewed = client.reply(4, ANSWER).unwrap();
        renewed.check_wire();
        assert_eq!(renewed.kind(), MessageType::Ack);
        assert!(leases(&file)[0].expires > kept[0].expires);

        say(MessageType::Release, 5, &[server(SERVER)]);
        assert!(client.reply(5, SILENCE).is_none(), "a release has no reply");
        assert!(leases(&file).is_empty());
    });
}

/// Gets a lease for a client, as soon as the server gives one.
fn lease(client: &Client, xid: u32) -> Ipv4Addr {
    client.broadcast(&client.message(MessageType::Discover, xid, &[]));
    let address = client.reply(xid, ANSWER).unwrap().message.yiaddr;
    client.broadcast(&client.message(MessageType::Request, xid + 1, &selecting(address)));
    let ack = client.reply(xid + 1, ANSWER).unwrap();
    assert_eq!(ack.kind(), MessageType::Ack);
    address
}

#[test]
fn p28_a_lease_outlives_the_server() {
    in_namespace(async || {
        let (_links, link) = bridge_with_port("c0").await;
        let serving = Serving::start();
        let client = Client::on(&link, GUEST);
        let address = lease(&client, 1);
        let serving = serving.restart();
        let mut renew = client.message(MessageType::Request, 3, &[]);
        renew.set_ciaddr(address);
        client.send(BRIDGE_MAC, (address, SERVER), &renew);
        let ack = client.reply(3, ANSWER).unwrap();
        assert_eq!(
            (ack.kind(), ack.message.yiaddr),
            (MessageType::Ack, address)
        );
        let stranger = Client::on(&link, MacAddr([0x52, 0x54, 0, 0, 2, 10]));
        assert_ne!(lease(&stranger, 4), address);
        assert_eq!(leases(&serving.lease_file()).len(), 2);
    });
}

#[test]
fn p27_an_address_that_somebody_uses_is_not_offered() {
    in_namespace(async || {
        let (_links, link) = bridge_with_port("c0").await;
        // Another station uses the address that the server would offer first, without a lease.
        let squatter = port("c1");
        ip(&["address", "add", "192.0.2.254/32", "dev", &squatter]);
        let mut serving = Serving::start();
        let client = Client::on(&link, GUEST);
        let address = lease(&client, 1);
        assert_ne!(address, Ipv4Addr::new(192, 0, 2, 254));
        // The server sees a station that takes a node's address by its ARP, and names the node.
        client.announce(NODE_ADDRESS);
        let until = std::time::Instant::now() + ANSWER;
        let told = loop {
            assert!(std::time::Instant::now() < until, "nothing is told");
            match serving.events.try_recv() {
                Ok(Event::Client(n)) if n.kind == NoticeKind::InUse => break n,
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        assert_eq!(told.hostname.as_deref(), Some("master0"));
        assert_eq!(told.other, Some(GUEST));
    });
}

#[test]
fn p25_no_packet_stops_the_server() {
    in_namespace(async || {
        let (_links, link) = bridge_with_port("c0").await;
        let _serving = Serving::start();
        let client = Client::on(&link, NODE);
        let good = client.message(MessageType::Discover, 1, &[]);
        let good = good.to_vec();
        let addresses = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        let blast = |bytes: &[u8]| client.send_bytes(MacAddr([0xff; 6]), addresses, bytes);
        for (at, value) in [
            (0, 2),
            (2, 17),
            (2, 255),
            (236, 0),
            (241, 0),
            (241, 255),
            (26, 9),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            blast(&bad);
        }
        for length in [0, 1, 239, 240, 244] {
            blast(&good[..length]);
        }
        for n in 0..10_000_u32 {
            let mut stranger = good.clone();
            stranger[30..34].copy_from_slice(&n.to_be_bytes());
            blast(&stranger);
        }
        // The flood may have filled the server's socket. Clients retransmit, RFC 2131 section 4.1.
        let offer = (0..10).find_map(|_| {
            client.broadcast(&client.message(MessageType::Discover, 9, &[]));
            client.reply(9, ANSWER / 5)
        });
        let offer = offer.expect("the server is gone");
        assert_eq!(offer.message.yiaddr, NODE_ADDRESS);
    });
}

#[test]
fn a_packet_from_outside_the_bridge_gets_no_answer() {
    in_namespace(async || {
        let (_links, inside) = bridge_with_port("c0").await;
        let outside = pair("out");
        ip(&["address", "add", "198.51.100.1/24", "dev", "out"]);
        let out_mac = ip(&["-json", "link", "show", "out"]);
        let out_mac: serde_json::Value = serde_json::from_str(&out_mac).unwrap();
        let out_mac: MacAddr = out_mac[0]["address"].as_str().unwrap().parse().unwrap();
        let mut serving = Serving::start();
        // Shows that the packets reach port 67 of this host.
        let witness = witness("out");

        let stranger = Client::on(&outside, GUEST);
        stranger.broadcast(&stranger.message(MessageType::Discover, 1, &[]));
        let theirs = Ipv4Addr::new(198, 51, 100, 9);
        let mut inform = stranger.message(MessageType::Inform, 2, &[]);
        inform.set_ciaddr(theirs);
        stranger.send(out_mac, (theirs, SERVER), &inform);
        let mut packet = [0; 2048];
        for _ in 0..2 {
            witness.recv(&mut packet).expect("no packet to port 67");
        }

        let client = Client::on(&inside, NODE);
        client.broadcast(&client.message(MessageType::Discover, 3, &[]));
        client.reply(3, ANSWER).expect("the server does not answer");
        for xid in [1, 2] {
            assert!(stranger.reply(xid, SILENCE).is_none());
        }
        let mut heard = Vec::new();
        while let Ok(Event::Client(notice)) = serving.events.try_recv() {
            heard.push(notice.mac);
        }
        assert_eq!(heard, [NODE], "only the bridge is heard");
    });
}

/// A socket on port 67 of one link.
fn witness(link: &str) -> UdpSocket {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};
    use std::os::fd::AsRawFd;
    let flags = SockFlag::SOCK_CLOEXEC;
    let heard = socket(AddressFamily::Inet, SockType::Datagram, flags, None).unwrap();
    setsockopt(&heard, sockopt::BindToDevice, &link.into()).unwrap();
    bind(heard.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 67)).unwrap();
    let heard = UdpSocket::from(heard);
    heard.set_read_timeout(Some(ANSWER)).unwrap();
    heard
}

#[test]
fn two_servers_on_one_bridge_are_one_too_many() {
    in_namespace(async || {
        with_bridge().await;
        let _serving = Serving::start();
        let error = Server::bind(BRIDGE).unwrap_err().to_string();
        let mine = format!("(pid {}, on 0.0.0.0)", std::process::id());
        assert!(error.contains("port 67 on tb0 is taken by "), "{error}");
        assert!(error.contains(&mine), "{error}");
    });
}

#[test]
fn p29_who_serves_another_link_alone_is_in_nobodys_way() {
    in_namespace(async || {
        with_bridge().await;
        pair("other");
        let theirs = witness("other");
        Server::check_free(BRIDGE).unwrap();
        drop(Server::bind(BRIDGE).unwrap());
        drop(theirs);
        let all = UdpSocket::bind("0.0.0.0:67").unwrap();
        let mine = format!("(pid {}, on 0.0.0.0)", std::process::id());
        for error in [
            Server::check_free(BRIDGE).unwrap_err(),
            Server::bind(BRIDGE).unwrap_err(),
        ] {
            assert!(error.to_string().contains(&mine), "{error}");
        }
        drop(all);
    });
}
