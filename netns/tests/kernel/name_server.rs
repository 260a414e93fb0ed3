//! A name server on the bridge, for tests.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use kvmc_netns::dns::{
    HostResolvers, Record, Responder, Server, Service, Zone, ZoneSpec, parse_domain,
};
use tokio::sync::{mpsc, oneshot};

use super::support::{BRIDGE, runtime};

/// How long the server may take to see a change of the resolvers.
const CHANGE: Duration = Duration::from_millis(1100);

/// The server on its own thread, until dropped.
pub(super) struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    dir: tempfile::TempDir,
}

impl Serving {
    pub(super) fn start(resolv_conf: &str, forwards: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        std::fs::write(&file, resolv_conf).unwrap();
        let host = HostResolvers::new(
            file,
            dir.path().join("none"),
            Box::new(|| vec![[192, 0, 2, 1].into()]),
        );
        let range = "192.0.2.1/24".parse().unwrap();
        let responder = Responder::new(zone(), vec![range]);
        let service = Arc::new(Service::new(responder, host, mpsc::channel(1).0));
        let (stop, stopped) = oneshot::channel();
        let (bound, is_bound) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let server = Server::bind(BRIDGE, range, forwards).unwrap();
                bound.send(()).unwrap();
                tokio::select! {
                    ended = server.run(service) => ended.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        is_bound.recv().unwrap();
        Self {
            stop: Some(stop),
            thread: Some(thread),
            dir,
        }
    }

    /// Replaces the host's resolvers.
    pub(super) fn resolvers(&self, resolv_conf: &str) {
        std::fs::write(self.dir.path().join("resolv.conf"), resolv_conf).unwrap();
        std::thread::sleep(CHANGE);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _failed_by_itself = self.thread.take().map(JoinHandle::join);
    }
}

fn zone() -> Zone {
    let domain = parse_domain("k80.internal").unwrap();
    let records = [
        "api A 192.0.2.9",
        "six AAAA fd00::9",
        "alias CNAME api",
        "out CNAME www.example.com.",
        "note TXT \"two words\"",
        "@ MX 10 api",
        "_http._tcp SRV 1 2 80 api",
        "*.apps A 192.0.2.8",
        "own.example.com. A 192.0.2.7",
    ];
    let address = |end: u8| vec![[192, 0, 2, end].into()];
    let long = (0..20).map(|i| format!("long TXT {i:02}{}", "y".repeat(240)));
    let lines = records.iter().map(ToString::to_string).chain(long);
    let spec = ZoneSpec {
        gateway: address(1),
        subnets: vec!["192.0.2.0/24".parse().unwrap()],
        hosts: vec![
            ("master0".to_owned(), address(2)),
            ("lbl0".to_owned(), address(4)),
        ],
        balancers: address(4),
        records: lines.map(|r| Record::parse(&r, &domain).unwrap()).collect(),
        serial: 1,
        domain,
    };
    Zone::new(&spec).unwrap()
}
