//! The settings of `kvmc.toml` as flags, made from the table of settings.

use clap::builder::{Arg, ArgAction};
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

use crate::spec::{ALIASES, Flag, Key, Kind, Layer, SETTINGS, Setting, Source, unknown_setting};

/// Sets a setting that has no flag of its own.
const SET: &str = "set";

/// All settings as flags.
#[derive(Debug, Default, Clone)]
pub(crate) struct Flags(Layer);

/// Settings that apply to a machine in which an image is built.
#[derive(Debug, Default, Clone)]
pub(crate) struct MachineFlags(Layer);

impl Flags {
    /// The given flags, as the topmost layer of settings.
    pub(crate) fn layer(&self) -> Layer {
        self.0.clone()
    }
}

impl MachineFlags {
    /// Like [`Flags::layer`].
    pub(crate) fn layer(&self) -> Layer {
        self.0.clone()
    }
}

/// A flag and its setting.
struct Row {
    key: Key,
    kind: Kind,
    flag: Flag,
    help: String,
}

/// The flags of all settings. The flags of default roles follow the setting that they belong to.
fn rows(wanted: impl Fn(&Setting) -> bool, with_aliases: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for row in SETTINGS.iter().filter(|s| wanted(s)) {
        if let Some(flag) = row.flag {
            rows.push(Row {
                key: Key::cluster(row.key),
                kind: row.kind,
                flag,
                help: help(row.help, row.shown_default()),
            });
        }
        for alias in ALIASES.iter().filter(|_| with_aliases) {
            if Some(alias.field) == row.role_key {
                rows.push(Row {
                    key: Key::role(alias.role, alias.field),
                    kind: row.kind,
                    flag: alias.flag,
                    help: help(alias.help, alias.default),
                });
            }
        }
    }
    rows
}

/// Leaves out `cluster`, which is a flag of every verb.
fn all_rows() -> Vec<Row> {
    rows(|s| s.kind != Kind::Cluster, true)
}

/// The flags of a build machine, which takes `--ram` for the RAM of masters.
fn machine_rows() -> Vec<Row> {
    let mut rows = rows(|s| s.builds, false);
    for row in rows.iter_mut().filter(|r| r.kind == Kind::Ram) {
        row.flag.also = ALIASES
            .iter()
            .find(|a| {
                a.role == "masters" && Some(a.field) == row.key.row().and_then(|r| r.role_key)
            })
            .map(|a| a.flag.name.trim_start_matches('-'));
    }
    rows
}

fn help(text: &str, default: &str) -> String {
    if default.is_empty() {
        text.to_owned()
    } else {
        format!("{text} [default: {default}]")
    }
}

fn arg(row: &Row) -> Arg {
    let name = row.flag.name.trim_start_matches('-');
    let mut arg = Arg::new(name)
        .long(name)
        .value_name(row.flag.value)
        .help(row.help.clone())
        .allow_hyphen_values(matches!(
            row.kind,
            Kind::Count | Kind::Vcpus | Kind::Ram | Kind::Disk
        ));
    if let Some(also) = row.flag.also {
        arg = arg.alias(also);
    }
    if is_repeated(row.kind) {
        arg = arg.action(ArgAction::Append);
    }
    if matches!(row.kind, Kind::Nested | Kind::Switch) {
        arg = arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true");
    }
    arg
}

const fn is_repeated(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Counts
            | Kind::Disks
            | Kind::Domains
            | Kind::Forwards
            | Kind::HostPorts
            | Kind::Links
            | Kind::Networks
            | Kind::Ranges
            | Kind::Records
            | Kind::Words
    )
}

fn set_arg() -> Arg {
    Arg::new(SET)
        .long(SET)
        .value_name("KEY=VALUE")
        .action(ArgAction::Append)
        .help("Any setting by its key, such as roles.etcd.ram=1G; may be repeated")
}

fn read(rows: &[Row], matches: &ArgMatches) -> Result<Layer, Error> {
    let mut layer = Layer::default();
    for row in rows {
        let id = row.flag.name.trim_start_matches('-');
        let given: Vec<String> = match matches.try_get_many::<String>(id) {
            Ok(Some(values)) => values.cloned().collect(),
            _ => continue,
        };
        let (key, source) = (row.key.clone(), Source::Flag(row.flag.name.to_owned()));
        match row.kind {
            Kind::Records => layer.set_items(key, given, source),
            Kind::Networks => layer.set_text(key, &given.join("; "), source),
            _ => layer.set_text(key, &given.join(" "), source),
        }
    }
    for text in matches
        .try_get_many::<String>(SET)
        .ok()
        .flatten()
        .into_iter()
        .flatten()
    {
        let fault = |what: String| Error::raw(ErrorKind::InvalidValue, format!("--set: {what}\n"));
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| fault(format!("`{text}` is not KEY=VALUE")))?;
        let key = Key::parse(name).ok_or_else(|| fault(unknown_setting(name)))?;
        layer.set_text(key, value, Source::Flag(format!("--set {name}")));
    }
    Ok(layer)
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let args = all_rows();
        command.args(args.iter().map(arg)).arg(set_arg())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        read(&all_rows(), matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for MachineFlags {
    fn augment_args(command: Command) -> Command {
        let args = machine_rows();
        command.args(args.iter().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for MachineFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        read(&machine_rows(), matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command as Verb};
    use crate::spec::{Settings, check};

    fn flags(words: &[&str]) -> Result<Settings, String> {
        let words = ["kvmc", "up"].iter().chain(words);
        let cli = Cli::try_parse_from(words).map_err(|e| e.to_string())?;
        match cli.command {
            Verb::Up(up) => Ok(Settings::resolve([up.flags.layer()])),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn every_setting_can_be_given_by_its_flag_and_by_set() {
        let settings = flags(&[
            "--masters=1",
            "--role",
            "etcd=3",
            "--set",
            "roles.etcd.ram=1G",
            "--ipv6",
            "--package",
            "vim",
            "--package",
            "curl",
            "--dns-record",
            "a A 192.0.2.1",
            "--dns-record",
            "b TXT \"c d\"",
            "--network",
            "name=s,subnet=10.8.0.0/24",
            "--load-balancer-ram",
            "512M",
        ])
        .unwrap();
        let spec = check(&settings).unwrap();
        let etcd = spec.role("etcd").unwrap();
        assert_eq!((etcd.count, etcd.ram.to_string()), (3, "1G".to_owned()));
        assert_eq!(spec.role("load_balancers").unwrap().ram.to_string(), "512M");
        assert!(spec.ipv6 && spec.networks.len() == 1);
        assert_eq!(spec.template.packages, ["vim", "curl"]);
        assert_eq!(spec.dns.records.len(), 2);
        let source = settings.source(&Key::role("etcd", "ram"));
        assert_eq!(source.to_string(), "flag --set roles.etcd.ram");
    }

    #[test]
    fn an_unknown_key_is_wrong_usage() {
        for (set, expected) in [
            ("vcpsu=1", "did you mean `vcpus`"),
            ("roles.a.cout=1", "did you mean `roles.NAME.count`"),
            ("vcpus", "`vcpus` is not KEY=VALUE"),
        ] {
            let error = flags(&["--set", set]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
