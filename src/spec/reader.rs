//! Reads typed values from settings.

use std::path::PathBuf;

use ipnetwork::Ipv4Network;
use kvmc_images::Architecture;
use kvmc_netns::range;

use super::choice::AccelChoice;
use super::error::SpecError;
use super::forward::Forward;
use super::key::Key;
use super::lan::LanSpec;
use super::names::validate_name;
use super::restart::Restart;
use super::role::{RoleSpec, default_prefix};
use super::settings::Settings;
use super::size::Bytes;
use super::table::setting;
use super::value::Value;

/// Reads typed values from settings. The type always fits, because the row's kind has made the value.
pub(super) struct Reader<'a>(pub(super) &'a Settings);

impl Reader<'_> {
    pub(super) fn text(&self, field: &'static str) -> Result<String, SpecError> {
        Ok(self.0.cluster(field)?.to_string())
    }

    pub(super) fn list(&self, field: &'static str) -> Result<Vec<String>, SpecError> {
        Ok(list(self.0.cluster(field)?))
    }

    pub(super) fn switch(&self, field: &'static str) -> Result<bool, SpecError> {
        Ok(*self.0.cluster(field)? == Value::Switch(true))
    }

    pub(super) fn architecture(&self) -> Result<Architecture, SpecError> {
        match self.0.cluster("architecture")? {
            Value::Architecture(architecture) => Ok(*architecture),
            _ => Ok(Architecture::Amd64),
        }
    }

    pub(super) fn accel(&self) -> Result<AccelChoice, SpecError> {
        match self.0.cluster("accel")? {
            Value::Accel(choice) => Ok(*choice),
            _ => Ok(AccelChoice::Auto),
        }
    }

    /// The requested subnet. The engine replaces `auto`, because only it sees the host.
    pub(super) fn subnet(&self) -> Result<Ipv4Network, SpecError> {
        let default = setting("network.subnet").map_or("", |row| row.default);
        match self.0.cluster("network.subnet")? {
            Value::Subnet(Some(subnet)) => Ok(*subnet),
            _ => range::validate_subnet(default)
                .map_err(|e| SpecError::of("network.subnet", e.to_string())),
        }
    }

    pub(super) fn lan(&self) -> Result<LanSpec, SpecError> {
        let ranges = |key| {
            Ok(match self.0.cluster(key)? {
                Value::Ranges(ranges) => ranges.clone(),
                _ => Vec::new(),
            })
        };
        Ok(LanSpec {
            reserved: ranges("network.reserved")?,
            mtu: match self.0.cluster("network.mtu")? {
                Value::Mtu(mtu) => *mtu,
                _ => None,
            },
            lldp: self.switch("network.lldp")?,
            reach_from: self.list("network.reach_from")?,
            floating: ranges("network.floating")?,
            spoof: self.switch("network.spoof")?,
        })
    }

    pub(super) fn roles(&self) -> Result<Vec<RoleSpec>, SpecError> {
        self.0.roles().iter().map(|name| self.role(name)).collect()
    }

    /// The forwards. Those that the cluster has already go with their nodes.
    pub(super) fn forwards(&self, roles: &[RoleSpec]) -> Result<Vec<Forward>, SpecError> {
        let Value::Forwards(forwards) = self.0.cluster("forward")? else {
            return Ok(Vec::new());
        };
        let mut forwards = forwards.clone();
        if !self.0.source(&Key::cluster("forward")).is_asked() {
            forwards.retain(|f| roles.iter().any(|r| r.has_node(&f.node)));
        }
        Ok(forwards)
    }

    fn role(&self, name: &str) -> Result<RoleSpec, SpecError> {
        let value = |field| self.0.value(&Key::role(name, field));
        let number = |field| {
            Ok(match value(field)? {
                Value::Number(number) => *number,
                _ => 1,
            })
        };
        let size = |field| {
            Ok(match value(field)? {
                Value::Size(size) => *size,
                _ => Bytes::gib(2),
            })
        };
        validate_name(name).map_err(|why| self.0.error(&Key::role(name, "count"), why))?;
        let prefix = value("prefix")?.to_string();
        let groups = list(value("groups")?);
        Ok(RoleSpec {
            prefix: match prefix.is_empty() {
                true => default_prefix(name),
                false => prefix,
            },
            groups: match groups.is_empty() {
                true => vec![name.to_owned()],
                false => groups,
            },
            count: number("count")?,
            gaps: self.0.gaps(name, number("count")?),
            vcpus: number("vcpus")?,
            ram: size("ram")?,
            disk: size("disk")?,
            disk_may_grow: !self.0.source(&Key::role(name, "disk")).is_asked(),
            disks: match value("disks")? {
                Value::Sizes(sizes) => sizes.clone(),
                _ => Vec::new(),
            },
            cpu: value("cpu")?.to_string(),
            nested: match value("nested")? {
                Value::Switch(on) => Some(*on),
                _ => None,
            },
            image: value("image")?.to_string(),
            restart: match value("restart")? {
                Value::Restart(policy) => *policy,
                _ => Restart::default(),
            },
            networks: match value("networks")? {
                Value::List(names) => Some(names.clone()),
                _ => None,
            },
            user_data: Some(value("user_data")?.to_string())
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            vars: match value("vars")? {
                Value::Variables(variables) => variables.clone(),
                _ => Default::default(),
            },
            name: name.to_owned(),
        })
    }
}

fn list(value: &Value) -> Vec<String> {
    match value {
        Value::List(items) => items.clone(),
        _ => Vec::new(),
    }
}
