//! The DHCP server on a bridge, heard from a port of it.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use kvmc_netns::dhcp::{Config, Lease, LeaseFile, Reservation, Server, Table};
use kvmc_netns::{Links, MacAddr};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::sync::{mpsc, oneshot};

use super::client::Client;
use super::support::{BRIDGE, BRIDGE_MAC, in_namespace, ip, pair, runtime, with_bridge};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NODE: MacAddr = MacAddr([0x52, 0x54, 0, 0, 2, 2]);
const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 0, 2, 9]);
/// Longest that an answer takes, and shortest that none is waited for.
const ANSWER: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(500);

/// The server on a thread of its own, until dropped.
struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    notices: mpsc::Receiver<kvmc_netns::dhcp::Notice>,
    dir: tempfile::TempDir,
}

impl Serving {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            server: SERVER,
            subnet: "192.0.2.0/24".parse().unwrap(),
            router: Some(SERVER),
            dns: vec![SERVER],
            domain: None,
            mtu: Some(1400),
            lease_time: Duration::from_secs(3600),
        };
        let node = Reservation {
            mac: NODE,
            address: NODE_ADDRESS,
            hostname: "master0".to_owned(),
        };
        let mut table = Table::new(config, vec![node]);
        let (leases, problem) = LeaseFile::load(dir.path().join("leases"), &mut table);
        assert!(problem.is_none());
        let (stop, stopped) = oneshot::channel();
        let (bound, is_bound) = std::sync::mpsc::channel();
        let (sender, notices) = mpsc::channel(64);
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let server = Server::bind(BRIDGE).unwrap();
                bound.send(()).unwrap();
                let table = Arc::new(Mutex::new(table));
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
            notices,
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

fn leases(path: &Path) -> Vec<Lease> {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn selecting(address: Ipv4Addr) -> [DhcpOption; 2] {
    [
        DhcpOption::RequestedIpAddress(address),
        DhcpOption::ServerIdentifier(SERVER),
    ]
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
        assert_eq!(ack.message.yiaddr(), NODE_ADDRESS);
        let name = ack.message.opts().get(OptionCode::Hostname);
        assert_eq!(name, Some(&DhcpOption::Hostname("master0".to_owned())));
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
        let address = client.reply(1, ANSWER).unwrap().message.yiaddr();
        assert!(!file.exists(), "an offer is no lease");
        client.broadcast(&client.message(MessageType::Request, 2, &selecting(address)));
        let ack = client.reply(2, ANSWER).unwrap();
        assert_eq!(
            (ack.kind(), ack.message.yiaddr()),
            (MessageType::Ack, address)
        );
        let kept = leases(&file);
        assert_eq!((kept[0].mac, kept[0].address), (GUEST, address));

        // From here on the client has an address, and speaks to the server alone.
        let say = |kind, xid, options: &[DhcpOption]| {
            let mut message = client.message(kind, xid, options);
            message.set_ciaddr(address);
            client.send(BRIDGE_MAC, (address, SERVER), &message);
        };
        let inode = std::fs::metadata(&file).unwrap().ino();
        say(MessageType::Inform, 3, &[]);
        let told = client.reply(3, ANSWER).unwrap();
        told.check_wire();
        assert_eq!(told.message.yiaddr(), Ipv4Addr::UNSPECIFIED);
        assert_eq!(
            std::fs::metadata(&file).unwrap().ino(),
            inode,
            "written again without need"
        );
        // Leases are counted in seconds: later, the lease is another one.
        std::thread::sleep(Duration::from_millis(1100));
        say(MessageType::Request, 4, &[]);
        let renewed = client.reply(4, ANSWER).unwrap();
        renewed.check_wire();
        assert_eq!(renewed.kind(), MessageType::Ack);
        assert!(leases(&file)[0].expires > kept[0].expires);

        say(
            MessageType::Release,
            5,
            &[DhcpOption::ServerIdentifier(SERVER)],
        );
        assert!(client.reply(5, SILENCE).is_none(), "a release has no reply");
        assert!(leases(&file).is_empty());
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
        // A witness that the packets come as far as to port 67 of this host.
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
        while let Ok(notice) = serving.notices.try_recv() {
            heard.push(notice.mac);
        }
        assert_eq!(heard, [NODE], "only the bridge is heard");
    });
}

/// Hears port 67 of one link.
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
        assert!(error.contains("port 67 on tb0 is taken"), "{error}");
    });
}
