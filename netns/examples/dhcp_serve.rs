//! Serves DHCP on one link with the server, table and lease file of a cluster's keeper, without a cluster. It is for
//! benchmarks and for tests of other programs' clients.
//!
//! Takes LINK SERVER/PREFIX LEASE_FILE LEASE_SECONDS [MAC=ADDRESS=NAME]..., prints `serving` once it serves, and then a
//! line for each event. A signal ends it.

use std::error::Error;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipnetwork::Ipv4Network;
use kvmc_netns::dhcp::{Config, Event, LeaseFile, NoticeKind, Reservation, Server, Table};
use tokio::sync::mpsc;

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve())
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("{what} is missing"));
    let link = next("LINK")?;
    let server: Ipv4Network = next("SERVER/PREFIX")?.parse()?;
    let leases = PathBuf::from(next("LEASE_FILE")?);
    let lease_time = Duration::from_secs(next("LEASE_SECONDS")?.parse()?);
    let reservations = arguments
        .map(|text| reservation(&text).ok_or(format!("`{text}` is not MAC=ADDRESS=NAME")))
        .collect::<Result<Vec<_>, _>>()?;
    let config = Config {
        server: server.ip(),
        subnet: Ipv4Network::new(server.network(), server.prefix())?,
        router: Some(server.ip()),
        routes: Vec::new(),
        dns: vec![server.ip()],
        domain: Some("k80.internal".to_owned()),
        mtu: Some(1400),
        lease_time,
        probe: true,
    };
    let mut table = Table::new(config, reservations);
    let (file, problem) = LeaseFile::load(leases, &mut table);
    let mut out = std::io::stdout().lock();
    if let Some(problem) = problem {
        writeln!(out, "{problem}")?;
    }
    let service = Server::bind(&link)?;
    writeln!(out, "serving")?;
    out.flush()?;
    let (events, mut heard) = mpsc::channel(64);
    let tell = async {
        while let Some(event) = heard.recv().await {
            // A benchmark would measure the printing of these lines.
            if !matches!(&event, Event::Client(n) if n.hostname.is_none() && n.kind == NoticeKind::Offered || n.kind == NoticeKind::Acked)
            {
                writeln!(out, "{event:?}")?;
                out.flush()?;
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = service.run(Arc::new(Mutex::new(table)), events, Some(file)) => Ok(ended?),
        told = tell => told,
    }
}

fn reservation(text: &str) -> Option<Reservation> {
    let mut parts = text.split('=');
    let mac = parts.next()?.parse().ok()?;
    let address: Ipv4Addr = parts.next()?.parse().ok()?;
    let hostname = parts.next()?.to_owned();
    Some(Reservation {
        mac,
        address,
        hostname,
    })
}
