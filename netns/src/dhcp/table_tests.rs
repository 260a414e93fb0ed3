use std::collections::HashSet;

use proptest::prelude::*;

use super::super::handle::tests::config;
use super::*;

const NODE: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 80, 2);
const FREE: Ipv4Addr = Ipv4Addr::new(192, 168, 80, 50);
const SQUATTER: MacAddr = MacAddr([0x52, 0x54, 9, 9, 9, 9]);

fn mac(n: u8) -> MacAddr {
    MacAddr([0x52, 0x54, 0, 0, 1, n])
}

fn table(probe: bool) -> Table {
    let node = Reservation {
        mac: NODE,
        address: NODE_ADDRESS,
        hostname: "master0".to_owned(),
    };
    let config = Config { probe, ..config() };
    Table::new(config, vec![node])
}

impl Table {
    /// Checks that all indices agree, and that the table has only addresses of the subnet.
    fn check(&self) {
        let all = self.pool.check() + self.leases.check() + self.reserved.len();
        assert_eq!(all, 253, "every address is in one place");
        for lease in self.leases.iter() {
            assert!(!self.pool.is_available(lease.mac, lease.address));
        }
        assert!(self.conflicts.len() <= 253 && self.changed.len() <= 254);
    }
}

#[test]
fn an_address_is_offered_when_nobody_answers_for_it() {
    let mut table = table(true);
    let Offer::Unprobed(first) = table.offer(mac(1), None, 1000) else {
        panic!("offered without a probe");
    };
    assert_eq!(table.offer(mac(1), None, 1000), Offer::Unprobed(first));
    table.unanswered(first, 1000);
    assert_eq!(table.offer(mac(1), None, 1000), Offer::Ready(first));
}

