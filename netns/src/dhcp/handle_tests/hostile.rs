//! Hostile and malformed packets, and hostile clients.

use proptest::prelude::*;

use super::*;

#[test]
fn p25_malformed_packets_are_met_with_silence() {
    let good = message(MessageType::Discover, NODE, &[]).to_vec();
    let end = good.iter().rposition(|b| *b == 255).unwrap();
    let silence = |packet: &[u8], why: &str| {
        assert_eq!(handle(&mut table(), 0, packet), Outcome::default(), "{why}");
    };
    for (at, value, why) in [
        (0, 2, "op"),
        (1, 6, "htype"),
        (2, 17, "hlen"),
        (2, 255, "hlen"),
        (236, 0, "cookie"),
        (28, 0xff, "a group's Ethernet address"),
        (242, 2, "an offer, which servers send"),
        (242, 0, "no such type"),
        (241, 0, "a type without a value"),
    ] {
        let mut bad = good.clone();
        bad[at] = value;
        silence(&bad, why);
    }
    silence(&good[..239], "too short");
    let mut no_mac = good.clone();
    no_mac[28..34].fill(0);
    silence(&no_mac, "no Ethernet address");
    let mut over = good.clone();
    over.splice(end.., [61, 200, 1, 2]);
    silence(&over, "an option over its end");
    let mut twice = good.clone();
    twice.splice(end..end, [53, 1, 1]);
    silence(&twice, "two types");
    let answered = |with: &[u8], why: &str| {
        let mut odd = good.clone();
        odd.splice(end.., with.iter().copied());
        assert!(handle(&mut table(), 0, &odd).reply.is_some(), "{why}");
    };
    answered(&[], "no end");
    answered(&[61, 1, 9, 255], "a client identifier too short to be one");
    answered(
        &[12, 0, 12, 3, 0xff, 0xfe, 0, 255],
        "host names of no sense",
    );
    answered(
        &[[61, 254].as_slice(), &[7; 254], &[255]].concat(),
        "a long identifier",
    );
    answered(
        &[57, 2, 0, 1, 55, 0, 255],
        "a size of one byte, an empty list",
    );
}

#[test]
fn p25_ten_thousand_strangers_keep_out_neither_a_node_nor_the_one_who_means_it() {
    let mut table = table();
    let discover = |mac| message(MessageType::Discover, mac, &[]).to_vec();
    for n in 0..10_000_u32 {
        let [_, a, b, c] = n.to_be_bytes();
        let _offered_or_not = handle(&mut table, 1000, &discover(MacAddr([2, 1, 1, a, b, c])));
    }
    let node = handle(&mut table, 1000, &discover(NODE)).reply.unwrap();
    assert_eq!(read(&node).yiaddr, NODE_ADDRESS);
    let offer = handle(&mut table, 1000, &discover(GUEST)).reply.unwrap();
    let address = read(&offer).yiaddr;
    lease(&mut table, GUEST, address);
}

#[test]
fn p25_a_full_range_is_told_of() {
    let mut table = table();
    for n in 0..252 {
        let mac = MacAddr([2, 1, 1, 0, 0, n]);
        let (offer, _) = ask(&mut table, &message(MessageType::Discover, mac, &[])).unwrap();
        lease(&mut table, mac, offer.yiaddr);
    }
    let outcome = at(
        &mut table,
        1000,
        &message(MessageType::Discover, GUEST, &[]),
    );
    assert_eq!(outcome.notices[0].kind, NoticeKind::RangeFull);
    assert_eq!(outcome.reply, None);
    // An hour later the server reuses the address that expired first.
    let later = at(
        &mut table,
        1000 + 3601,
        &message(MessageType::Discover, GUEST, &[]),
    );
    assert!(later.reply.is_some());
}

proptest! {
    #[test]
    fn p25_no_bytes_make_it_fall_over(
        options in proptest::collection::vec(any::<u8>(), 0..400),
        fixed in proptest::collection::vec(any::<u8>(), 236),
        kind in 0_u8..16,
    ) {
        let mut packet = fixed;
        packet[..3].copy_from_slice(&[1, 1, 6]);
        packet[24..28].copy_from_slice(&[0; 4]);
        packet[28] &= 0xfe;
        packet.extend([99, 130, 83, 99, 53, 1, kind]);
        packet.extend(options);
        if let Some(reply) = handle(&mut table(), 0, &packet).reply {
            let read = judge::Reply::read(&reply.bytes);
            prop_assert!(read.is_ok(), "{read:?}");
        }
    }
}
