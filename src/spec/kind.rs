//! The types of settings, and how `kvmc.toml`, variables and flags hold a value of each type.

use std::path::Path;

use kvmc_images::Architecture;
use kvmc_netns::firewall::{HostPort, HostPortError};
use kvmc_netns::range;
use toml::Spanned;
use toml::de::DeValue;

use super::choice::{AUTO, AccelChoice};
use super::names::{
    validate_cluster_name, validate_groups, validate_name, validate_prefix, validate_variables,
};
use super::networks::NetworkSpec;
use super::reference::Reference;
use super::restart::Restart;
use super::value::{Value, Variables};
use super::{forward, lan, machine, networks};

/// The type of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Accel,
    /// Of a node.
    Address,
    Architecture,
    Cluster,
    /// A number of nodes.
    Count,
    /// The counts of `--role`; `kvmc.toml` has `[roles.NAME]` instead.
    Counts,
    Cpu,
    Disk,
    /// Extra disks.
    Disks,
    /// Names of others.
    Domains,
    Forwards,
    Groups,
    HostPorts,
    Image,
    Link,
    Links,
    Mtu,
    /// A switch, or nothing for the CPU model's own.
    Nested,
    Networks,
    Path,
    Prefix,
    /// Of addresses.
    Ranges,
    Ram,
    Records,
    Restart,
    Subnet,
    Switch,
    Text,
    Variables,
    Vcpus,
    Words,
}

impl Kind {
    /// What `kvmc.toml` must hold.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Count | Self::Vcpus => "a whole number",
            Self::Disk => "a size such as \"4G\", or a number, which counts in G",
            Self::Ram => "a size such as \"2G\"",
            Self::Mtu => "a number of bytes, or \"auto\"",
            _ if self.is_list() => "a list of strings",
            Self::Nested | Self::Switch => "true or false",
            Self::Networks => "a list of tables; write [[networks]]",
            Self::Counts | Self::Variables => "a table",
            _ => "a string",
        }
    }

    /// Whether `kvmc.toml` has a list of strings.
    pub(super) const fn is_list(self) -> bool {
        matches!(
            self,
            Self::Disks
                | Self::Domains
                | Self::Forwards
                | Self::Groups
                | Self::HostPorts
                | Self::Links
                | Self::Ranges
                | Self::Records
                | Self::Words
        )
    }

    /// Reads a value from a variable or flag.
    ///
    /// # Errors
    /// Fails with the reason and what is accepted, without the setting's name.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Accel => AccelChoice::parse(text).map(Value::Accel),
            Self::Address => machine::address(text).map(Value::Address),
            Self::Architecture => text
                .parse::<Architecture>()
                .map(Value::Architecture)
                .map_err(|e| e.to_string()),
            Self::Cluster => validate_cluster_name(text).map(|()| Value::Text(text.to_owned())),
            Self::Count => number(text).map(Value::Number),
            Self::Counts => counts(text).map(Value::Counts),
            Self::Cpu => machine::cpu(text).map(Value::Text),
            Self::Disk => machine::disk(text).map(Value::Size),
            Self::Disks => words(text)
                .map(machine::extra_disk)
                .collect::<Result<Vec<_>, _>>()
                .and_then(machine::extra_disks)
                .map(Value::Sizes),
            Self::Domains => list_of(text, |name| {
                kvmc_netns::dns::parse_exception(name).map_err(|e| e.to_string())
            }),
            Self::Forwards => forward::parse(words(text)).map(Value::Forwards),
            Self::Groups => {
                let groups: Vec<_> = words(text).map(str::to_owned).collect();
                validate_groups(&groups).map(|()| Value::List(groups))
            }
            Self::HostPorts => words(text)
                .map(str::parse)
                .collect::<Result<Vec<HostPort>, _>>()
                .map(Value::HostPorts)
                .map_err(|e: HostPortError| e.to_string()),
            Self::Image => image(text).map(Value::Text),
            Self::Link => range::validate_link_name(text)
                .map(|()| Value::Text(text.to_owned()))
                .map_err(|e| e.to_string()),
            Self::Links => list_of(text, |name| {
                range::validate_link_name(name).map_err(|e| e.to_string())
            }),
            Self::Mtu => lan::mtu(text).map(Value::Mtu),
            Self::Nested if text.trim().is_empty() => Ok(Value::Text(String::new())),
            Self::Nested => networks::boolean(text).map(Value::Switch),
            Self::Networks => networks::parse(text).map(Value::Networks),
            Self::Path => path(text).map(Value::Text),
            Self::Prefix => validate_prefix(text).map(|()| Value::Text(text.to_owned())),
            Self::Ram => machine::ram(text).map(Value::Size),
            Self::Ranges => words(text)
                .map(str::parse)
                .collect::<Result<_, _>>()
                .map(Value::Ranges),
            Self::Records => {
                let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
                Ok(Value::List(lines.map(str::to_owned).collect()))
            }
            Self::Restart => Restart::parse(text).map(Value::Restart),
            Self::Subnet if text == AUTO => Ok(Value::Subnet(None)),
            Self::Subnet => range::validate_subnet(text)
                .map(|s| Value::Subnet(Some(s)))
                .map_err(|e| e.to_string()),
            Self::Switch => networks::boolean(text).map(Value::Switch),
            Self::Text => Ok(Value::Text(text.trim().to_owned())),
            Self::Variables => variables(text).map(Value::Variables),
            Self::Vcpus => machine::vcpus(text).map(Value::Number),
            Self::Words => Ok(Value::List(words(text).map(str::to_owned).collect())),
        }
    }

    /// Reads a value from `kvmc.toml`. Returns `None` if the value's type is wrong.
    ///
    /// # Errors
    /// Fails with the position in the file and the reason.
    pub(super) fn read(
        self,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Option<Result<Value, String>>, (usize, String)> {
        Ok(match (self, value.get_ref()) {
            (Self::Networks, _) => Some(Ok(Value::Networks(networks::read(value)?))),
            (Self::Variables, DeValue::Table(_)) => {
                let variables = plain(value.get_ref());
                let variables: Variables = variables
                    .as_object()
                    .map(|o| o.clone().into_iter().collect())
                    .unwrap_or_default();
                let checked = validate_variables(&variables);
                Some(checked.map(|()| Value::Variables(variables)))
            }
            (Self::Count | Self::Vcpus | Self::Disk | Self::Mtu, DeValue::Integer(n)) => {
                Some(self.parse(&n.to_string()))
            }
            (Self::Nested | Self::Switch, DeValue::Boolean(on)) => Some(Ok(Value::Switch(*on))),
            (kind, DeValue::Array(items)) if kind.is_list() => {
                let strings = items.iter().map(|item| match item.get_ref() {
                    DeValue::String(text) => Some(text.to_string()),
                    _ => None,
                });
                let strings: Option<Vec<String>> = strings.collect();
                strings.map(|items| self.of_items(items))
            }
            (Self::Count | Self::Vcpus | Self::Nested | Self::Switch, _) => None,
            (Self::Counts | Self::Variables, _) => None,
            (kind, _) if kind.is_list() => None,
            (_, DeValue::String(text)) => Some(self.parse(text)),
            _ => None,
        })
    }

    /// Makes a list's value, with one string for each item.
    pub(crate) fn of_items(self, items: Vec<String>) -> Result<Value, String> {
        match self {
            Self::Records | Self::Words => Ok(Value::List(items)),
            Self::Forwards => forward::parse(items.iter().map(String::as_str)).map(Value::Forwards),
            Self::Networks => items
                .iter()
                .map(|text| text.parse())
                .collect::<Result<Vec<NetworkSpec>, _>>()
                .map(Value::Networks),
            Self::Groups => validate_groups(&items).map(|()| Value::List(items)),
            kind => kind.parse(&items.join(" ")),
        }
    }
}

