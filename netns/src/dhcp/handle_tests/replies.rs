//! The contents of a reply, and its destination.

use super::*;

#[test]
fn rfc6842_the_client_identifier_comes_back_in_every_reply() {
    let mut table = table();
    let id = (61, vec![255, 0, 0, 0, 1, 0, 2]);
    let wrong = requested(FREE);
    for (kind, options) in [
        (MessageType::Discover, vec![id.clone()]),
        (MessageType::Request, vec![id.clone(), wrong, ours()]),
    ] {
        let (reply, _) = ask(&mut table, &message(kind, NODE, &options)).unwrap();
        assert_eq!(reply.option(61), Some(&id.1[..]));
    }
}

#[test]
fn p13_the_reply_goes_where_the_client_hears_it() {
    let mut table = table();
    let mut discover = message(MessageType::Discover, NODE, &[]);
    let (_, to) = ask(&mut table, &discover).unwrap();
    let (address, mac) = (NODE_ADDRESS, NODE);
    assert_eq!(to, Destination::Client { address, mac });
    discover.set_broadcast();
    let (_, to) = ask(&mut table, &discover).unwrap();
    assert_eq!(to, Destination::Broadcast);
    let mut inform = message(MessageType::Inform, NODE, &[]);
    inform.set_ciaddr(FREE).set_broadcast();
    let (_, to) = ask(&mut table, &inform).unwrap();
    assert_eq!(
        to,
        Destination::Client { address: FREE, mac },
        "ciaddr counts more"
    );
}

#[test]
fn rfc2132_parameters_come_as_asked_for_and_no_others() {
    let mut table = table();
    let mut codes = |options: &[Value]| {
        let discover = message(MessageType::Discover, NODE, options);
        ask(&mut table, &discover).unwrap().0.codes()
    };
    // The server does not have 42, and sends 12 once.
    let some = judge::parameters(&[12, 15, 42, 6, 12]);
    assert_eq!(codes(&[some]), [53, 54, 51, 12, 15, 6]);
    let mask_last = judge::parameters(&[3, 1]);
    assert_eq!(codes(&[mask_last]), [53, 54, 51, 1, 3], "section 3.3");
    assert_eq!(codes(&[]), [53, 54, 51, 1, 3, 6, 12, 15, 26, 28, 58, 59]);
}

#[test]
fn rfc3442_routes_are_packed_and_the_default_is_among_them() {
    let mut config = config();
    let router = Ipv4Addr::new(192, 168, 80, 3);
    config.routes = vec![
        ("10.0.0.0/8".parse().unwrap(), router),
        ("10.229.0.128/25".parse().unwrap(), router),
    ];
    let mut table = table_of(config);
    let discover = message(MessageType::Discover, NODE, &[]);
    let bytes = at(&mut table, 1000, &discover).reply.unwrap().bytes;
    let packed = [
        &[121, 20][..],
        &[0, 192, 168, 80, 1],
        &[8, 10, 192, 168, 80, 3],
        &[25, 10, 229, 0, 128, 192, 168, 80, 3],
    ]
    .concat();
    assert!(bytes.windows(packed.len()).any(|w| w == packed));
}

/// All parameters as RFC 2132 writes them, byte for byte.
#[test]
fn rfc2132_values_are_written_as_the_sections_have_them() {
    let mut table = table();
    let discover = message(MessageType::Discover, NODE, &[]);
    let (offer, _) = ask(&mut table, &discover).unwrap();
    for (code, value) in [
        (1, &[255, 255, 255, 0][..]),
        (3, &[192, 168, 80, 1]),
        (6, &[192, 168, 80, 1]),
        (12, b"master0"),
        (15, b"k80.internal"),
        (26, &[5, 120]),
        (28, &[192, 168, 80, 255]),
        (51, &[0, 0, 14, 16]),
        (53, &[2]),
        (54, &[192, 168, 80, 1]),
        (58, &[0, 0, 7, 8]),
        (59, &[0, 0, 12, 78]),
    ] {
        assert_eq!(offer.option(code), Some(value), "option {code}");
    }
}
