//! The verbs that programs may ask for, and the command lines that their arguments make.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::spec::validate_cluster_name;

/// Longest text of an argument, in bytes.
const LONGEST: usize = 16 * 1024;

/// What a verb does to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Reads,
    /// It changes the cluster, and loses no data.
    Changes,
    /// It can lose data, or end what runs on nodes.
    Destroys,
}

/// One verb.
#[derive(Debug)]
pub(super) struct Verb {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) effect: Effect,
    words: &'static [&'static str],
    takes: &'static [Argument],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument {
    Nodes,
    Since,
    Lines,
    Settings,
    Timeout,
    Command,
}

/// All verbs.
pub(super) const VERBS: [Verb; 10] = [
    Verb {
        name: "clusters",
        about: "List all clusters of this host with phase, nodes, bridge and subnet",
        effect: Effect::Reads,
        words: &["ls", "--json"],
        takes: &[],
    },
    Verb {
        name: "status",
        about: "Show a cluster and each of its nodes: state, address, CPU, memory, and what is wrong with the cure",
        effect: Effect::Reads,
        words: &["status", "--json"],
        takes: &[],
    },
    Verb {
        name: "events",
        about: "Show the numbered events of a cluster, such as nodes that became ready or ended",
        effect: Effect::Reads,
        words: &["events", "--json"],
        takes: &[Argument::Since],
    },
    Verb {
        name: "logs",
        about: "Show the last lines that consoles, QEMU and the keeper logged, in the order of time",
        effect: Effect::Reads,
        words: &["logs"],
        takes: &[Argument::Lines, Argument::Nodes],
    },
    Verb {
        name: "plan",
        about: "Show what `up` with these settings would change, without a change",
        effect: Effect::Reads,
        words: &["plan", "--json"],
        takes: &[Argument::Settings],
    },
    Verb {
        name: "up",
        about: "Create the cluster, or bring it to what the settings say, and start it. It removes no node",
        effect: Effect::Changes,
        words: &["up"],
        takes: &[Argument::Settings],
    },
    Verb {
        name: "start",
        about: "Start a stopped cluster, or stopped nodes",
        effect: Effect::Changes,
        words: &["start"],
        takes: &[Argument::Nodes],
    },
    Verb {
        name: "stop",
        about: "Shut down all nodes, or some; what runs on them ends, disks and addresses stay",
        effect: Effect::Destroys,
        words: &["stop"],
        takes: &[Argument::Nodes],
    },
    Verb {
        name: "exec",
        about: "Run a shell command on nodes as the user admin, who has sudo without a password",
        effect: Effect::Destroys,
        words: &["exec", "--json"],
        takes: &[Argument::Timeout, Argument::Nodes, Argument::Command],
    },
    Verb {
        name: "down",
        about: "Remove the cluster with the data of all its nodes",
        effect: Effect::Destroys,
        words: &["down"],
        takes: &[],
    },
];

/// The verb of a name.
///
/// # Errors
/// Fails with the names that there are.
pub(super) fn find(name: &str) -> Result<&'static Verb, String> {
    VERBS.iter().find(|verb| verb.name == name).ok_or_else(|| {
        let names: Vec<_> = VERBS.iter().map(|verb| verb.name).collect();
        format!("unknown verb `{name}`; expected {}", names.join(", "))
    })
}

/// A checked request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// The command line after the program's name.
    pub(super) words: Vec<String>,
    /// The project's folder; `None` is the current one.
    pub(super) folder: Option<PathBuf>,
}

impl Argument {
    const fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Since => "since",
            Self::Lines => "lines",
            Self::Settings => "settings",
            Self::Timeout => "timeout",
            Self::Command => "command",
        }
    }

    fn schema(self) -> Value {
        let names = json!({"type": "string", "minLength": 1});
        match self {
            Self::Nodes => {
                json!({"type": "array", "items": names, "description": "Names of nodes, roles or groups; all nodes without it"})
            }
            Self::Since => {
                json!({"type": "integer", "minimum": 0, "description": "Only events after this number"})
            }
            Self::Lines => {
                json!({"type": "integer", "minimum": 1, "maximum": 2000, "description": "Most lines of each node; 100 without it"})
            }
            Self::Settings => {
                json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]},
                    "description": "Settings of kvmc.toml by their keys, such as workers or network.subnet; they win over kvmc.toml"})
            }
            Self::Timeout => {
                json!({"type": "integer", "minimum": 1, "description": "Seconds that each node has; 300 without it"})
            }
            Self::Command => {
                json!({"type": "string", "minLength": 1, "description": "Command that each node's shell reads as one line"})
            }
        }
    }
}

