//! Reads a tree of XML, and notes what is not carried over.

use roxmltree::{Document, Node};

use super::draft::Draft;

/// The XML of one network, with the names of lines.
pub(super) struct Xml<'a, 'input> {
    pub(super) document: &'a Document<'input>,
    pub(super) root: Node<'a, 'input>,
}

impl<'a, 'input> Xml<'a, 'input> {
    pub(super) fn line(&self, node: Node<'_, '_>) -> usize {
        let at = self.document.text_pos_at(node.range().start);
        usize::try_from(at.row).unwrap_or(0)
    }

    /// The opening tag as it stands in the file.
    pub(super) fn tag(&self, node: Node<'_, '_>) -> String {
        let text = self.document.input_text();
        let text = text.get(node.range()).unwrap_or_default();
        let end = text.find('>').map_or(text.len(), |at| at + 1);
        text.get(..end).unwrap_or_default().to_owned()
    }
}

/// The element children of a node.
pub(super) fn elements<'a, 'i>(node: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(Node::is_element)
}

/// Notes attributes that are not carried over.
pub(super) fn note_attributes(
    draft: &mut Draft,
    xml: &Xml<'_, '_>,
    node: Node<'_, '_>,
    known: &[&str],
) {
    for attribute in node.attributes() {
        let name = attribute.name();
        if known.contains(&name) {
            continue;
        }
        let (why, instead) = match name {
            "stp" => (
                "kvmc's bridge has one way to each node and needs no spanning tree",
                "",
            ),
            "delay" => ("ports of kvmc's bridge forward at once", ""),
            "zone" => (
                "kvmc adds the bridge to the zone `trusted` of firewalld by itself",
                "",
            ),
            "dev" => (
                "the host's routes choose the uplink",
                "`ip route` shows which link that is",
            ),
            "ipv6" => (
                "kvmc lets nodes speak IPv6 only with network.ipv6 = true",
                "",
            ),
            "localPtr" => (
                "kvmc always answers reverse queries of its range by itself",
                "",
            ),
            "mac" => (
                "kvmc derives MAC addresses from the names of cluster and node",
                "",
            ),
            "id" => ("kvmc's leases go by MAC address", ""),
            "register" => ("kvmc tells systemd-resolved the names by itself", ""),
            _ => ("this attribute is not carried over", ""),
        };
        let what = format!("{name}=\"{}\"", attribute.value());
        draft.note(xml.line(node), &what, why, instead);
    }
}
