//! What `doctor` finds of the host's network: forwarding, firewalls, ports, ranges and VPNs.

use std::collections::BTreeMap;

use anyhow::Result;
use kvmc_images::Guest;
use kvmc_netns::firewall::has_bridge_family;
use kvmc_netns::{Links, dhcp, dns};

use super::super::Local;
use super::super::design::{Blueprint, design};
use crate::hint::hints;
use crate::host::is_vpn;
use crate::image::Pick;
use crate::model::{Accelerator, Finding, Verdict};
use crate::network::forwarding::{Family, is_on};
use crate::network::{self, SubnetChoice};
use crate::spec::ClusterSpec;
use crate::state::{ClusterRecord, Found, NetworkRecord, Phase};

impl Local {
    /// Checks the host's network for the cluster, whether it exists or not. What cannot be read is a finding too.
    pub(crate) async fn doctor_of_network(&self, spec: ClusterSpec) -> Vec<Finding> {
        let mut findings = vec![forwarding(), spoofing()];
        let looked = self.look_at_network(spec, &mut findings).await;
        if let Err(error) = looked {
            findings.push(warning("network", &error));
        }
        findings
    }

    async fn look_at_network(&self, spec: ClusterSpec, findings: &mut Vec<Finding>) -> Result<()> {
        let links = Links::open()?;
        findings.push(vpn(&links).await?);
        let dir = self.dir();
        let existing = Found::look(&dir).record();
        let is_up = existing.as_ref().is_some_and(|r| r.phase != Phase::Stopped);
        let record = match existing {
            Some(record) => record,
            None => self.would_be(spec, &links).await?,
        };
        if !is_up {
            let choice = SubnetChoice {
                is_new: true,
                is_explicit: false,
            };
            for network in record.networks() {
                let range = network::check_range(network, &dir, choice, &links).await;
                findings.push(match range {
                    Ok(_) => {
                        Finding::of("range", Verdict::Ok, format!("{} is free", network.subnet))
                    }
                    Err(error) => warning("range", &error),
                });
                findings.push(ports(network));
            }
        }
        findings.extend(firewalls(&record, &links).await);
        Ok(())
    }

    /// The record of the cluster that `up` would make. Its images do not matter here.
    async fn would_be(&self, spec: ClusterSpec, links: &Links) -> Result<ClusterRecord> {
        let pick = Pick {
            id: String::new(),
            guest: Guest::Agent,
            virtual_size: 0,
        };
        let roles = spec.roles.iter();
        let picks: BTreeMap<_, _> = roles.map(|r| (r.name.clone(), pick.clone())).collect();
        design(Blueprint {
            spec,
            picks: &picks,
            accelerator: Accelerator::Kvm,
            project: self.state.root().to_owned(),
            dir: &self.dir(),
            existing: None,
            links,
        })
        .await
    }
}

/// Whether nodes can be kept to their own addresses here.
fn spoofing() -> Finding {
    let check = "spoofing";
    match has_bridge_family() {
        Ok(true) => {
            let what = "nftables keeps nodes to their own addresses".to_owned();
            Finding::of(check, Verdict::Ok, what)
        }
        Ok(false) => Finding {
            cure: Some(
                "load its module: modprobe nf_tables_bridge, or use a kernel with NF_TABLES_BRIDGE"
                    .to_owned(),
            ),
            ..Finding::of(
                check,
                Verdict::Warning,
                "nodes may send from any address: the kernel has no nftables for bridges"
                    .to_owned(),
            )
        },
        Err(error) => warning(check, &error.into()),
    }
}

fn warning(check: &str, error: &anyhow::Error) -> Finding {
    let cure = hints(error).join("; ");
    Finding {
        cure: (!cure.is_empty()).then_some(cure),
        ..Finding::of(check, Verdict::Warning, format!("{error:#}"))
    }
}

fn forwarding() -> Finding {
    let state = |family| match is_on(family) {
        Ok(true) => "on",
        Ok(false) => "off",
        Err(_) => "unknown",
    };
    let what = format!(
        "IPv4 {}, IPv6 {}; a cluster that needs it switches it on, and the last one off again",
        state(Family::V4),
        state(Family::V6)
    );
    Finding::of("forwarding", Verdict::Ok, what)
}

/// Whether the way out leads through a VPN.
async fn vpn(links: &Links) -> Result<Finding> {
    let uplink = links.uplink().await?.map(|link| link.name);
    let all = links.list().await?;
    let vpns = all.iter().filter(|l| l.up && l.master.is_none());
    let vpns = vpns.filter(|l| l.kind.as_deref().is_some_and(is_vpn));
    let vpns: Vec<_> = vpns
        .map(|l| match uplink.as_ref() == Some(&l.name) {
            true => format!("{} (MTU {}), which nodes use to go out", l.name, l.mtu),
            false => format!("{} (MTU {})", l.name, l.mtu),
        })
        .collect();
    let what = match (vpns.is_empty(), uplink) {
        (true, Some(uplink)) => format!("none; nodes go out by {uplink}"),
        (true, None) => "none, and no way out of this host".to_owned(),
        (false, _) => vpns.join(", "),
    };
    Ok(Finding::of("VPN", Verdict::Ok, what))
}

/// Whether a network could serve DHCP and DNS.
fn ports(network: &NetworkRecord) -> Finding {
    match free(network) {
        Ok(()) => Finding::of(
            "ports",
            Verdict::Ok,
            "67 and 53 are free for kvmc".to_owned(),
        ),
        Err(error) => warning("ports", &error),
    }
}

fn free(network: &NetworkRecord) -> Result<()> {
    dhcp::Server::check_free(&network.bridge)?;
    Ok(dns::Server::check_free(network.gateway.into())?)
}

/// What the rules of other programs do to the cluster's packets.
async fn firewalls(record: &ClusterRecord, links: &Links) -> Vec<Finding> {
    let state = match network::look(record, links).await {
        Ok(state) => state,
        Err(error) => return vec![warning("firewall", &error)],
    };
    let mut findings: Vec<_> = state
        .obstacles
        .iter()
        .map(|o| Finding::of("firewall", Verdict::Warning, o.to_string()))
        .collect();
    let added: Vec<_> = state.accepts.iter().map(ToString::to_string).collect();
    if !added.is_empty() {
        let what = format!(
            "lets nodes through once kvmc adds rules to {}",
            added.join(", ")
        );
        findings.push(Finding::of("firewall", Verdict::Ok, what));
    }
    if findings.is_empty() {
        let what = "no rule of another program is in the way";
        findings.push(Finding::of("firewall", Verdict::Ok, what.to_owned()));
    }
    findings
}
