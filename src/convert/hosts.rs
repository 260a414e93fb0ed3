//! The addresses of a libvirt network: its range, and the hosts that DHCP knows.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use roxmltree::Node;

use super::draft::Draft;
use super::roles::Machine;
use super::spans::outside;
use super::xml::{Xml, elements, note_attributes};

/// The nodes of a default cluster.
const DEFAULT_NODES: u64 = 7;

/// Reads the elements `<ip>`, the first of IPv4 as the main network.
pub(super) fn addresses(draft: &mut Draft, xml: &Xml<'_, '_>) {
    let mut has_first = false;
    for node in elements(xml.root).filter(|e| e.tag_name().name() == "ip") {
        let (line, tag) = (xml.line(node), xml.tag(node));
        if is_ipv6(node) {
            draft.set(line, &tag, "network.ipv6", "true");
            draft.note(
                line,
                &tag,
                "kvmc makes the prefix, a unique local /64, and nodes form their addresses in it",
                "the status of the cluster shows the prefix",
            );
            for child in elements(node) {
                draft.note(
                    xml.line(child),
                    &xml.tag(child),
                    "kvmc gives no IPv6 addresses by DHCP",
                    "",
                );
            }
            continue;
        }
        if has_first {
            draft.note(
                line,
                &tag,
                "a network of kvmc has one IPv4 range",
                "[[networks]] gives the nodes a NIC in another range",
            );
            continue;
        }
        has_first = true;
        match subnet(node) {
            Ok((address, subnet)) => {
                draft.set_subnet(line, &tag, subnet);
                if let Some(own) = subnet.nth(1).filter(|own| *own != address) {
                    let why = format!("the host has the first address in kvmc, {own}");
                    draft.note(line, &tag, why, "use this address as the gateway");
                }
            }
            Err(why) => draft.note(line, &tag, why, "the range is kvmc's default"),
        }
        note_attributes(
            draft,
            xml,
            node,
            &["address", "netmask", "prefix", "family"],
        );
    }
}

fn is_ipv6(node: Node<'_, '_>) -> bool {
    let is_named = node.attribute("family") == Some("ipv6");
    is_named || node.attribute("address").is_some_and(|a| a.contains(':'))
}

/// The host's address, and the network that it is in.
fn subnet(node: Node<'_, '_>) -> Result<(Ipv4Addr, Ipv4Network), String> {
    let text = node.attribute("address").unwrap_or_default();
    let address: Ipv4Addr = text
        .parse()
        .map_err(|_| format!("`{text}` is no address"))?;
    let network = match (node.attribute("prefix"), node.attribute("netmask")) {
        (Some(prefix), _) => {
            let prefix = prefix
                .parse()
                .map_err(|_| format!("`{prefix}` is no prefix"))?;
            Ipv4Network::new(address, prefix)
        }
        (None, Some(mask)) => {
            let mask = mask
                .parse()
                .map_err(|_| format!("`{mask}` is no netmask"))?;
            Ipv4Network::with_netmask(address, mask)
        }
        (None, None) => return Err("it has neither a netmask nor a prefix".to_owned()),
    };
    let network = network.map_err(|e| e.to_string())?;
    let network = Ipv4Network::new(network.network(), network.prefix());
    Ok((address, network.map_err(|e| e.to_string())?))
}

/// Reads DHCP's ranges and hosts, and what is beside them.
pub(super) fn machines(draft: &mut Draft, xml: &Xml<'_, '_>) {
    let mut used = Vec::new();
    let mut range_at = None;
    let is_v4 = |e: &Node<'_, '_>| e.tag_name().name() == "ip" && !is_ipv6(*e);
    let Some(ip) = elements(xml.root).find(is_v4) else {
        return;
    };
    for node in elements(ip) {
        let (line, tag) = (xml.line(node), xml.tag(node));
        match node.tag_name().name() {
            "dhcp" => {}
            "tftp" => draft.note(
                line,
                &tag,
                "kvmc serves no files by TFTP",
                "network.host_ports = [\"69/udp\"] lets nodes reach a TFTP server of the host",
            ),
            _ => draft.note(line, &tag, "this element is not known", ""),
        }
    }
    let dhcp = elements(ip).filter(|e| e.tag_name().name() == "dhcp");
    for node in dhcp.flat_map(elements) {
        let (line, tag) = (xml.line(node), xml.tag(node));
        let address = |name: &str| node.attribute(name)?.parse::<Ipv4Addr>().ok();
        match node.tag_name().name() {
            "range" => {
                if let (Some(start), Some(end)) = (address("start"), address("end")) {
                    used.push((start, end));
                    range_at = range_at.or(Some((line, tag.clone())));
                } else {
                    draft.note(line, &tag, "it lacks a start or an end", "");
                }
                for child in elements(node) {
                    let why = "kvmc's nodes keep their leases for life";
                    draft.note(xml.line(child), &xml.tag(child), why, "");
                }
            }
            "host" => host(draft, xml, node, &mut used),
            "bootp" => draft.note(
                line,
                &tag,
                "kvmc boots nodes from their disks, not from the network",
                "",
            ),
            _ => draft.note(line, &tag, "this element is not known", ""),
        }
    }
    if let Some((line, tag)) = range_at {
        reserve(draft, line, &tag, &used);
    }
}

fn host(
    draft: &mut Draft,
    xml: &Xml<'_, '_>,
    node: Node<'_, '_>,
    used: &mut Vec<(Ipv4Addr, Ipv4Addr)>,
) {
    let (line, tag) = (xml.line(node), xml.tag(node));
    let address = node
        .attribute("ip")
        .and_then(|ip| ip.parse::<Ipv4Addr>().ok());
    note_attributes(draft, xml, node, &["name", "ip"]);
    let Some(name) = node.attribute("name").filter(|n| !n.is_empty()) else {
        draft.note(
            line,
            &tag,
            "it has no name, by which kvmc knows its nodes",
            "[nodes.NAME] with address = gives a node this address",
        );
        return;
    };
    let name = name.split('.').next().unwrap_or(name).to_owned();
    if draft.machines.iter().any(|m| m.name == name) {
        draft.note(line, &tag, "another host has the same name", "");
        return;
    }
    let address = address.filter(|a| draft.fits(line, &tag, *a));
    used.extend(address.map(|a| (a, a)));
    draft.machines.push(Machine {
        name,
        line,
        address,
        ..Machine::default()
    });
}

/// Reserves the addresses outside of DHCP's ranges, as long as enough are left for the nodes.
fn reserve(draft: &mut Draft, line: usize, tag: &str, used: &[(Ipv4Addr, Ipv4Addr)]) {
    let Some(subnet) = draft.subnet() else {
        return;
    };
    let inside = |a: Ipv4Addr| {
        u64::from(u32::from(a).clamp(u32::from(subnet.network()), u32::from(subnet.broadcast())))
    };
    let room: u64 = used
        .iter()
        .map(|(a, b)| (inside(*b) + 1).saturating_sub(inside(*a)))
        .sum();
    let nodes = match draft.machines.len() {
        0 => DEFAULT_NODES,
        some => some as u64,
    };
    if room < nodes + 1 {
        draft.note(
            line,
            tag,
            "kvmc needs more addresses for its nodes than this range has",
            "network.reserved keeps addresses free",
        );
        return;
    }
    draft.set_list(line, tag, "network.reserved", &outside(subnet, used));
}