impl Verb {
    /// The JSON Schema of the arguments.
    pub(super) fn schema(&self) -> Map<String, Value> {
        let mut properties = Map::new();
        for argument in self.takes {
            properties.insert(argument.name().to_owned(), argument.schema());
        }
        let cluster = json!({"type": "string", "description": "Name of the cluster; that of kvmc.toml, or k80, without it"});
        let folder = json!({"type": "string", "description": "Absolute path of the project's folder, with kvmc.toml and the files for Ansible"});
        properties.insert("cluster".to_owned(), cluster);
        properties.insert("folder".to_owned(), folder);
        let mut schema = Map::new();
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), Value::Object(properties));
        schema.insert("additionalProperties".to_owned(), json!(false));
        if self.takes.contains(&Argument::Command) {
            schema.insert("required".to_owned(), json!(["command"]));
        }
        schema
    }

    /// The command line for these arguments. `cluster` is the one to use where they name none.
    ///
    /// # Errors
    /// Fails with the argument that is wrong, and what it can be.
    pub(super) fn call(
        &self,
        arguments: &Map<String, Value>,
        cluster: Option<&str>,
    ) -> Result<Call, String> {
        let mut known: Vec<_> = self.takes.iter().map(|a| a.name()).collect();
        known.extend(["cluster", "folder"]);
        if let Some(key) = arguments.keys().find(|k| !known.contains(&k.as_str())) {
            let known = known.join(", ");
            return Err(format!("unknown argument `{key}`; expected {known}"));
        }
        let mut words = vec!["--color=never".to_owned()];
        let named = arguments.get("cluster").map(|v| text("cluster", v));
        if let Some(name) = named.transpose()?.or(cluster) {
            validate_cluster_name(name)?;
            words.push(format!("--cluster={name}"));
        }
        words.extend(self.words.iter().map(ToString::to_string));
        for argument in self.takes {
            argument.add(arguments.get(argument.name()), &mut words)?;
        }
        let folder = match arguments.get("folder").map(|v| text("folder", v)) {
            Some(path) => Some(PathBuf::from(path?)),
            None => None,
        };
        if let Some(path) = folder.as_ref().filter(|path| !path.is_absolute()) {
            let path = path.display();
            return Err(format!("`folder` is not an absolute path: `{path}`"));
        }
        Ok(Call { words, folder })
    }
}

impl Argument {
    /// Adds its words to a command line.
    fn add(self, value: Option<&Value>, words: &mut Vec<String>) -> Result<(), String> {
        let name = self.name();
        match (self, value) {
            (Self::Lines, None) => words.push("--lines=100".to_owned()),
            (Self::Timeout, None) => words.push("--timeout=300".to_owned()),
            (Self::Command, None) => return Err("the argument `command` is missing".to_owned()),
            (_, None) => {}
            (Self::Since | Self::Lines | Self::Timeout, Some(value)) => {
                let least = u64::from(self != Self::Since);
                let number = value.as_u64().filter(|n| *n >= least);
                let number =
                    number.ok_or_else(|| format!("`{name}` is not a number from {least} on"))?;
                words.push(format!("--{name}={number}"));
            }
            (Self::Nodes, Some(value)) => {
                // A program that found no node does not mean all of them.
                let names = value.as_array().filter(|names| !names.is_empty());
                let names =
                    names.ok_or_else(|| "`nodes` is no list of at least one name".to_owned())?;
                for node in names {
                    let node = text(name, node)?;
                    if node.starts_with('-') {
                        return Err(format!("`{node}` is not a name of a node or group"));
                    }
                    words.push(node.to_owned());
                }
            }
            (Self::Settings, Some(value)) => {
                let settings = value.as_object();
                let settings =
                    settings.ok_or_else(|| "`settings` is not an object of settings".to_owned())?;
                for (key, value) in settings {
                    let value = match value {
                        Value::String(_) => text(key, value)?.to_owned(),
                        Value::Bool(_) | Value::Number(_) => value.to_string(),
                        _ => return Err(format!("`{key}` is not a text, number or boolean")),
                    };
                    text("settings", &Value::String(key.clone()))?;
                    words.push(format!("--set={key}={value}"));
                }
            }
            (Self::Command, Some(value)) => {
                words.push("--".to_owned());
                words.push(text(name, value)?.to_owned());
            }
        }
        Ok(())
    }
}

