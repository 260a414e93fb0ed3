//! Goes through a Vagrantfile's blocks.

use std::collections::BTreeMap;

use anyhow::Result;

use super::expression::{Names, Value, evaluate, turns};
use super::lines::{Item, Line};
use super::machine::Vm;
use super::provider;
use super::settings::Statement;
use super::words::{Arguments, bare, split};
use crate::convert::draft::{Carried, Draft, ForwardDraft};
use crate::convert::roles::Machine;
use crate::spec::Kind;

/// Statements that are read at most, with those of each turn of a loop.
const MOST: usize = 50_000;
/// More machines than a bridge has ports.
const MOST_MACHINES: usize = 1000;

/// What a name between bars stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    /// All machines.
    All,
    One(usize),
    Provider(Box<Self>, String),
}

pub(super) struct Reader {
    draft: Draft,
    names: Names,
    scopes: BTreeMap<String, Scope>,
    all: Vm,
    machines: Vec<Vm>,
    read: usize,
}

impl Reader {
    pub(super) fn new(from: &str) -> Self {
        Self {
            draft: Draft::new(from),
            names: Names::new(),
            scopes: BTreeMap::new(),
            all: Vm::default(),
            machines: Vec::new(),
            read: 0,
        }
    }

    pub(super) fn read(&mut self, items: &[Item]) {
        for item in items {
            self.read += 1;
            if self.read > MOST {
                return;
            }
            match item {
                Item::Statement(line) => self.statement(line),
                Item::Block { head, names, body } => self.block(head, names, body),
            }
        }
    }

    fn block(&mut self, head: &Line, names: &[String], body: &[Item]) {
        let name = names.first().cloned().unwrap_or_default();
        if head.text.starts_with("Vagrant.configure") {
            self.scoped(&name, Scope::All, body);
            return;
        }
        if let Some(turns) = turns(&head.text, &self.names) {
            let before = self.names.clone();
            for turn in turns {
                let values = names.iter().cloned().zip(turn);
                self.names.extend(values);
                self.read(body);
            }
            self.names = before;
            return;
        }
        if let Some((scope, rest)) = self.receiver(&head.text) {
            if let Some(arguments) = rest.strip_prefix("vm.define") {
                if let Some(machine) = self.define(head, arguments) {
                    self.scoped(&name, Scope::One(machine), body);
                }
                return;
            }
            if let Some(arguments) = rest.strip_prefix("vm.provider") {
                let provider = Arguments::read(arguments).plain.first().copied();
                let provider = provider.and_then(|p| evaluate(p, &self.names));
                let provider = provider.map_or_else(String::new, |p| p.to_string());
                self.scoped(&name, Scope::Provider(Box::new(scope), provider), body);
                return;
            }
            if let Some(arguments) = rest.strip_prefix("vm.provision") {
                let statement = Statement {
                    line: head,
                    names: &self.names,
                    is_of_one: scope != Scope::All,
                };
                statement.provision(&mut self.draft, &Arguments::read(arguments));
                return;
            }
        }
        let first = head.text.split([' ', '(']).next().unwrap_or_default();
        let why = match first {
            "if" | "unless" | "case" => {
                "kvmc evaluates no conditions, so what is inside is left out"
            }
            _ => {
                "this block is not understood, so what is inside is left out; a Vagrantfile is only read, never run"
            }
        };
        self.draft.note(head.number, &head.text, why, "");
    }

    /// Reads a block in which a name stands for something.
    fn scoped(&mut self, name: &str, scope: Scope, body: &[Item]) {
        let before = self.scopes.insert(name.to_owned(), scope);
        self.read(body);
        match before {
            Some(before) => self.scopes.insert(name.to_owned(), before),
            None => self.scopes.remove(name),
        };
    }

