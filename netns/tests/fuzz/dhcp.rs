//! Sends mutations of a corpus of real and hostile packets through the core of the DHCP server. One table lives through all
//! of them, so that the test also sees growth, and states that only many packets lead to.
//!
//! `KVMC_FUZZ_INPUTS` sets the number of inputs, and `KVMC_FUZZ_SEED` selects them. Add a packet that breaks the server to
//! `corpus/dhcp`, under a name that says why. A run first replays the whole corpus unchanged.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use kvmc_netns::MacAddr;
use kvmc_netns::dhcp::{Config, Destination, Outcome, Reservation, Table, handle, observe_arp};

use super::judge;
use super::mutate::{Mutator, corpus, inputs, seed};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 80, 1);
const NODE: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 80, 2);
/// Longest time for a packet. Packets usually take microseconds.
const LONGEST: Duration = Duration::from_secs(1);
/// How much the process may grow after the first tenth of the inputs, in KiB.
const GROWTH: u64 = 8192;

fn table() -> Table {
    let config = Config {
        server: SERVER,
        subnet: "192.168.80.0/24".parse().unwrap(),
        router: Some(SERVER),
        routes: vec![("10.80.0.0/16".parse().unwrap(), SERVER)],
        dns: vec![SERVER],
        domain: Some("k80.internal".to_owned()),
        mtu: Some(1400),
        lease_time: Duration::from_secs(3600),
        probe: true,
    };
    let node = Reservation {
        mac: NODE,
        address: NODE_ADDRESS,
        hostname: "master0".to_owned(),
    };
    Table::new(config, vec![node])
}

/// Checks the rules of every reply.
fn check(packet: &[u8], outcome: &Outcome) {
    let Some(reply) = &outcome.reply else { return };
    let bytes = &reply.bytes;
    assert!((300..=1372).contains(&bytes.len()), "{} bytes", bytes.len());
    let read = judge::Reply::read(bytes).unwrap();
    assert_eq!(read.xid.to_be_bytes(), packet[4..8]);
    let yiaddr = read.yiaddr;
    let is_node = read.chaddr == NODE.0;
    assert!(yiaddr != NODE_ADDRESS || is_node, "a node's address");
    assert!(
        yiaddr != SERVER && (yiaddr.is_unspecified() || yiaddr.octets()[..3] == [192, 168, 80])
    );
    assert!(!is_node || yiaddr.is_unspecified() || yiaddr == NODE_ADDRESS);
    if let Destination::Relay(relay) = reply.to {
        assert!(relay != SERVER && relay.octets()[..3] == [192, 168, 80]);
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn p25_no_packet_makes_the_core_fall_over_hang_or_grow() {
    let (packets, frames) = (corpus("dhcp"), corpus("arp"));
    let mut table = table();
    for packet in &packets {
        check(packet, &handle(&mut table, 1000, packet));
    }
    for frame in &frames {
        let _told_or_not = observe_arp(&mut table, 1000, frame);
    }
    let (count, mut mutator) = (inputs(), Mutator::new(seed()));
    let (mut now, mut replies, mut slowest) = (2000, 0_u64, Duration::ZERO);
    let mut settled = 0;
    for number in 0..count {
        now += u64::from(mutator.below(50) == 0);
        if mutator.below(20_000) == 0 {
            now += 4000;
        }
        let started = Instant::now();
        if mutator.below(16) == 0 {
            let _told_or_not = observe_arp(&mut table, now, &mutator.mutate(&frames));
        } else {
            let packet = mutator.mutate(&packets);
            let mut outcome = handle(&mut table, now, &packet);
            check(&packet, &outcome);
            if let (None, Some(address)) = (&outcome.reply, outcome.probe)
                && mutator.below(4) != 0
            {
                table.unanswered(address, now);
                outcome = handle(&mut table, now, &packet);
                check(&packet, &outcome);
            }
            replies += u64::from(outcome.reply.is_some());
        }
        slowest = slowest.max(started.elapsed());
        if number % 1024 == 0 {
            for address in table.start_probes(now) {
                table.unanswered(address, now);
            }
            let (free, quarantined) = table.free_and_quarantined();
            assert!(table.leases(now).count() + free + quarantined <= 252);
        }
        if number == count / 10 {
            settled = resident_kib();
        }
    }
    let grown = resident_kib().saturating_sub(settled);
    println!("{count} inputs, {replies} replies, slowest {slowest:?}, grown by {grown} KiB");
    assert!(slowest < LONGEST, "{slowest:?} for one packet");
    assert!(grown < GROWTH, "grown by {grown} KiB");
    // If the server ignored the corpus, the test would not reach the code behind the first checks.
    assert!(
        replies * 20 > count,
        "only {replies} of {count} were answered"
    );
}
