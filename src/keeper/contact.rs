//! Contact with ready nodes, by packets that start nothing in a guest: ARP, and half a TCP handshake with its sshd.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use kvmc_netns::{Knock, Links, MacAddr, knock, stations};
use tokio::task::JoinSet;

use crate::model::Fault;
use crate::state::{ClusterRecord, NodeRecord};

/// How long a node may take to answer. An emulated one on a busy host takes seconds.
const ANSWER: Duration = Duration::from_secs(2);
/// Wait before a node that did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// What was heard of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contact {
    /// Addresses that other machines answer for, with bridge and MAC.
    pub(super) strangers: Vec<(Ipv4Addr, String, MacAddr)>,
    /// Its address in the main network, if it does not answer for it itself, with the bridge.
    pub(super) silent: Vec<(Ipv4Addr, String)>,
    /// What came back from its sshd's port; `None` if it was not asked.
    pub(super) knock: Option<Knock>,
}

impl Contact {
    fn is_whole(&self) -> bool {
        self.silent.is_empty() && !matches!(self.knock, Some(Knock::Refused | Knock::Silent))
    }
}

/// Asks these nodes. One that does not answer is asked a second time, so that a lost packet or a restart of sshd is no
/// fault.
///
/// # Errors
/// The links cannot be read.
pub(super) async fn look(
    record: &ClusterRecord,
    nodes: &[&NodeRecord],
    links: &Links,
) -> Result<BTreeMap<String, Contact>> {
    let mut heard = ask(record, nodes, links).await?;
    let is_whole = |node: &&&NodeRecord| heard.get(&node.name).is_none_or(Contact::is_whole);
    let again: Vec<_> = nodes.iter().filter(|n| !is_whole(n)).copied().collect();
    if !again.is_empty() {
        tokio::time::sleep(AGAIN).await;
        heard.extend(ask(record, &again, links).await?);
    }
    Ok(heard)
}

async fn ask(
    record: &ClusterRecord,
    nodes: &[&NodeRecord],
    links: &Links,
) -> Result<BTreeMap<String, Contact>> {
    let mut heard: BTreeMap<_, _> = nodes
        .iter()
        .map(|node| (node.name.clone(), Contact::default()))
        .collect();
    for network in record.networks() {
        let Some(link) = links.find(&network.bridge).await? else {
            continue;
        };
        let nics = nodes
            .iter()
            .filter_map(|node| Some((*node, node.nic(&network.name)?)));
        let nics: Vec<_> = nics.collect();
        let wanted: Vec<_> = nics.iter().map(|(_, nic)| (nic.address, nic.mac)).collect();
        // A bridge that cannot send is a fault of its own.
        let Ok(all) = stations(&link, network.gateway, &wanted, ANSWER).await else {
            continue;
        };
        for (node, nic) in nics {
            let Some(contact) = heard.get_mut(&node.name) else {
                continue;
            };
            let answers = all.iter().filter(|(address, _)| *address == nic.address);
            let (own, others): (Vec<MacAddr>, Vec<MacAddr>) = answers
                .map(|(_, mac)| *mac)
                .partition(|mac| *mac == nic.mac);
            let bridge = || network.bridge.clone();
            // One is enough: a guest that makes up stations must not fill the log.
            let others = others.into_iter().min().into_iter();
            contact
                .strangers
                .extend(others.map(|mac| (nic.address, bridge(), mac)));
            // What its user does with a further NIC, such as a bond, need not answer for the NIC's address.
            if own.is_empty() && network.is_main() {
                contact.silent.push((nic.address, bridge()));
            }
        }
    }
    let mut knocks = JoinSet::new();
    for node in nodes {
        let is_there = |c: &Contact| c.silent.is_empty() && c.strangers.is_empty();
        if heard.get(&node.name).is_some_and(is_there) {
            let (name, address) = (node.name.clone(), (node.address(), 22).into());
            knocks.spawn(async move { (name, knock(address, ANSWER).await) });
        }
    }
    while let Some(answered) = knocks.join_next().await {
        // Without a socket, nothing is known.
        if let Ok((name, Ok(answer))) = answered
            && let Some(contact) = heard.get_mut(&name)
        {
            contact.knock = Some(answer);
        }
    }
    Ok(heard)
}

/// The faults that a node's contact shows, where its ports and `routes` are as they should be. Pure.
pub(super) fn faults(record: &ClusterRecord, node: &NodeRecord, contact: &Contact) -> Vec<Fault> {
    let named = |mac: MacAddr| {
        let mut others = record.nodes.iter();
        let other = others.find(|n| n.nics.iter().any(|nic| nic.mac == mac));
        other.map(|n| n.name.clone())
    };
    let strangers = contact
        .strangers
        .iter()
        .map(|(address, bridge, mac)| Fault::Stranger {
            address: *address,
            bridge: bridge.clone(),
            mac: mac.to_string(),
            node: named(*mac),
        });
    let silent = contact
        .silent
        .iter()
        .map(|(address, bridge)| Fault::Silent {
            address: *address,
            bridge: bridge.clone(),
        });
    let mut all: Vec<_> = strangers.chain(silent).collect();
    let refused = match contact.knock {
        Some(Knock::Refused) => true,
        Some(Knock::Silent) => false,
        Some(Knock::Open) | None => return all,
    };
    all.push(Fault::Ssh {
        address: node.address(),
        refused,
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::record;

    #[test]
    fn what_is_heard_of_a_node_is_told_by_its_cause() {
        let record = record();
        let node = record.node("master0").unwrap();
        let told = |contact: &Contact| -> Vec<String> {
            let all = faults(&record, node, contact);
            all.iter().map(ToString::to_string).collect()
        };
        let mut contact = Contact {
            knock: Some(Knock::Open),
            ..Contact::default()
        };
        assert_eq!(told(&contact), [""; 0]);
        assert!(contact.is_whole());
        contact.knock = Some(Knock::Refused);
        assert!(!contact.is_whole());
        assert_eq!(
            told(&contact),
            ["nothing accepts connections on port 22 of 192.168.80.2"]
        );
        contact.knock = Some(Knock::Silent);
        assert_eq!(told(&contact).len(), 1);
        let other = record.node("worker0").unwrap().nics[0].mac;
        let (address, bridge) = (node.address(), "k80".to_owned());
        let contact = Contact {
            strangers: vec![
                (address, bridge.clone(), MacAddr([2, 0, 0, 0, 0, 9])),
                (address, bridge.clone(), other),
            ],
            silent: vec![(address, bridge)],
            knock: None,
        };
        let all = told(&contact);
        assert_eq!(
            all[0],
            "another machine (02:00:00:00:00:09) answers for its address 192.168.80.2 on k80"
        );
        assert!(all[1].starts_with("worker0 ("), "{all:?}");
        assert_eq!(all[2], "it does not answer for 192.168.80.2 on k80");
    }
}
