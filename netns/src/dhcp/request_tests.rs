use proptest::prelude::*;

use super::super::options::{FILE, SNAME};
use super::*;

/// A request with this options field.
fn packet(options: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; HEADER];
    packet[..3].copy_from_slice(&[1, 1, 6]);
    packet[28..34].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1]);
    packet[236..].copy_from_slice(&[99, 130, 83, 99]);
    packet.extend(options);
    packet
}

fn read(options: &[u8]) -> Request {
    Request::read(&packet(options)).unwrap()
}

#[test]
fn options_continue_in_file_and_sname_when_the_client_says_so() {
    let parameters = |overload| {
        let mut bytes = packet(&[53, 1, 1, 52, 1, overload, 55, 1, 1, 255]);
        bytes[FILE.start..FILE.start + 4].copy_from_slice(&[55, 1, 3, 255]);
        bytes[SNAME.start..SNAME.start + 4].copy_from_slice(&[55, 1, 6, 255]);
        let request = Request::read(&bytes).unwrap();
        request
            .parameters()
            .unwrap()
            .iter()
            .map(|c| u8::from(*c))
            .collect::<Vec<_>>()
    };
    assert_eq!(parameters(1), [1, 3]);
    assert_eq!(parameters(2), [1, 6]);
    assert_eq!(parameters(3), [1, 3, 6]);
    assert_eq!(parameters(0), [1]);
}

#[test]
fn options_in_parts_are_joined() {
    let request = read(&[61, 2, 1, 2, 53, 1, 1, 61, 1, 3, 255]);
    assert_eq!(request.client_id(), Some(&[1, 2, 3][..]));
    let long = [
        &[53, 1, 1][..],
        &[61, 200],
        &[1; 200],
        &[61, 200],
        &[1; 200],
    ]
    .concat();
    assert_eq!(read(&long).client_id(), None, "it cannot come back");
}

#[test]
fn header_and_options_are_what_the_packet_has() {
    let mut bytes = packet(&[
        53, 1, 3, 50, 4, 10, 0, 0, 1, 51, 4, 0, 1, 0, 2, 54, 4, 10, 0, 0, 2, 57, 2, 5, 220, 80, 0,
        82, 3, 1, 1, 7, 255,
    ]);
    bytes[4..8].copy_from_slice(&[1, 2, 3, 4]);
    bytes[10..12].copy_from_slice(&[0x80, 1]);
    bytes[12..16].copy_from_slice(&[10, 0, 0, 3]);
    bytes[24..28].copy_from_slice(&[10, 0, 0, 4]);
    let request = Request::read(&bytes).unwrap();
    assert_eq!(request.kind, MessageType::Request);
    assert_eq!(request.mac, MacAddr([0x52, 0x54, 0, 0, 0, 1]));
    assert_eq!(request.message.xid(), 0x0102_0304);
    assert_eq!(u16::from(request.message.flags()), 0x8001);
    assert_eq!(request.message.ciaddr(), Ipv4Addr::new(10, 0, 0, 3));
    assert_eq!(request.message.giaddr(), Ipv4Addr::new(10, 0, 0, 4));
    assert_eq!(
        request.requested_address(),
        Some(Ipv4Addr::new(10, 0, 0, 1))
    );
    assert_eq!(request.lease_time(), Some(65538));
    assert_eq!(request.server(), Some(Ipv4Addr::new(10, 0, 0, 2)));
    assert_eq!(request.maximum_size(), Some(1500));
    assert!(request.rapid_commit() && request.is_relayed());
    assert_eq!(request.relay_agent.as_deref(), Some(&[1, 1, 7][..]));
    let bare = read(&[53, 1, 1, 255]);
    assert_eq!((bare.requested_address(), bare.parameters()), (None, None));
    assert!(!bare.rapid_commit() && !bare.is_relayed());
}

