//! What stands in a reply, and where it goes.

use super::*;

#[test]
fn rfc6842_the_client_identifier_comes_back_in_every_reply() {
    let mut table = table();
    let id = DhcpOption::ClientIdentifier(vec![255, 0, 0, 0, 1, 0, 2]);
    let wrong = requested(FREE);
    for (kind, options) in [
        (MessageType::Discover, vec![id.clone()]),
        (MessageType::Request, vec![id.clone(), wrong, ours()]),
    ] {
        let (reply, _) = ask(&mut table, &message(kind, NODE, &options)).unwrap();
        assert_eq!(reply.opts().get(OptionCode::ClientIdentifier), Some(&id));
    }
}

#[test]
fn p13_the_reply_goes_where_the_client_hears_it() {
    let mut table = table();
    let mut discover = message(MessageType::Discover, NODE, &[]);
    let (_, to) = ask(&mut table, &discover).unwrap();
    let (address, mac) = (NODE_ADDRESS, NODE);
    assert_eq!(to, Destination::Client { address, mac });
    discover.set_flags(Flags::default().set_broadcast());
    let (_, to) = ask(&mut table, &discover).unwrap();
    assert_eq!(to, Destination::Broadcast);
    let mut inform = message(MessageType::Inform, NODE, &[]);
    inform
        .set_ciaddr(FREE)
        .set_flags(Flags::default().set_broadcast());
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
    let ask = |table: &mut Table, wanted: &[OptionCode]| {
        let list = DhcpOption::ParameterRequestList(wanted.to_vec());
        let discover = message(MessageType::Discover, NODE, &[list]);
        codes(&at(table, 1000, &discover).reply.unwrap().bytes)
    };
    use OptionCode::{DomainName, DomainNameServer, Hostname, NtpServers, Router, SubnetMask};
    let wanted = [Hostname, DomainName, NtpServers, DomainNameServer, Hostname];
    assert_eq!(ask(&mut table, &wanted), [53, 54, 51, 12, 15, 6]);
    let mask_last = [Router, SubnetMask];
    assert_eq!(
        ask(&mut table, &mask_last),
        [53, 54, 51, 1, 3],
        "section 3.3"
    );
    let discover = message(MessageType::Discover, NODE, &[]);
    let all = codes(&at(&mut table, 1000, &discover).reply.unwrap().bytes);
    assert_eq!(all, [53, 54, 51, 1, 3, 6, 12, 15, 26, 28, 58, 59]);
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
