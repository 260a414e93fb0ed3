//! Settings of `config.vm`, for one machine or for all.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use super::expression::{Names, Value, evaluate};
use super::lines::Line;
use super::machine::{Place, Port, Vm};
use super::provider::{assigned, disk, extra_disk};
use super::words::Arguments;
use crate::convert::boxes::image_of;
use crate::convert::draft::Draft;
use crate::hint::host_command;

/// One statement, with what its expressions can use.
pub(super) struct Statement<'a> {
    pub(super) line: &'a Line,
    pub(super) names: &'a Names,
    /// Whether it is for one machine.
    pub(super) is_of_one: bool,
}

impl Statement<'_> {
    fn note(&self, draft: &mut Draft, why: impl Into<String>, instead: impl Into<String>) {
        draft.note(self.line.number, &self.line.text, why, instead);
    }

    fn evaluate(&self, text: &str) -> Option<Value> {
        evaluate(text, self.names)
    }

    /// Reads what stands behind `config.vm.`. Notes what it does not carry over.
    pub(super) fn read(&self, draft: &mut Draft, rest: &str, vm: &mut Vm) {
        if let Some((name, value)) = assigned(rest) {
            let Some(value) = self.evaluate(value) else {
                self.note(draft, "its value is not plain", "set it by hand");
                return;
            };
            self.assign(draft, name, &value, vm);
            return;
        }
        let end = rest.find([' ', '(']).unwrap_or(rest.len());
        let (word, arguments) = rest.split_at(end);
        let arguments = Arguments::read(arguments);
        match word {
            "network" => self.network(draft, &arguments, vm),
            "disk" => self.disk(draft, &arguments, vm),
            "synced_folder" => {
                if arguments.get("disabled") != Some("true") {
                    self.note(
                        draft,
                        "kvmc shares no folders with nodes",
                        format!(
                            "{} puts one into an image, and scp -F ssh_config copies one to a node",
                            host_command("image build --copy FROM:TO")
                        ),
                    );
                }
            }
            "provision" => self.provision(draft, &arguments),
            "provider" if !rest.contains(['{', '|']) => {}
            _ => self.not_understood(draft),
        }
    }

    pub(super) fn not_understood(&self, draft: &mut Draft) {
        self.note(
            draft,
            "this line is not understood; a Vagrantfile is only read, never run",
            "",
        );
    }

    fn assign(&self, draft: &mut Draft, name: &str, value: &Value, vm: &mut Vm) {
        let text = value.to_string();
        match name {
            "box" => match image_of(&text) {
                Some(image) => vm.own.image = Some(image.to_owned()),
                None => self.note(
                    draft,
                    format!(
                        "kvmc knows no image of the box {text}, so nodes have kvmc's default image"
                    ),
                    format!(
                        "{} shows the images that image = can name, beside files and URLs",
                        host_command("image ls --catalogue")
                    ),
                ),
            },
            "hostname" => self.hostname(draft, &text, vm),
            "box_check_update" => {}
            "box_version" | "box_url" | "box_download_checksum" | "box_architecture" => self.note(
                draft,
                "an image of kvmc is a release, or the file that image = names",
                "",
            ),
            "boot_timeout" | "graceful_halt_timeout" => {
                self.note(
                    draft,
                    "time-outs are flags of kvmc's verbs",
                    "see --timeout",
                );
            }
            _ => self.note(draft, "this setting is not known in kvmc", ""),
        }
    }

    /// A node's hostname is its name. The rest of a longer one is the cluster's domain.
    fn hostname(&self, draft: &mut Draft, text: &str, vm: &Vm) {
        let (first, domain) = text.split_once('.').unwrap_or((text, ""));
        if !domain.is_empty() {
            draft.set(self.line.number, &self.line.text, "dns.domain", domain);
        }
        if first != vm.name {
            self.note(draft, "the hostname of a node is its name", "");
        }
    }

    fn network(&self, draft: &mut Draft, arguments: &Arguments<'_>, vm: &mut Vm) {
        let kind = arguments.plain.first().and_then(|k| self.evaluate(k));
        match kind.map(|k| k.to_string()).as_deref() {
            Some("private_network") => self.private(draft, arguments, vm),
            Some("forwarded_port") => self.forwarded(draft, arguments, vm),
            Some("public_network") => self.note(
                draft,
                "nodes are behind NAT, not in the host's LAN",
                "forward leads from ports of the host to nodes",
            ),
            _ => self.not_understood(draft),
        }
    }

    fn private(&self, draft: &mut Draft, arguments: &Arguments<'_>, vm: &mut Vm) {
        let Some(ip) = arguments.get("ip") else {
            // A node of kvmc has an address by DHCP anyway.
            if arguments.get("type").is_none() {
                self.not_understood(draft);
            }
            return;
        };
        let text = self.evaluate(ip).map(|v| v.to_string());
        let Some(address) = text.and_then(|t| t.parse::<Ipv4Addr>().ok()) else {
            self.note(
                draft,
                "its address is not plain, or not IPv4",
                "[nodes.NAME] with address = gives a node an address",
            );
            return;
        };
        let mask = arguments.get("netmask").and_then(|m| self.evaluate(m));
        let subnet = match mask {
            None => Ipv4Network::new(address, 24).ok(),
            Some(Value::Number(prefix)) => u8::try_from(prefix)
                .ok()
                .and_then(|prefix| Ipv4Network::new(address, prefix).ok()),
            Some(mask) => mask
                .to_string()
                .parse()
                .ok()
                .and_then(|mask| Ipv4Network::with_netmask(address, mask).ok()),
        };
        let subnet = subnet.and_then(|s| Ipv4Network::new(s.network(), s.prefix()).ok());
        let Some(subnet) = subnet else {
            self.note(draft, "its netmask is not plain", "");
            return;
        };
        if !self.is_of_one {
            self.note(draft, "one address cannot be that of all machines", "");
            return;
        }
        vm.places.push(Place {
            line: self.line.number,
            what: self.line.text.clone(),
            address,
            subnet,
        });
        let others = arguments.others(&[
            "ip",
            "netmask",
            "virtualbox__intnet",
            "libvirt__network_name",
            "name",
        ]);
        if !others.is_empty() {
            let why = format!("{} of a network is not carried over", others.join(", "));
            self.note(draft, why, "");
        }
    }

    fn forwarded(&self, draft: &mut Draft, arguments: &Arguments<'_>, vm: &mut Vm) {
        let number = |name: &str| {
            let value = self.evaluate(arguments.get(name)?)?.number()?;
            u16::try_from(value).ok().filter(|n| *n > 0)
        };
        let text = |name: &str| Some(self.evaluate(arguments.get(name)?)?.to_string());
        let (Some(guest), Some(host)) = (number("guest"), number("host")) else {
            self.note(
                draft,
                "its ports are not plain",
                "forward = [\"8080:NODE:80\"] forwards a port",
            );
            return;
        };
        let is_udp = text("protocol").as_deref() == Some("udp");
        vm.ports.push(Port {
            line: self.line.number,
            host: match text("host_ip").filter(|ip| !ip.is_empty()) {
                Some(ip) => format!("{ip}:{host}"),
                None => host.to_string(),
            },
            guest: format!("{guest}{}", if is_udp { "/udp" } else { "" }),
        });
        if arguments.get("auto_correct") == Some("true") {
            self.note(draft, "a forward of kvmc has the port that it names", "");
        }
    }

    fn disk(&self, draft: &mut Draft, arguments: &Arguments<'_>, vm: &mut Vm) {
        let size = arguments.get("size").and_then(|s| self.evaluate(s));
        let Some(size) = size.filter(|_| arguments.plain.first() == Some(&":disk")) else {
            self.note(
                draft,
                "only disks with a plain size are carried over",
                "disks = [\"20G\"] gives nodes a disk",
            );
            return;
        };
        let done = match arguments.get("primary") {
            Some("true") => disk(&size).map(|size| vm.own.disk = Some(size)),
            _ => extra_disk(&size).map(|size| vm.own.disks.push(size)),
        };
        if let Err(why) = done {
            self.note(draft, why, "");
        }
    }

    pub(super) fn provision(&self, draft: &mut Draft, arguments: &Arguments<'_>) {
        let kinds = arguments.plain.iter().filter_map(|k| self.evaluate(k));
        let kinds: Vec<_> = kinds.map(|k| k.to_string()).collect();
        let is = |kind: &str| {
            kinds.iter().any(|k| k.starts_with(kind))
                || arguments.get("type").is_some_and(|t| t.contains(kind))
        };
        let (why, instead) = if is("ansible") {
            (
                "kvmc runs playbooks when it is told to",
                format!(
                    "{} runs one with the roles as groups",
                    host_command("playbook FILE")
                ),
            )
        } else if is("shell") || is("file") {
            (
                "kvmc provisions no node when it creates it",
                format!(
                    "{} makes an image with the script's work, and user_data gives a script to cloud-init",
                    host_command("image build --run FILE")
                ),
            )
        } else {
            ("this provisioner is not known in kvmc", String::new())
        };
        self.note(draft, why, instead);
    }
}