    /// What a statement is about, and what stands behind its first dot.
    fn receiver<'t>(&self, text: &'t str) -> Option<(Scope, &'t str)> {
        let (name, rest) = text.split_once('.')?;
        Some((self.scopes.get(name)?.clone(), rest))
    }

    fn statement(&mut self, line: &Line) {
        let text = line.text.as_str();
        if text.starts_with("require") || text.starts_with("Vagrant.require_version") {
            return;
        }
        if let Some((scope, rest)) = self.receiver(text) {
            self.about(scope, line, rest);
            return;
        }
        // A modifier makes even an assignment a condition.
        let is_condition = [" if ", " unless "]
            .iter()
            .any(|w| split(text, '"').first().is_some_and(|t| t.contains(w)));
        if let Some((name, value)) = provider::assigned(text).filter(|_| !is_condition) {
            if name.starts_with("ENV[") {
                self.draft.note(
                    line.number,
                    text,
                    "kvmc does not change Vagrant's environment",
                    "",
                );
                return;
            }
            if value.contains("ENV") {
                let why = "the environment of Vagrant is not read, so its default counts";
                self.draft.note(line.number, text, why, "");
            }
            match evaluate(value, &self.names) {
                Some(value) => {
                    self.names.insert(name.to_owned(), value);
                }
                None => {
                    self.names.remove(name);
                    if !value.starts_with("<<") {
                        let why =
                            "its value is not plain, so lines that use it are not carried over";
                        self.draft.note(line.number, text, why, "");
                    }
                }
            }
            return;
        }
        let statement = Statement {
            line,
            names: &self.names,
            is_of_one: false,
        };
        statement.not_understood(&mut self.draft);
    }

    fn about(&mut self, scope: Scope, line: &Line, rest: &str) {
        match scope {
            Scope::Provider(target, provider) => {
                let into = match *target {
                    Scope::One(machine) => match self.machines.get_mut(machine) {
                        Some(vm) => vm.provider(&provider),
                        None => return,
                    },
                    _ => self.all.provider(&provider),
                };
                provider::read(&mut self.draft, line, rest, &self.names, into);
            }
            Scope::All | Scope::One(_) => {
                if let Some(arguments) = rest.strip_prefix("vm.define") {
                    let _machine = self.define(line, arguments);
                    return;
                }
                let is_of_one = scope != Scope::All;
                let statement = Statement {
                    line,
                    names: &self.names,
                    is_of_one,
                };
                let vm = match scope {
                    Scope::One(machine) => match self.machines.get_mut(machine) {
                        Some(vm) => vm,
                        None => return,
                    },
                    _ => &mut self.all,
                };
                match rest.strip_prefix("vm.") {
                    Some(rest) => statement.read(&mut self.draft, rest, vm),
                    None => other(&mut self.draft, line, rest),
                }
            }
        }
    }

    /// The index of a machine with the name that stands behind `define`.
    fn define(&mut self, line: &Line, arguments: &str) -> Option<usize> {
        let arguments = Arguments::read(bare(arguments));
        let name = arguments
            .plain
            .first()
            .and_then(|n| evaluate(n, &self.names));
        let Some(name @ (Value::Text(_) | Value::Number(_))) = name else {
            let why = "the machine's name is not plain, so what is inside is left out";
            self.draft
                .note(line.number, &line.text, why, "[roles.NAME] adds nodes");
            return None;
        };
        let name = name.to_string();
        if let Some(at) = self.machines.iter().position(|m| m.name == name) {
            return Some(at);
        }
        if self.machines.len() >= MOST_MACHINES {
            self.draft
                .note(line.number, &line.text, "these are too many machines", "");
            return None;
        }
        if arguments.get("autostart") == Some("false") {
            self.draft
                .note(line.number, &line.text, "kvmc starts all nodes", "");
        }
        self.machines.push(Vm {
            name,
            line: line.number,
            ..Vm::default()
        });
        Some(self.machines.len() - 1)
    }

    /// The cluster file.
    ///
    /// # Errors
    /// Fails if the settings do not fit together.
    pub(super) fn finish(mut self) -> Result<Carried> {
        if self.read > MOST {
            self.draft.note(
                1,
                "the whole file",
                "it has too many statements, so the rest is left out",
                "",
            );
        }
        if self.machines.is_empty() {
            // Vagrant's name for the only machine.
            self.machines.push(Vm {
                name: "default".to_owned(),
                line: 1,
                ..Vm::default()
            });
        }
        let vms = std::mem::take(&mut self.machines);
        let all: Vec<_> = vms.iter().map(|vm| self.machine(vm)).collect();
        let differ = all
            .iter()
            .any(|m| m.hardware.networks != all.first().and_then(|f| f.hardware.networks.clone()));
        for mut machine in all {
            if !differ {
                machine.hardware.networks = None;
            }
            self.draft.machines.push(machine);
        }
        let ports: Vec<_> = vms
            .iter()
            .flat_map(|vm| {
                vm.ports
                    .iter()
                    .chain(&self.all.ports)
                    .map(|p| (vm.name.clone(), p.clone()))
            })
            .collect();
        for (machine, port) in ports {
            self.draft.forwards.push(ForwardDraft {
                line: port.line,
                host: port.host,
                machine,
                node: port.guest,
            });
        }
        self.draft.finish()
    }

    /// A machine with its address in the main network, and the further networks that it is in.
    fn machine(&mut self, vm: &Vm) -> Machine {
        let draft = &mut self.draft;
        let (mut address, mut networks) = (None, Vec::new());
        for place in &vm.places {
            if let Err(why) = Kind::Subnet.parse(&place.subnet.to_string()) {
                let instead = "the node gets the next free address";
                draft.note(place.line, &place.what, why, instead);
                continue;
            }
            if draft.subnet().is_none() {
                draft.set_subnet(place.line, &place.what, place.subnet);
            }
            if draft.subnet() == Some(place.subnet) {
                if draft.fits(place.line, &place.what, place.address) {
                    address = Some(place.address);
                }
                continue;
            }
            let known = draft.networks.iter().find(|(_, s)| *s == place.subnet);
            let name = match known {
                Some((name, _)) => name.clone(),
                None => {
                    let name = format!("net{}", draft.networks.len() + 1);
                    draft.networks.push((name.clone(), place.subnet));
                    name
                }
            };
            let why = format!(
                "kvmc chooses the addresses in further networks; this one is called {name}"
            );
            draft.note(place.line, &place.what, why, "");
            networks.push(name);
        }
        let mut hardware = vm.hardware(&self.all);
        hardware.networks = Some(networks);
        Machine {
            name: vm.name.clone(),
            line: vm.line,
            address,
            hardware,
        }
    }
}

/// Notes settings outside of `config.vm`.
fn other(draft: &mut Draft, line: &Line, rest: &str) {
    let (why, instead) = match rest.split(['.', ' ']).next().unwrap_or_default() {
        "ssh" | "winrm" => (
            "kvmc makes a key and the user admin for each cluster",
            "ssh -F ssh_config NODE opens a shell",
        ),
        "hostmanager" | "hostsupdater" | "dns" => (
            "plugins of Vagrant do not run in kvmc",
            "kvmc's name server knows all nodes by their names",
        ),
        "trigger" => ("kvmc has no triggers", ""),
        _ => ("plugins of Vagrant do not run in kvmc", ""),
    };
    draft.note(line.number, &line.text, why, instead);
}
