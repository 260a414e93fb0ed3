//! The commands that the host sends, with their arguments and answers.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A command with its arguments.
pub trait Request: Serialize {
    /// The command's name.
    const NAME: &'static str;

    /// Its arguments, an object.
    fn arguments(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Asks whether there is an agent.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Ping {}

impl Request for Ping {
    const NAME: &'static str = "ping";
}

/// Makes a machine a node, or a template that will be frozen.
#[derive(Clone, Default, Serialize)]
#[expect(missing_docs, reason = "messages.json describes the fields")]
pub struct Identity {
    pub hostname: String,
    pub machine_id: String,
    pub host_keys: BTreeMap<String, KeyPair>,
    pub authorized_keys: Vec<String>,
    pub password_hash: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    pub time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    pub disk: u64,
    #[serde(skip_serializing_if = "is_false")]
    pub template: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub woken: bool,
    pub nics: Vec<Nic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Cloud>,
}

impl Request for Identity {
    const NAME: &'static str = "identity";
}

/// Shows none of the secrets.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("hostname", &self.hostname)
            .field("woken", &self.woken)
            .finish_non_exhaustive()
    }
}

/// One of sshd's host keys, with the text of its two files.
#[derive(Clone, Default, Serialize)]
#[expect(missing_docs, reason = "the two files")]
pub struct KeyPair {
    pub private: String,
    pub public: String,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// A NIC of an identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "messages.json describes the fields")]
pub struct Nic {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    pub ipv6: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router: Option<Ipv4Addr>,
}

/// The data that cloud-init applies in a prepared cloud image.
#[derive(Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "messages.json describes the fields")]
pub struct Cloud {
    pub instance: String,
    pub user_data: String,
    pub meta_data: String,
}

/// Shows neither keys nor password.
impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloud")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// The answer to [`Identity`]. A guest wrote it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct IdentityAnswer {
    /// The node is ready already: only its keeper is new.
    pub ready: bool,
    /// The first random bytes that the kernel returned after its reseed, in hex.
    pub random: Option<String>,
    /// The agent's version; one before version 4 does not tell it.
    pub version: Option<u32>,
}

impl IdentityAnswer {
    /// Whether the agent writes an identity once. One before version 4 writes it at each boot.
    #[must_use]
    pub fn is_given_once(&self) -> bool {
        self.version.is_some()
    }
}

/// Brings a machine to rest before it is frozen.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[expect(missing_docs, reason = "messages.json describes the field")]
pub struct Settle {
    pub one_processor: bool,
}

impl Request for Settle {
    const NAME: &'static str = "settle";
}

/// The answer to [`Settle`]. A guest wrote it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SettleAnswer {
    /// Of this boot, which each clone has another than.
    pub boot_id: Option<String>,
}

/// Tells a clone that all nodes are ready.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct AllReady {
    /// Seconds until the programs that the clone holds continue.
    pub rest: f64,
}

impl Request for AllReady {
    const NAME: &'static str = "all-ready";
}

/// Asks for the guest's clock and load.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Info {}

impl Request for Info {
    const NAME: &'static str = "info";
}

/// The answer to [`Info`]. A guest wrote it.
#[derive(Debug, Clone, Deserialize)]
pub struct InfoAnswer {
    /// Seconds after the epoch.
    pub time: f64,
    /// Load averages of 1, 5 and 15 minutes.
    #[serde(default)]
    pub load: Vec<f64>,
    /// Bytes of the root file system.
    #[serde(default)]
    pub disk: Option<u64>,
    /// The release of the newest kernel in /boot that the host does not boot.
    #[serde(default)]
    pub kernel: Option<String>,
    /// Differs once another sshd listens or a host key's file changes; none if nothing listens. Agents before version 5 do
    /// not tell it.
    #[serde(default)]
    pub sshd: Option<String>,
}

/// Moves the guest's clock.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Adjust {
    /// Seconds forward; backward where negative.
    pub seconds: f64,
}

impl Request for Adjust {
    const NAME: &'static str = "adjust";
}

