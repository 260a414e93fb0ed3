use dhcproto::Decodable;
use dhcproto::v4::{DhcpOption, Message as Judge, OptionCode};
use proptest::prelude::*;

use super::*;

fn packet(options: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; FIXED];
    packet[..3].copy_from_slice(&[1, 1, 6]);
    packet[28..34].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1]);
    packet[FIXED - 4..].copy_from_slice(&COOKIE);
    packet.extend(options);
    packet
}

fn message(options: Vec<(u8, Vec<u8>)>) -> Message {
    Message {
        kind: Kind::Offer,
        xid: 0x0102_0304,
        flags: BROADCAST,
        ciaddr: Ipv4Addr::new(1, 2, 3, 4),
        yiaddr: Ipv4Addr::new(5, 6, 7, 8),
        giaddr: Ipv4Addr::new(9, 10, 11, 12),
        mac: MacAddr([1, 2, 3, 4, 5, 6]),
        options,
        relay_agent: Some(vec![1, 1, 7]),
    }
}

#[test]
fn options_continue_in_file_and_sname_when_the_client_says_so() {
    let wanted = |overload| {
        let mut bytes = packet(&[53, 1, 1, 52, 1, overload, 55, 1, 1, 255]);
        bytes[FILE.start..FILE.start + 4].copy_from_slice(&[55, 1, 3, 255]);
        bytes[SNAME.start..SNAME.start + 4].copy_from_slice(&[55, 1, 6, 255]);
        decode(&bytes).unwrap().wanted.unwrap()
    };
    assert_eq!(wanted(1), [1, 3]);
    assert_eq!(wanted(2), [1, 6]);
    assert_eq!(wanted(3), [1, 3, 6]);
    assert_eq!(wanted(0), [1]);
}

#[test]
fn options_in_parts_are_joined() {
    let request = decode(&packet(&[61, 2, 1, 2, 53, 1, 1, 61, 1, 3, 255])).unwrap();
    assert_eq!(request.client_id, Some(vec![1, 2, 3]));
    let long = [
        &[53, 1, 1][..],
        &[61, 200],
        &[1; 200],
        &[61, 200],
        &[1; 200],
    ]
    .concat();
    assert_eq!(
        decode(&packet(&long)).unwrap().client_id,
        None,
        "cannot come back"
    );
}

#[test]
fn a_judge_reads_all_fields_as_they_were_meant() {
    let bytes = message(vec![(1, vec![255, 255, 255, 0]), (15, b"k80".to_vec())]).encode(548);
    let read = Judge::from_bytes(&bytes).unwrap();
    assert_eq!((read.xid(), read.flags().broadcast()), (0x0102_0304, true));
    assert_eq!(read.ciaddr(), Ipv4Addr::new(1, 2, 3, 4));
    assert_eq!(read.yiaddr(), Ipv4Addr::new(5, 6, 7, 8));
    assert_eq!(read.giaddr(), Ipv4Addr::new(9, 10, 11, 12));
    assert_eq!(read.chaddr(), [1, 2, 3, 4, 5, 6]);
    let mask = DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0));
    assert_eq!(read.opts().get(OptionCode::SubnetMask), Some(&mask));
    assert_eq!(bytes.len(), 300);
}

#[test]
fn what_the_options_field_has_no_room_for_goes_into_file_and_sname() {
    let options: Vec<_> = (0..8).map(|n| (200 + n, vec![n; 60])).collect();
    let bytes = message(options.clone()).encode(548);
    assert!(bytes.len() <= 548);
    // Options field: 308 less type, overload, agent and end leaves room for four of 62; file: two; sname: one.
    assert_eq!(bytes[FIXED..FIXED + 6], [53, 1, 2, 52, 1, 3]);
    assert_eq!(bytes[FILE][..2], [204, 60]);
    assert_eq!(bytes[FILE][124], code::END);
    assert_eq!(bytes[SNAME][..2], [206, 60]);
    assert_eq!(bytes[bytes.len() - 6..], [82, 3, 1, 1, 7, 255]);
    let roomy = message(options).encode(1400);
    assert!(roomy[FILE].iter().all(|b| *b == 0), "no need of it");
}

proptest! {
    #[test]
    fn no_reply_is_longer_than_the_client_takes(
        options in proptest::collection::vec((1_u8..52, 0_usize..300), 0..30),
        limit in 548_usize..1500,
    ) {
        let options = options.into_iter().map(|(code, length)| (code, vec![1; length])).collect();
        let bytes = message(options).encode(limit);
        prop_assert!((300..=limit).contains(&bytes.len()));
        prop_assert_eq!(bytes.iter().rev().find(|b| **b != 0), Some(&code::END));
    }

    #[test]
    fn no_bytes_make_the_decoder_fall_over(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _read_or_not = decode(&bytes);
        let _read_or_not = decode(&packet(&bytes));
    }
}