#[test]
fn addresses_asked_for_ahead_are_offered_at_once() {
    let mut table = table(true);
    let due = table.start_probes(1000);
    assert_eq!(due.len(), 252);
    assert!(!due.contains(&NODE_ADDRESS));
    assert!(
        table.start_probes(1000).is_empty(),
        "they are being asked for"
    );
    for address in due {
        table.unanswered(address, 1000);
    }
    let offers: HashSet<_> = (0..250)
        .map(|n| match table.offer(mac(n), None, 1001) {
            Offer::Ready(address) => address,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(offers.len(), 250);
    table.check();
}

/// Sends this many new clients each millisecond, for two seconds. A probe takes 200 ms. Returns the largest number of
/// clients that waited at a time, and whether any waited in the second second.
fn crowd(each_millisecond: u32) -> (usize, bool) {
    let subnet = "10.8.0.0/16".parse().unwrap();
    let mut table = Table::new(
        Config {
            probe: true,
            subnet,
            server: Ipv4Addr::new(10, 8, 0, 1),
            ..config()
        },
        Vec::new(),
    );
    for address in table.start_probes(1000) {
        table.unanswered(address, 1000);
    }
    let mut asked = std::collections::VecDeque::new();
    let mut waiting = HashSet::new();
    let (mut most, mut has_waited) = (0, false);
    for millisecond in 0..2000 {
        let now = 1000 + u64::from(millisecond) / 1000;
        while asked.front().is_some_and(|(over, _)| *over <= millisecond) {
            let (_, address) = asked.pop_front().unwrap();
            table.unanswered(address, now);
            waiting.remove(&address);
        }
        for n in 0..each_millisecond {
            let [_, a, b, c] = (millisecond * each_millisecond + n).to_be_bytes();
            match table.offer(MacAddr([2, 0, 0, a, b, c]), None, now) {
                Offer::Ready(_) => {}
                Offer::Unprobed(address) => {
                    asked.push_back((millisecond + 200, address));
                    waiting.insert(address);
                    has_waited |= millisecond >= 1000;
                }
                Offer::Full => panic!("the range is full"),
            }
        }
        asked.extend(
            table
                .start_probes(now)
                .into_iter()
                .map(|a| (millisecond + 200, a)),
        );
        most = most.max(waiting.len());
    }
    (most, has_waited)
}

#[test]
fn a_crowd_of_new_clients_finds_addresses_that_were_asked_for() {
    // Until the server sees how many clients come, some wait: fewer than it keeps.
    for each_millisecond in [1, 4, 8, 12] {
        let (most, has_waited) = crowd(each_millisecond);
        assert!(most < 2500, "{most} of {each_millisecond} each millisecond");
        assert!(!has_waited, "{each_millisecond} each millisecond");
    }
}

#[test]
fn silence_counts_for_some_minutes_only() {
    let mut table = table(true);
    for address in table.start_probes(1000) {
        table.unanswered(address, 1000);
    }
    assert!(matches!(table.offer(mac(1), None, 1299), Offer::Ready(_)));
    assert!(matches!(
        table.offer(mac(2), None, 1300),
        Offer::Unprobed(_)
    ));
}

#[test]
fn an_address_that_a_stranger_uses_is_left_alone_until_it_is_long_gone() {
    let mut table = table(true);
    let Offer::Unprobed(first) = table.offer(mac(1), None, 1000) else {
        panic!("offered without a probe");
    };
    assert_eq!(table.observe(SQUATTER, first, 1000), None);
    assert!(!table.is_probing(first));
    let next = table.offer(mac(1), Some(first), 1000);
    assert!(matches!(next, Offer::Unprobed(a) if a != first), "{next:?}");
    assert!(!table.bind(mac(2), first, 1000, 60));
    // The squatter itself may have the address: it may be older than this server's table.
    assert!(table.bind(SQUATTER, first, 1000, 60));
    assert_eq!(table.observe(SQUATTER, FREE, 1000), None);
    assert!(!table.bind(mac(2), FREE, 1599, 60));
    assert!(table.bind(mac(2), FREE, 1600, 60));
    table.check();
}

#[test]
fn p27_who_uses_a_nodes_address_is_told_of_once_in_a_while() {
    let mut table = table(true);
    assert_eq!(table.observe(NODE, NODE_ADDRESS, 1000), None);
    assert_eq!(table.observe(SQUATTER, NODE_ADDRESS, 1000), Some(NODE));
    for n in 0..100 {
        assert_eq!(table.observe(mac(n), NODE_ADDRESS, 1001), None);
    }
    assert_eq!(table.observe(SQUATTER, NODE_ADDRESS, 1600), Some(NODE));
    assert!(
        table.bind(NODE, NODE_ADDRESS, 1600, 60),
        "it stays the node's"
    );
}

#[test]
fn a_client_answering_for_its_own_address_is_no_conflict() {
    let mut table = table(true);
    assert!(table.bind(mac(1), FREE, 1000, 60));
    // The result has expired meanwhile, so the address needs another probe.
    assert_eq!(table.offer(mac(1), None, 2000), Offer::Unprobed(FREE));
    assert_eq!(table.observe(mac(1), FREE, 2000), None);
    table.unanswered(FREE, 2000);
    assert_eq!(table.offer(mac(1), None, 2000), Offer::Ready(FREE));
}

#[test]
fn a_reservation_ends_the_lease_in_its_way() {
    let mut table = table(false);
    assert!(table.bind(mac(1), FREE, 1000, 60));
    assert!(table.bind(mac(2), Ipv4Addr::new(192, 168, 80, 60), 1000, 60));
    table.take_changes();
    let reserve = |mac, address| Reservation {
        mac,
        address,
        hostname: "x".to_owned(),
    };
    table.set_reservations(vec![reserve(NODE, FREE), reserve(mac(2), NODE_ADDRESS)]);
    assert_eq!(table.leases(1000).count(), 0);
    assert_eq!(table.take_changes().len(), 2);
    assert_eq!(table.offer(mac(2), None, 1000), Offer::Ready(NODE_ADDRESS));
    table.check();
    table.set_reservations(Vec::new());
    table.check();
}

#[derive(Clone, Debug)]
enum Step {
    Offer(u8, u8),
    Bind(u8, u8),
    Release(u8, u8),
    Decline(u8, u8),
    Observe(u8, u8),
    Unanswered(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0_u8..20;
    prop_oneof![
        (who.clone(), any::<u8>()).prop_map(|(c, a)| Step::Offer(c, a)),
        (who.clone(), any::<u8>()).prop_map(|(c, a)| Step::Bind(c, a % 16)),
        (who.clone(), any::<u8>()).prop_map(|(c, a)| Step::Release(c, a % 16)),
        (who.clone(), any::<u8>()).prop_map(|(c, a)| Step::Decline(c, a % 16)),
        (who, any::<u8>()).prop_map(|(c, a)| Step::Observe(c, a % 16)),
        any::<u8>().prop_map(Step::Unanswered),
        (0_u64..700).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn all_indices_agree_whatever_happens(steps in proptest::collection::vec(step(), 1..200)) {
        let mut table = table(true);
        let mut copy: HashMap<Ipv4Addr, Lease> = HashMap::new();
        let mut now = 1000;
        let address = |last| Ipv4Addr::new(192, 168, 80, last);
        for step in steps {
            match step {
                Step::Offer(c, a) => { table.offer(mac(c), Some(address(a)), now); }
                Step::Bind(c, a) => { table.bind(mac(c), address(a), now, 300); }
                Step::Release(c, a) => table.release(mac(c), address(a), now),
                Step::Decline(c, a) => table.decline(mac(c), address(a), now),
                Step::Observe(c, a) => { table.observe(mac(c), address(a), now); }
                Step::Unanswered(a) => table.unanswered(address(a), now),
                Step::Wait(seconds) => now += seconds,
            }
            table.check();
            // The changes are enough to follow the bound leases.
            for change in table.take_changes() {
                match change {
                    LeaseChange::Bound(lease) => {
                        copy.retain(|_, l| l.mac != lease.mac);
                        copy.insert(lease.address, lease);
                    }
                    LeaseChange::Ended(address) => { copy.remove(&address); }
                }
            }
            for lease in table.leases(now) {
                prop_assert_eq!(copy.get(&lease.address), Some(lease));
            }
            let lasting = copy.values().filter(|l| l.expires > now).count();
            prop_assert_eq!(lasting, table.leases(now).count());
        }
    }
}

#[test]
fn excluded_addresses_are_given_to_nobody() {
    let mut table = table(false);
    let range = |first: u8, last: u8| {
        let of = |end| Ipv4Addr::new(192, 168, 80, end);
        (of(first), of(last))
    };
    assert!(table.bind(mac(1), FREE, 1000, 600));
    // The node's own address is in it too, and stays its own.
    table.exclude(vec![range(2, 2), range(40, 254)]);
    assert_eq!(table.owner(FREE), None, "a lease in the range ends");
    assert!(!table.bind(mac(1), FREE, 1001, 600));
    assert_eq!(table.offer(NODE, None, 1001), Offer::Ready(NODE_ADDRESS));
    let mut given = HashSet::new();
    for n in 0..60 {
        match table.offer(mac(n), Some(FREE), 1001) {
            Offer::Ready(address) => {
                assert!(address < Ipv4Addr::new(192, 168, 80, 40), "{address}");
                given.insert(address);
            }
            Offer::Full => break,
            Offer::Unprobed(address) => panic!("{address} is to be probed"),
        }
    }
    assert_eq!(given.len(), 39 - 2);
    // A station that uses one is in nobody's way.
    assert_eq!(table.observe(SQUATTER, FREE, 1001), None);
    table.exclude(Vec::new());
    table.check();
    assert!(table.bind(mac(61), FREE, 1002, 600));
}
