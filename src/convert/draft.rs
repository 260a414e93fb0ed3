//! A cluster file that is being made from a foreign file.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Result, anyhow};
use ipnetwork::Ipv4Network;

use super::roles::{Machine, Roles};
use crate::model::Note;
use crate::spec::{
    Key, LiveFile, Settings, check, commented, parse_file, toml_list, toml_quoted,
    validate_cluster_name,
};

/// Longest part of a foreign line that a note shows, in characters.
const LONGEST: usize = 70;

/// A cluster file made from a foreign file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) live: LiveFile,
    pub(crate) cluster: String,
    /// The name of the foreign file; empty if there was none.
    pub(crate) from: String,
    pub(crate) notes: Vec<Note>,
}

impl Carried {
    /// The default cluster, by its roles.
    pub(crate) fn default_cluster(name: Option<&str>) -> Self {
        let cluster = name.unwrap_or("k80").to_owned();
        let role = |name: &str, table: Vec<(&'static str, String)>| (name.to_owned(), table);
        Self {
            live: LiveFile {
                settings: vec![("cluster".to_owned(), toml_quoted(&cluster))],
                roles: vec![
                    role("masters", vec![("count", "3".to_owned())]),
                    role(
                        "workers",
                        vec![("count", "3".to_owned()), ("ram", toml_quoted("4G"))],
                    ),
                    role("load_balancers", vec![("count", "1".to_owned())]),
                ],
                ..LiveFile::default()
            },
            cluster,
            from: String::new(),
            notes: Vec::new(),
        }
    }
}

/// A forward to a machine by its name in the foreign file.
#[derive(Debug, Clone)]
pub(super) struct ForwardDraft {
    pub(super) line: usize,
    /// What stands in front of the node's name: `8080` or `127.0.0.1:8080`.
    pub(super) host: String,
    pub(super) machine: String,
    /// The node's port, and `/udp` where it is that.
    pub(super) node: String,
}

/// A setting, with the place that it came from.
#[derive(Debug, Clone)]
struct Set {
    key: &'static str,
    toml: String,
    line: usize,
    what: String,
}

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    from: String,
    cluster: Option<String>,
    settings: Vec<Set>,
    subnet: Option<Ipv4Network>,
    pub(super) networks: Vec<(String, Ipv4Network)>,
    pub(super) forwards: Vec<ForwardDraft>,
    pub(super) machines: Vec<Machine>,
    pub(super) notes: Vec<Note>,
}