/// dhcproto would stop at each of these options, or misread it.
#[test]
fn an_option_of_a_wrong_length_is_ignored_and_those_behind_it_are_read() {
    for wrong in [
        &[50, 3, 1, 2, 3][..],
        &[51, 8, 0, 0, 0, 1, 0, 0, 0, 2],
        &[54, 0],
        &[57, 1, 5],
        &[80, 1, 0],
        &[61, 1, 9],
        &[82, 0],
        &[12, 2, 0xff, 0xfe],
        &[81, 2, 0, 0],
        &[121, 1, 8],
    ] {
        let request = read(&[wrong, &[53, 1, 1, 255]].concat());
        assert_eq!(request.kind, MessageType::Discover, "{wrong:?}");
        assert_eq!(request.requested_address(), None, "{wrong:?}");
        assert_eq!(request.lease_time(), None, "{wrong:?}");
        assert_eq!(request.server(), None, "{wrong:?}");
        assert_eq!(request.maximum_size(), None, "{wrong:?}");
        assert_eq!(request.client_id(), None, "{wrong:?}");
        assert_eq!(request.relay_agent, None, "{wrong:?}");
        assert!(!request.rapid_commit(), "{wrong:?}");
    }
}

/// The faults of dhcproto that `options.rs` and `request.rs` correct. When one of these tests fails, its correction may go.
/// docs/DHCP.md lists them.
mod dhcproto_0_15 {
    use super::*;

    fn alone(bytes: &[u8]) -> v4::Message {
        v4::Message::from_bytes(bytes).unwrap()
    }

    fn id(options: &[u8]) -> Option<DhcpOption> {
        let message = alone(&packet(options));
        message.opts().get(OptionCode::ClientIdentifier).cloned()
    }

    #[test]
    fn panics_on_an_address_longer_than_its_field() {
        let mut bytes = packet(&[53, 1, 1, 255]);
        bytes[2] = 17;
        let message = alone(&bytes);
        let panicked = std::panic::catch_unwind(|| message.chaddr().len());
        assert!(panicked.is_err());
    }

    #[test]
    fn accepts_any_cookie() {
        let mut bytes = packet(&[53, 1, 1, 255]);
        bytes[236..240].fill(0);
        assert_eq!(alone(&bytes).opts().msg_type(), Some(MessageType::Discover));
        assert!(Request::read(&bytes).is_none());
    }

    #[test]
    fn does_not_read_file_and_sname() {
        let mut bytes = packet(&[52, 1, 1, 255]);
        bytes[FILE.start..FILE.start + 4].copy_from_slice(&[53, 1, 1, 255]);
        assert_eq!(alone(&bytes).opts().msg_type(), None);
        assert!(Request::read(&bytes).is_some());
    }

    #[test]
    fn keeps_the_last_of_parts_that_are_apart() {
        let apart = [61, 2, 1, 2, 53, 1, 1, 61, 1, 3, 255];
        assert_eq!(id(&apart), Some(DhcpOption::ClientIdentifier(vec![3])));
        assert_eq!(read(&apart).client_id(), Some(&[1, 2, 3][..]));
    }

    #[test]
    fn stops_at_an_option_that_it_cannot_read() {
        let name_first = [12, 2, 0xff, 0xfe, 53, 1, 1, 255];
        assert_eq!(alone(&packet(&name_first)).opts().msg_type(), None);
        assert_eq!(read(&name_first).kind, MessageType::Discover);
    }

    #[test]
    fn takes_a_number_from_the_start_of_a_longer_value() {
        let long = [53, 1, 1, 51, 8, 0, 0, 0, 1, 0, 0, 0, 2, 255];
        let time = alone(&packet(&long))
            .opts()
            .get(OptionCode::AddressLeaseTime)
            .cloned();
        assert_eq!(time, Some(DhcpOption::AddressLeaseTime(1)));
        assert_eq!(read(&long).lease_time(), None);
    }

    /// dhcproto asserts only in builds with debug_assertions; other builds read the option, or stop there.
    #[test]
    #[cfg(debug_assertions)]
    fn asserts_lengths() {
        for options in [&[80, 1, 0, 255][..], &[81, 2, 0, 0, 255]] {
            let bytes = packet(options);
            let panicked = std::panic::catch_unwind(|| v4::Message::from_bytes(&bytes).is_ok());
            assert!(panicked.is_err(), "{options:?}");
        }
    }

    #[test]
    fn sorts_what_a_relay_added() {
        use dhcproto::Encodable as _;
        let agent = [82, 7, 2, 1, 9, 1, 2, 7, 7];
        let option = DhcpOption::from_bytes(&agent).unwrap();
        assert_eq!(option.to_vec().unwrap(), [82, 7, 1, 2, 7, 7, 2, 1, 9]);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_fall_over(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _read_or_not = Request::read(&bytes);
        let _read_or_not = Request::read(&packet(&bytes));
    }
}
