//! What the inventory of a cluster says.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::common::ALIVE;
use super::super::{proxy, quote};
use crate::node::Secrets;
use crate::node::identity::ADMIN;
use crate::state::{ClusterRecord, NodeRecord};

/// Seconds that Ansible waits for an emulated node's key exchange. Ansible's own ten are too few for many nodes on few
/// cores.
const EMULATED_TIMEOUT: u8 = 60;

/// Variables in the order in which files have them.
pub(super) type Vars = Vec<(String, Value)>;

/// The inventory of a cluster. All forms say the same.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Inventory {
    pub(super) cluster: String,
    /// The names of groups and their hosts, also of groups without a host, because playbooks name them.
    pub(super) groups: Vec<(String, Vec<String>)>,
    pub(super) hosts: Vec<(String, Vars)>,
    /// The variables of all hosts.
    pub(super) vars: Vars,
    /// Why the password is left out: the version of an ansible-core that would refuse to run with it.
    pub(super) without_sshpass: Option<String>,
    pub(super) password: String,
}

impl Inventory {
    /// The inventory with the roles' groups and variables in the order of the roles.
    ///
    /// Paths are absolute, so it works from any folder. They are quoted for all programs that read them.
    /// `without_sshpass` is the version of an ansible-core on this host that refuses to run with a password.
    pub(in super::super) fn new(
        record: &ClusterRecord,
        secrets: &Secrets,
        folder: &Path,
        without_sshpass: Option<&str>,
    ) -> Self {
        let hosts = record.nodes.iter();
        Self {
            cluster: record.spec.name.clone(),
            groups: groups(record),
            hosts: hosts.map(|n| (n.name.clone(), host(record, n))).collect(),
            vars: vars(record, secrets, folder, without_sshpass),
            without_sshpass: without_sshpass
                .filter(|_| record.spec.files.password)
                .map(str::to_owned),
            password: secrets.password.clone(),
        }
    }
}

/// The groups of all roles with their hosts.
fn groups(record: &ClusterRecord) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for group in record.spec.roles.iter().flat_map(|r| &r.groups) {
        if groups.iter().any(|(name, _)| name == group) {
            continue;
        }
        let is_in = |node: &&NodeRecord| {
            let role = record.spec.role(&node.role);
            role.is_some_and(|r| r.groups.contains(group))
        };
        let hosts = record.nodes.iter().filter(is_in);
        groups.push((group.clone(), hosts.map(|n| n.name.clone()).collect()));
    }
    groups
}

/// A node's variables, with its role's.
fn host(record: &ClusterRecord, node: &NodeRecord) -> Vars {
    let mut vars = Vars::new();
    let mut set = |name: &str, value: Value| vars.push((name.to_owned(), value));
    set("ansible_host", json!(node.address()));
    set("cluster_hostname", json!(node.name));
    let addresses: Map<_, _> = record
        .nics(node)
        .map(|(network, nic)| (network.name.clone(), json!(nic.address)))
        .collect();
    set("kvmc_addresses", Value::Object(addresses));
    let addresses6: Map<_, _> = record
        .nics(node)
        .filter_map(|(network, nic)| {
            let address = network.address6(nic.mac)?;
            Some((network.name.clone(), json!(address)))
        })
        .collect();
    if !addresses6.is_empty() {
        set("kvmc_addresses6", Value::Object(addresses6));
    }
    let role = record.spec.role(&node.role);
    for (name, value) in role.iter().flat_map(|r| &r.vars) {
        set(name, value.clone());
    }
    vars
}

/// The variables of all hosts.
fn vars(
    record: &ClusterRecord,
    secrets: &Secrets,
    folder: &Path,
    without_sshpass: Option<&str>,
) -> Vars {
    let known = quote::ssh(&folder.join("known_hosts"));
    let arguments = format!(
        "-o {} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -o ServerAliveInterval={} -o ServerAliveCountMax={}",
        quote::word(&format!("UserKnownHostsFile={known}")),
        ALIVE.0,
        ALIVE.1
    );
    let arguments = match proxy::command(record) {
        Some(command) => format!(
            "{arguments} -o {}",
            quote::word(&format!("ProxyCommand={command}"))
        ),
        None => arguments,
    };
    let key = quote::ssh_inner(&folder.join("id_rsa"));
    let mut vars = Vars::new();
    let mut set = |name: &str, value: Value| vars.push((name.to_owned(), value));
    set("ansible_user", json!(ADMIN));
    if record.spec.files.password && without_sshpass.is_none() {
        set("ansible_password", json!(secrets.password));
    }
    set("ansible_ssh_private_key_file", json!(quote::template(&key)));
    set("ansible_python_interpreter", json!("/usr/bin/python3"));
    set(
        "ansible_ssh_common_args",
        json!(quote::template(&arguments)),
    );
    if !record.accelerator.is_kvm() {
        set("ansible_ssh_timeout", json!(EMULATED_TIMEOUT));
    }
    vars
}