/// Tells a machine that it goes on from a saved state.
#[derive(Clone, Serialize)]
#[expect(missing_docs, reason = "messages.json describes the fields")]
pub struct Restored {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<f64>,
}

impl Request for Restored {
    const NAME: &'static str = "restored";
}

/// Does not show the seed.
impl fmt::Debug for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restored")
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

/// The answer to [`Restored`]. A guest wrote it.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct RestoredAnswer {
    /// sshd listens, and every NIC has its addresses.
    pub ready: bool,
}

/// Powers the machine off, or reboots it.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(missing_docs, reason = "the type says it")]
pub struct Shutdown {
    pub mode: PowerMode,
}

impl Request for Shutdown {
    const NAME: &'static str = "shutdown";
}

/// How a machine goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum PowerMode {
    Powerdown,
    Reboot,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde asks for"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Table;

    /// Checks that the request has every field of the table, and no others.
    fn whole<R: Request>(request: &R) {
        let table = Table::built_in();
        let arguments = request.arguments();
        table.check_command(R::NAME, &arguments).unwrap();
        let sent: Vec<_> = arguments.as_object().unwrap().keys().collect();
        let listed: Vec<_> = table.commands[R::NAME].fields().keys().collect();
        assert_eq!(sent, listed, "{}", R::NAME);
    }

    fn identity() -> Identity {
        let text = || "x".to_owned();
        Identity {
            host_keys: BTreeMap::from([("rsa".to_owned(), KeyPair::default())]),
            authorized_keys: vec![text()],
            dns: vec![text()],
            search: Some(text()),
            seed: Some(text()),
            mac: Some(text()),
            boot_id: Some(text()),
            uuid: Some(text()),
            template: true,
            woken: true,
            journal: Some(8.0),
            cloud: Some(Cloud::default()),
            nics: vec![Nic {
                mac: Some(text()),
                ipv6: true,
                address: Some(Ipv4Addr::LOCALHOST),
                prefix: Some(8),
                mtu: Some(1500),
                router: Some(Ipv4Addr::LOCALHOST),
            }],
            ..Identity::default()
        }
    }

    #[test]
    fn every_request_has_the_tables_arguments() {
        whole(&Ping {});
        whole(&identity());
        whole(&Settle::default());
        whole(&AllReady::default());
        whole(&Info {});
        whole(&Adjust::default());
        whole(&Restored {
            seed: Some("c2VlZA==".to_owned()),
            time: Some(8.0),
        });
        for mode in [PowerMode::Powerdown, PowerMode::Reboot] {
            whole(&Shutdown { mode });
        }
        let names = [
            Adjust::NAME,
            AllReady::NAME,
            Identity::NAME,
            Info::NAME,
            Ping::NAME,
            Restored::NAME,
            Settle::NAME,
            Shutdown::NAME,
        ];
        let listed: Vec<_> = Table::built_in().commands.into_keys().collect();
        assert_eq!(listed, names);
    }

    #[test]
    fn every_object_has_the_tables_fields() {
        let arguments = identity().arguments();
        let table = Table::built_in();
        for (object, value) in [
            ("nic", &arguments["nics"][0]),
            ("key_pair", &arguments["host_keys"]["rsa"]),
            ("cloud", &arguments["cloud"]),
        ] {
            let sent: Vec<_> = value.as_object().unwrap().keys().collect();
            let listed: Vec<_> = table.objects[object].keys().collect();
            assert_eq!(sent, listed, "{object}");
        }
    }

    /// An older agent ignores unknown arguments, so the request leaves optional ones out.
    #[test]
    fn an_identity_without_choices_has_no_empty_ones() {
        let arguments = Identity::default().arguments();
        for absent in ["woken", "template", "cloud", "seed", "boot_id"] {
            assert_eq!(arguments.get(absent), None, "{absent}");
        }
        Table::built_in()
            .check_command(Identity::NAME, &arguments)
            .unwrap();
    }

    #[test]
    fn secrets_are_not_shown() {
        let identity = Identity {
            password_hash: "$6$secret".to_owned(),
            ..identity()
        };
        assert!(!format!("{identity:?}").contains("secret"));
    }
}
