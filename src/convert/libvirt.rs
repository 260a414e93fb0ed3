//! Reads the XML of a libvirt network.
//!
//! Reference: libvirt's documentation, "Network XML format".

use anyhow::{Context, Result, bail};
use roxmltree::{Document, Node};

use super::draft::{Carried, Draft};
use super::hosts;
use super::xml::{Xml, elements, note_attributes};

/// Makes a cluster file from a network.
///
/// # Errors
/// Fails if the text is no XML of a network, or if its settings do not fit together.
pub(crate) fn from_libvirt(text: &str, from: &str) -> Result<Carried> {
    let document = Document::parse(text.trim_start_matches('\u{feff}'))
        .with_context(|| format!("{from} is not XML"))?;
    let root = document.root_element();
    if root.tag_name().name() != "network" {
        bail!(
            "{from} is not a libvirt network; expected the element <network>, not <{}>",
            root.tag_name().name().escape_debug()
        );
    }
    let xml = Xml {
        document: &document,
        root,
    };
    let mut draft = Draft::new(from);
    forward(&mut draft, &xml);
    // The addresses come first, because others must lie among them.
    hosts::addresses(&mut draft, &xml);
    for node in elements(root) {
        element(&mut draft, &xml, node);
    }
    hosts::machines(&mut draft, &xml);
    note_attributes(&mut draft, &xml, root, &["connections", "xmlns"]);
    draft.finish()
}

fn element(draft: &mut Draft, xml: &Xml<'_, '_>, node: Node<'_, '_>) {
    let (line, tag) = (xml.line(node), xml.tag(node));
    let text = node.text().unwrap_or_default().trim();
    match node.tag_name().name() {
        // An id of libvirt's, and elements that are read elsewhere.
        "uuid" | "metadata" | "ip" | "forward" => {}
        "name" => draft.name(line, &format!("<name>{text}</name>"), text),
        "bridge" => bridge(draft, xml, node),
        "mtu" => {
            if let Some(size) = node.attribute("size") {
                draft.set(line, &tag, "network.mtu", size);
            }
            note_attributes(draft, xml, node, &["size"]);
        }
        "domain" => {
            if let Some(name) = node.attribute("name") {
                draft.set(line, &tag, "dns.domain", name);
            }
            if node.attribute("localOnly") == Some("no") {
                draft.note(
                    line,
                    &tag,
                    "kvmc never asks other servers for names of the cluster",
                    "",
                );
            }
            note_attributes(draft, xml, node, &["name", "localOnly"]);
        }
        "dns" => dns(draft, xml, node),
        other => {
            let (why, instead) = unknown(other);
            draft.note(line, &tag, why, instead);
        }
    }
}

/// Why an element is not carried over.
fn unknown(element: &str) -> (&'static str, &'static str) {
    match element {
        "mac" => (
            "kvmc derives the bridge's MAC address from the cluster's name",
            "",
        ),
        "bandwidth" => (
            "kvmc does not limit bandwidth",
            "`tc qdisc` on the bridge limits it while the cluster runs",
        ),
        "portgroup" => (
            "kvmc has no classes of ports",
            "[[networks]] separate groups of nodes, by the `networks` of their roles",
        ),
        "virtualport" => ("kvmc's bridges are Linux bridges", ""),
        "vlan" => (
            "kvmc's ports carry no VLAN tags of the host",
            "nodes can tag by themselves",
        ),
        "route" => (
            "kvmc sets no further routes on the host",
            "`ip route add` sets it while the cluster runs",
        ),
        "port" => (
            "kvmc does not isolate nodes of one network from each other",
            "",
        ),
        _ => ("this element is not known", ""),
    }
}

/// The bridge of a network that libvirt made. The bridge of another program stays its own.
fn bridge(draft: &mut Draft, xml: &Xml<'_, '_>, node: Node<'_, '_>) {
    let (line, tag) = (xml.line(node), xml.tag(node));
    if !is_own(mode(xml)) {
        draft.note(
            line,
            &tag,
            "kvmc attaches nodes to bridges of its own only",
            "forward leads from the host's ports to nodes",
        );
        return;
    }
    if let Some(name) = node.attribute("name") {
        draft.set(line, &tag, "network.bridge", name);
        let network = elements(xml.root).find(|e| e.tag_name().name() == "name");
        let network = network.and_then(|n| n.text()).unwrap_or_default().trim();
        let network = match network.contains(char::is_whitespace) {
            true => format!("'{network}'"),
            false => network.to_owned(),
        };
        draft.note(
            line,
            &tag,
            "two programs cannot have one bridge",
            format!("`virsh net-destroy {network}` stops libvirt's before the cluster is created"),
        );
    }
    note_attributes(draft, xml, node, &["name"]);
}

