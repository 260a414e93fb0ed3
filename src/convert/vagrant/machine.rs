//! A machine of a Vagrantfile, and what all machines have alike.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::convert::roles::Hardware;

/// A provider's name in front of the others: kvmc's machines are like libvirt's.
const FIRST: &str = "libvirt";

/// A `private_network` with an address.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) what: String,
    pub(super) address: Ipv4Addr,
    pub(super) subnet: Ipv4Network,
}

/// A forwarded port.
#[derive(Debug, Clone)]
pub(super) struct Port {
    pub(super) line: usize,
    /// `8080`, or with an address before it.
    pub(super) host: String,
    /// `80`, or with `/udp` behind it.
    pub(super) guest: String,
}

/// The settings of one machine, or those of all.
#[derive(Debug, Clone, Default)]
pub(super) struct Vm {
    pub(super) name: String,
    pub(super) line: usize,
    /// What stands outside of the providers.
    pub(super) own: Hardware,
    pub(super) providers: Vec<(String, Hardware)>,
    pub(super) places: Vec<Place>,
    pub(super) ports: Vec<Port>,
}

impl Vm {
    pub(super) fn provider(&mut self, name: &str) -> &mut Hardware {
        let at = self.providers.iter().position(|(n, _)| n == name);
        let at = at.unwrap_or_else(|| {
            self.providers.push((name.to_owned(), Hardware::default()));
            self.providers.len() - 1
        });
        match self.providers.get_mut(at) {
            Some((_, hardware)) => hardware,
            None => &mut self.own,
        }
    }

    /// The machine's hardware; what it does not say itself is as for all machines.
    pub(super) fn hardware(&self, all: &Self) -> Hardware {
        let of = |vm: &Self| {
            let mut providers: Vec<_> = vm.providers.iter().collect();
            providers.sort_by_key(|(name, _)| name != FIRST);
            let providers = providers.into_iter().map(|(_, h)| h.clone());
            std::iter::once(vm.own.clone())
                .chain(providers)
                .collect::<Vec<_>>()
        };
        of(self)
            .into_iter()
            .chain(of(all))
            .fold(Hardware::default(), over)
    }
}

/// `upper`, with what it lacks from `lower`.
fn over(upper: Hardware, lower: Hardware) -> Hardware {
    Hardware {
        vcpus: upper.vcpus.or(lower.vcpus),
        ram: upper.ram.or(lower.ram),
        disk: upper.disk.or(lower.disk),
        disks: match upper.disks.is_empty() {
            true => lower.disks,
            false => upper.disks,
        },
        cpu: upper.cpu.or(lower.cpu),
        nested: upper.nested.or(lower.nested),
        image: upper.image.or(lower.image),
        networks: upper.networks.or(lower.networks),
    }
}