impl Draft {
    pub(super) fn new(from: &str) -> Self {
        Self {
            from: from.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn note(
        &mut self,
        line: usize,
        what: &str,
        why: impl Into<String>,
        instead: impl Into<String>,
    ) {
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut shown: String = what.chars().take(LONGEST).collect();
        if shown.len() < what.len() {
            shown.push('…');
        }
        // They quote a file of others.
        let plain = |text: String| -> String { text.chars().filter(|c| !c.is_control()).collect() };
        let (why, instead) = (plain(why.into()), plain(instead.into()));
        let note = Note {
            line,
            what: shown
                .escape_debug()
                .to_string()
                .replace("\\\"", "\"")
                .replace("\\'", "'"),
            why,
            instead,
        };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Sets a setting from text, if it is a value of this setting.
    pub(super) fn set(&mut self, line: usize, what: &str, key: &'static str, text: &str) {
        let toml = match text {
            "true" | "false" => text.to_owned(),
            number if key == "network.mtu" && number.parse::<u32>().is_ok() => number.to_owned(),
            _ => toml_quoted(text),
        };
        self.set_toml(line, what, key, text, toml);
    }

    pub(super) fn set_list(
        &mut self,
        line: usize,
        what: &str,
        key: &'static str,
        items: &[String],
    ) {
        if !items.is_empty() {
            self.set_toml(line, what, key, &items.join("\n"), toml_list(items));
        }
    }

    fn set_toml(&mut self, line: usize, what: &str, key: &'static str, text: &str, toml: String) {
        let row = Key::cluster(key).row();
        match row.map(|row| row.kind.parse(text)) {
            Some(Err(why)) => self.note(line, what, why, ""),
            _ => {
                self.settings.retain(|s| s.key != key);
                let what = what.to_owned();
                self.settings.push(Set {
                    key,
                    toml,
                    line,
                    what,
                });
            }
        }
    }

    /// Names the cluster as the foreign file names its own, with what a cluster's name cannot have replaced.
    pub(super) fn name(&mut self, line: usize, what: &str, name: &str) {
        let fine: String = name
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(32)
            .collect();
        let fine = fine.trim_matches('-').to_owned();
        match validate_cluster_name(&fine) {
            Ok(()) => self.cluster = Some(fine),
            Err(why) => self.note(line, what, why, "the cluster is called k80"),
        }
    }

    pub(super) fn set_subnet(&mut self, line: usize, what: &str, subnet: Ipv4Network) {
        self.set(line, what, "network.subnet", &subnet.to_string());
        let is_set = self.settings.iter().any(|s| s.key == "network.subnet");
        self.subnet = is_set.then_some(subnet);
    }

    pub(super) fn subnet(&self) -> Option<Ipv4Network> {
        self.subnet
    }

    /// Whether a node can have an address in the main network; a note says why not.
    pub(super) fn fits(&mut self, line: usize, what: &str, address: Ipv4Addr) -> bool {
        let Some(subnet) = self.subnet else {
            return false;
        };
        let why = if !subnet.contains(address) {
            format!("{address} is not in {subnet}")
        } else if subnet.nth(1) == Some(address) {
            format!("{address} is the host's own address in kvmc")
        } else if address == subnet.network() || address == subnet.broadcast() {
            format!("{address} is the first or last address of {subnet}")
        } else {
            return true;
        };
        self.note(line, what, why, "the node gets the next free address");
        false
    }

    /// The cluster file.
    ///
    /// # Errors
    /// Fails if the settings do not fit together.
    pub(super) fn finish(mut self) -> Result<Carried> {
        let machines = std::mem::take(&mut self.machines);
        let roles = Roles::of(machines);
        let mut forwards = Vec::new();
        for ForwardDraft {
            line,
            host,
            machine,
            node,
        } in std::mem::take(&mut self.forwards)
        {
            let name = roles.name_of(&machine);
            let text = format!("{host}:{name}:{node}");
            match text.parse::<crate::spec::Forward>() {
                Ok(_) => forwards.push(text),
                Err(why) => self.note(line, &text, why, ""),
            }
        }
        if !forwards.is_empty() {
            self.settings.push(Set {
                key: "forward",
                toml: toml_list(&forwards),
                line: 0,
                what: forwards.join(", "),
            });
        }
        for (line, what, why, instead) in roles.notes() {
            self.note(line, &what, why, instead);
        }
        loop {
            let live = self.live(&roles);
            let layer = parse_file(Path::new("kvmc.toml"), &commented(&live))?;
            let Err(error) = check(&Settings::resolve([layer])) else {
                break;
            };
            // A setting that does not fit the others is left out.
            let Some(at) = self.settings.iter().position(|s| s.key == error.key) else {
                return Err(anyhow!(
                    "{}: its settings make no cluster of kvmc: {}: {}",
                    self.from,
                    error.key,
                    error.why
                ));
            };
            let Set { line, what, .. } = self.settings.remove(at);
            self.note(line, &what, error.why, "");
        }
        self.notes.sort_by_key(|n| n.line);
        let mut live = self.live(&roles);
        live.head = head(&self.from, &self.notes);
        Ok(Carried {
            live,
            cluster: self.cluster_name(),
            from: self.from,
            notes: self.notes,
        })
    }

    fn cluster_name(&self) -> String {
        self.cluster.clone().unwrap_or_else(|| "k80".to_owned())
    }

    fn live(&self, roles: &Roles) -> LiveFile {
        let mut settings = vec![("cluster".to_owned(), toml_quoted(&self.cluster_name()))];
        let own = self.settings.iter();
        settings.extend(own.map(|s| (s.key.to_owned(), s.toml.clone())));
        let network = |(name, subnet): &(String, Ipv4Network)| {
            let subnet = toml_quoted(&subnet.to_string());
            vec![("name", toml_quoted(name)), ("subnet", subnet)]
        };
        LiveFile {
            head: Vec::new(),
            settings,
            networks: self.networks.iter().map(network).collect(),
            roles: roles.tables(),
            nodes: roles.nodes(),
        }
    }
}

fn head(from: &str, notes: &[Note]) -> Vec<String> {
    let mut head = vec![String::new(), format!("Made from {from}.")];
    if !notes.is_empty() {
        head.push("Not carried over, or not as it was:".to_owned());
        head.extend(notes.iter().map(|note| format!("  {note}")));
    }
    let is_printable = |c: char| !c.is_control();
    for line in &mut head {
        line.retain(is_printable);
    }
    head
}