/// The mode of forwarding; empty for an isolated network.
fn mode<'a>(xml: &Xml<'a, '_>) -> &'a str {
    let forward = elements(xml.root).find(|e| e.tag_name().name() == "forward");
    forward.map_or("", |f| f.attribute("mode").unwrap_or("nat"))
}

/// Whether libvirt makes the bridge of a network with this mode.
fn is_own(mode: &str) -> bool {
    ["", "nat", "route", "open"].contains(&mode)
}

fn forward(draft: &mut Draft, xml: &Xml<'_, '_>) {
    let Some(node) = elements(xml.root).find(|e| e.tag_name().name() == "forward") else {
        let line = xml.line(xml.root);
        draft.set(
            line,
            "<network> without <forward>",
            "network.isolated",
            "true",
        );
        return;
    };
    let (line, tag) = (xml.line(node), xml.tag(node));
    match mode(xml) {
        "nat" => {}
        "route" => draft.note(
            line,
            &tag,
            "kvmc translates the nodes' addresses (NAT) on their way out",
            "network.reach_from lets machines of a link reach the nodes by their own addresses",
        ),
        "open" => draft.note(
            line,
            &tag,
            "kvmc sets the nft rules of its networks itself",
            "network.reach_from and forward open ways in",
        ),
        _ => draft.note(
            line,
            &tag,
            "kvmc's nodes are behind a bridge of its own, with NAT, not in the host's LAN",
            "forward leads from ports of the host to nodes",
        ),
    }
    note_attributes(draft, xml, node, &["mode"]);
    for child in elements(node) {
        let (line, tag) = (xml.line(child), xml.tag(child));
        match child.tag_name().name() {
            "nat" if elements(child).count() == 0 => {}
            "nat" => {
                for range in elements(child) {
                    let why = "NAT uses the uplink's address and all ports";
                    draft.note(xml.line(range), &xml.tag(range), why, "");
                }
            }
            "interface" | "pf" | "address" | "driver" => {
                draft.note(line, &tag, "the host's routes choose the uplink", "");
            }
            _ => draft.note(line, &tag, "this element is not known", ""),
        }
    }
}

fn dns(draft: &mut Draft, xml: &Xml<'_, '_>, node: Node<'_, '_>) {
    if node.attribute("enable") == Some("no") {
        let why = "kvmc always serves the names of its nodes";
        draft.note(xml.line(node), &xml.tag(node), why, "");
    }
    note_attributes(draft, xml, node, &["enable"]);
    let domain = elements(xml.root).find(|e| e.tag_name().name() == "domain");
    let domain = domain.and_then(|d| d.attribute("name")).unwrap_or_default();
    let mut records = Vec::new();
    for child in elements(node) {
        let (line, tag) = (xml.line(child), xml.tag(child));
        let get = |name: &str| child.attribute(name).unwrap_or_default();
        match child.tag_name().name() {
            "forwarder" => draft.note(
                line,
                &tag,
                "kvmc forwards other names to the resolvers that the host uses",
                "give the host this resolver, by systemd-resolved or /etc/resolv.conf",
            ),
            "host" => {
                for name in elements(child).filter(|e| e.tag_name().name() == "hostname") {
                    let name = name.text().unwrap_or_default().trim();
                    let kind = if get("ip").contains(':') { "AAAA" } else { "A" };
                    match below(name, domain) {
                        Some(below) => {
                            records.push((line, format!("{below} {kind} {}", get("ip"))))
                        }
                        None => draft.note(
                            line,
                            name,
                            "kvmc's name server answers for the cluster's domain only",
                            "choose a name below dns.domain",
                        ),
                    }
                }
            }
            "txt" => {
                let value = get("value").replace('\\', "\\\\").replace('"', "\\\"");
                records.push((line, format!("{} TXT \"{value}\"", get("name"))));
            }
            "srv" => records.push((line, srv(child, domain))),
            _ => draft.note(line, &tag, "this element is not known", ""),
        }
    }
    let line = records.first().map_or(0, |(line, _)| *line);
    let records: Vec<_> = records.into_iter().map(|(_, record)| record).collect();
    draft.set_list(line, &records.join(", "), "dns.records", &records);
}

fn srv(node: Node<'_, '_>, domain: &str) -> String {
    let get = |name: &str| node.attribute(name).unwrap_or_default();
    let number = |name: &str| node.attribute(name).unwrap_or("0");
    let target = match below(get("target"), domain) {
        Some(below) => below.to_owned(),
        None => format!("{}.", get("target").trim_end_matches('.')),
    };
    format!(
        "_{}._{} SRV {} {} {} {target}",
        get("service"),
        get("protocol"),
        number("priority"),
        number("weight"),
        number("port"),
    )
}

/// A name without the domain; `None` if it lies elsewhere.
fn below<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let name = name.trim_end_matches('.');
    match name.strip_suffix(domain).and_then(|n| n.strip_suffix('.')) {
        Some(below) if !domain.is_empty() => Some(below),
        _ => (!name.contains('.')).then_some(name),
    }
}