/// A text that can be a word of a command line.
fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str, String> {
    let text = value
        .as_str()
        .ok_or_else(|| format!("`{name}` is not a text"))?;
    if text.is_empty() || text.len() > LONGEST || text.contains('\0') {
        return Err(format!(
            "`{name}` is empty, longer than {LONGEST} bytes, or has a zero byte"
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn call(verb: &str, arguments: Value) -> Result<String, String> {
        let call = find(verb)?.call(arguments.as_object().unwrap(), Some("lab"))?;
        Ok(call.words.join(" "))
    }

    #[test]
    fn arguments_become_words_of_the_command_line() {
        let words = |verb, arguments| call(verb, arguments).unwrap();
        assert_eq!(
            words("status", json!({})),
            "--color=never --cluster=lab status --json"
        );
        assert_eq!(
            words("logs", json!({"nodes": ["w0", "masters"], "lines": 5})),
            "--color=never --cluster=lab logs --lines=5 w0 masters"
        );
        assert_eq!(
            words(
                "up",
                json!({"cluster": "b", "settings": {"workers": 2, "ram": "1G", "network.ipv6": true}})
            ),
            "--color=never --cluster=b up --set=network.ipv6=true --set=ram=1G --set=workers=2"
        );
        assert_eq!(
            words("exec", json!({"nodes": ["w0"], "command": "uname -r; id"})),
            "--color=never --cluster=lab exec --json --timeout=300 w0 -- uname -r; id"
        );
    }

    #[test]
    fn wrong_arguments_are_named_with_what_is_right() {
        for (verb, arguments, expected) in [
            (
                "destroy",
                json!({}),
                "unknown verb `destroy`; expected clusters, status",
            ),
            (
                "status",
                json!({"nodes": []}),
                "unknown argument `nodes`; expected cluster, folder",
            ),
            ("status", json!({"cluster": "-x"}), "-x"),
            (
                "status",
                json!({"folder": "a/b"}),
                "`folder` is not an absolute path: `a/b`",
            ),
            (
                "events",
                json!({"since": -1}),
                "`since` is not a number from 0 on",
            ),
            (
                "logs",
                json!({"lines": 0}),
                "`lines` is not a number from 1 on",
            ),
            (
                "stop",
                json!({"nodes": "w0"}),
                "`nodes` is no list of at least one name",
            ),
            (
                "stop",
                json!({"nodes": ["--timeout=0"]}),
                "`--timeout=0` is not a name",
            ),
            ("stop", json!({"nodes": [""]}), "`nodes` is empty"),
            (
                "up",
                json!({"settings": {"forward": ["a"]}}),
                "`forward` is not a text, number or boolean",
            ),
            ("exec", json!({}), "the argument `command` is missing"),
            ("exec", json!({"command": "a\0b"}), "zero byte"),
        ] {
            let why = call(verb, arguments).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    /// Every command line that can be asked for is one that kvmc reads.
    #[test]
    fn all_words_are_verbs_and_flags_that_there_are() {
        let arguments = json!({"nodes": ["w0"], "since": 1, "lines": 2, "settings": {"workers": 1}, "timeout": 3, "command": "id"});
        for verb in &VERBS {
            let mut taken = arguments.as_object().unwrap().clone();
            taken.retain(|key, _| verb.takes.iter().any(|a| a.name() == key));
            let call = verb.call(&taken, Some("lab")).unwrap();
            let words = ["kvmc".to_owned()].into_iter().chain(call.words);
            crate::cli::Cli::try_parse_from(words).unwrap();
            let schema = verb.schema();
            let properties = schema["properties"].as_object().unwrap();
            assert_eq!(properties.len(), taken.len() + 2, "{}", verb.name);
        }
    }
}
