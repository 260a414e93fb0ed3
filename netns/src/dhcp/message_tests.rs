use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::judge;
use super::*;

/// An offer to a relayed client with all fields set.
fn message(options: Vec<DhcpOption>) -> ReplyMessage {
    let mut request = judge::Request::new(
        judge::MessageType::Discover,
        [2, 2, 3, 4, 5, 6],
        0x0102_0304,
        &[(82, vec![1, 1, 7])],
    );
    request
        .set_broadcast()
        .set_giaddr(Ipv4Addr::new(9, 10, 11, 12));
    let request = Request::read(&request.to_vec()).unwrap();
    let mut message = ReplyMessage::new(MessageType::Offer, &request);
    message
        .header
        .set_ciaddr(Ipv4Addr::new(1, 2, 3, 4))
        .set_yiaddr(Ipv4Addr::new(5, 6, 7, 8));
    message.options = options;
    message
}

#[test]
fn a_judge_reads_all_fields_as_they_were_meant() {
    let options = vec![
        DhcpOption::DomainName("k80".to_owned()),
        DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
    ];
    let bytes = message(options).encode(548).unwrap();
    let read = judge::Reply::read(&bytes).unwrap();
    assert_eq!(read.kind, judge::MessageType::Offer);
    assert_eq!((read.xid, read.is_broadcast), (0x0102_0304, true));
    assert_eq!(read.ciaddr, Ipv4Addr::new(1, 2, 3, 4));
    assert_eq!(read.yiaddr, Ipv4Addr::new(5, 6, 7, 8));
    assert_eq!(read.siaddr, Ipv4Addr::UNSPECIFIED);
    assert_eq!(read.giaddr, Ipv4Addr::new(9, 10, 11, 12));
    assert_eq!(read.chaddr, [2, 2, 3, 4, 5, 6]);
    assert_eq!(read.codes(), [53, 15, 1, 82], "in their order, agent last");
    assert_eq!(read.option(1), Some(&[255, 255, 255, 0][..]));
    assert_eq!(read.option(82), Some(&[1, 1, 7][..]));
    assert_eq!(bytes.len(), 300);
}

#[test]
fn what_the_options_field_has_no_room_for_goes_into_file_and_sname() {
    let options: Vec<_> = (0..8_u8)
        .map(|n| raw((200 + n).into(), vec![n; 60]))
        .collect();
    let bytes = message(options.clone()).encode(548).unwrap();
    assert!(bytes.len() <= 548);
    // The options field has 308 bytes. Less type, overload, agent and end it holds four options of 62; file two, sname one.
    assert_eq!(bytes[HEADER..HEADER + 6], [53, 1, 2, 52, 1, 3]);
    assert_eq!(bytes[FILE][..2], [204, 60]);
    assert_eq!(bytes[FILE][124], 255);
    assert_eq!(bytes[SNAME][..2], [206, 60]);
    assert_eq!(bytes[bytes.len() - 6..], [82, 3, 1, 1, 7, 255]);
    let read = judge::Reply::read(&bytes).unwrap();
    assert_eq!(
        read.codes(),
        [53, 52, 200, 201, 202, 203, 82, 204, 205, 206]
    );
    let roomy = message(options).encode(1400).unwrap();
    assert!(roomy[FILE].iter().all(|b| *b == 0), "no need of it");
}

/// The fault of dhcproto that `message.rs` corrects. When this test fails, the correction may go. docs/DHCP.md lists it.
#[test]
fn dhcproto_0_15_sorts_options_and_does_not_pad() {
    let mut alone = v4::Message::default();
    alone
        .opts_mut()
        .insert(DhcpOption::MessageType(MessageType::Offer));
    alone
        .opts_mut()
        .insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)));
    let bytes = alone.to_vec().unwrap();
    assert_eq!(
        bytes[HEADER..],
        [1, 4, 255, 255, 255, 0, 53, 1, 2, 255],
        "the type is not first"
    );
}

proptest! {
    #[test]
    fn no_reply_is_longer_than_the_client_takes(
        options in proptest::collection::btree_map(1_u8..52, 1_usize..300, 0..30),
        limit in 548_usize..1500,
    ) {
        let options = options.into_iter().map(|(code, length)| raw(code.into(), vec![1; length])).collect();
        let bytes = message(options).encode(limit).unwrap();
        prop_assert!((300..=limit).contains(&bytes.len()));
        let read = judge::Reply::read(&bytes);
        prop_assert!(read.is_ok(), "{:?}", read);
    }
}