/// Splits a list in one string, separated by blanks or commas.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ',', '\n', '\t']).filter(|w| !w.is_empty())
}

/// A list, each word of which is checked.
fn list_of<T>(text: &str, check: impl Fn(&str) -> Result<T, String>) -> Result<Value, String> {
    let each = words(text).map(|word| check(word).map(|_| word.to_owned()));
    each.collect::<Result<_, _>>().map(Value::List)
}

fn number(text: &str) -> Result<u32, String> {
    text.trim().parse::<u32>().map_err(|_| {
        format!("`{text}` is not a number of nodes; expected a whole number, 0 or more")
    })
}

fn counts(text: &str) -> Result<Vec<(String, u32)>, String> {
    let count = |word: &str| {
        let (name, count) = word.split_once('=').ok_or_else(|| {
            format!(
                "`{word}` is not a role with its number of nodes; expected a form such as etcd=3"
            )
        })?;
        validate_name(name)?;
        Ok((name.to_owned(), number(count)?))
    };
    words(text).map(count).collect()
}

/// An image as requested. A relative path is made absolute.
fn image(text: &str) -> Result<String, String> {
    if text.starts_with('-') || text.chars().any(char::is_control) {
        return Err(format!(
            "`{}` is not an image; expected a name, a path or a URL",
            text.escape_debug()
        ));
    }
    match Reference::parse(text) {
        Reference::File(file) => path(&file.display().to_string()),
        _ => Ok(text.to_owned()),
    }
}

fn path(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let path = std::path::absolute(Path::new(text)).map_err(|e| format!("`{text}`: {e}"))?;
    match path.to_str() {
        Some(path) => Ok(path.to_owned()),
        None => Err(format!(
            "`{text}`: the name of this folder is no UTF-8 text"
        )),
    }
}

fn variables(text: &str) -> Result<Variables, String> {
    if text.trim().is_empty() {
        return Ok(Variables::new());
    }
    let variables: Variables = serde_json::from_str(text)
        .map_err(|e| format!("`{text}` is not a JSON object of variables: {e}"))?;
    validate_variables(&variables)?;
    Ok(variables)
}

/// Converts a TOML value to JSON. A date or time becomes its text.
fn plain(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(n) => {
            let digits: String = n.as_str().chars().filter(|c| *c != '_').collect();
            match i64::from_str_radix(&digits, n.radix()) {
                Ok(number) => number.into(),
                Err(_) => n.to_string().into(),
            }
        }
        DeValue::Float(x) => {
            let number: Option<f64> = x.as_str().replace('_', "").parse().ok();
            let number = number.and_then(serde_json::Number::from_f64);
            number.map_or_else(|| x.as_str().into(), serde_json::Value::Number)
        }
        DeValue::Boolean(on) => (*on).into(),
        DeValue::Datetime(at) => at.to_string().into(),
        DeValue::Array(items) => items.iter().map(|i| plain(i.get_ref())).collect(),
        DeValue::Table(table) => {
            let entries = table.iter();
            serde_json::Value::Object(
                entries
                    .map(|(k, v)| (k.get_ref().to_string(), plain(v.get_ref())))
                    .collect(),
            )
        }
    }
}
