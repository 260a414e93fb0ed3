//! Reads the table of messages, and checks messages by it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

const MESSAGES: &str = include_str!("../../guest/messages.json");

/// `messages.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Its description.
    pub about: String,
    /// The version of the agent with this table.
    pub version: u32,
    /// The virtio-serial port.
    pub port: String,
    /// Commands by name.
    pub commands: BTreeMap<String, Message>,
    /// Events by name.
    pub events: BTreeMap<String, Message>,
    /// Objects that types refer to.
    pub objects: BTreeMap<String, Fields>,
}

/// Fields by name.
pub type Fields = BTreeMap<String, Field>;

/// A command or an event.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Its purpose.
    pub about: String,
    /// The first version of the agent that has it.
    pub since: u32,
    /// The first agents of that version lack it.
    #[serde(default)]
    pub later: bool,
    /// A command's arguments, or an event's data.
    #[serde(alias = "data")]
    arguments: Fields,
    /// The fields of the answer to a command.
    #[serde(default)]
    pub answer: Fields,
}

impl Message {
    /// A command's arguments, or an event's data.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.arguments
    }
}

/// A field of a message.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its type, in the notation of the table's head.
    #[serde(rename = "type")]
    pub kind: String,
    /// Every message has it.
    #[serde(default)]
    pub required: bool,
    /// The first version of the agent that has it.
    pub since: u32,
    /// The first agents of that version lack it.
    #[serde(default)]
    pub later: bool,
    /// Its description.
    #[serde(default)]
    pub about: String,
}

/// A message is not as the table describes it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "fields are named by what they hold")]
pub enum MessageError {
    /// The table has no such command or event.
    #[error("unknown {kind} `{name}`")]
    Unknown { kind: &'static str, name: String },
    /// The table has no such field.
    #[error("unknown field `{field}` of `{of}`")]
    Field { of: String, field: String },
    /// A required field is missing.
    #[error("`{of}` lacks the field `{field}`")]
    Missing { of: String, field: String },
    /// A value is of another type.
    #[error("`{field}` of `{of}` is {found}; expected {expected}")]
    Type {
        of: String,
        field: String,
        expected: String,
        found: String,
    },
}

impl Table {
    /// The table of this version.
    ///
    /// # Panics
    /// Never: a test reads the file that is built in.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test reads the file that is built in")]
    pub fn built_in() -> Self {
        serde_json::from_str(MESSAGES).expect("messages.json is valid")
    }

    /// Checks a command with its arguments.
    ///
    /// # Errors
    /// The table has no such command, or the arguments differ from it.
    pub fn check_command(&self, name: &str, arguments: &Value) -> Result<(), MessageError> {
        let command = find(&self.commands, "command", name)?;
        self.check_fields(name, &command.arguments, arguments)
    }

    /// Checks the answer to a command.
    ///
    /// # Errors
    /// The table has no such command, or the answer differs from it.
    pub fn check_answer(&self, name: &str, answer: &Value) -> Result<(), MessageError> {
        let command = find(&self.commands, "command", name)?;
        self.check_fields(name, &command.answer, answer)
    }

    /// Checks an event with its data.
    ///
    /// # Errors
    /// The table has no such event, or the data differ from it.
    pub fn check_event(&self, name: &str, data: &Value) -> Result<(), MessageError> {
        let event = find(&self.events, "event", name)?;
        self.check_fields(name, &event.arguments, data)
    }

    fn check_fields(&self, of: &str, fields: &Fields, value: &Value) -> Result<(), MessageError> {
        let none = Map::new();
        let given = match value {
            Value::Object(given) => given,
            Value::Null => &none,
            other => {
                return Err(MessageError::Type {
                    of: of.to_owned(),
                    field: "arguments".to_owned(),
                    expected: "an object".to_owned(),
                    found: other.to_string(),
                });
            }
        };
        if let Some(field) = given.keys().find(|k| !fields.contains_key(*k)) {
            return Err(MessageError::Field {
                of: of.to_owned(),
                field: field.clone(),
            });
        }
        for (name, field) in fields {
            match given.get(name) {
                Some(value) => self.check_type(of, name, &field.kind, value)?,
                None if field.required => {
                    return Err(MessageError::Missing {
                        of: of.to_owned(),
                        field: name.clone(),
                    });
                }
                None => {}
            }
        }
        Ok(())
    }

    fn check_type(
        &self,
        of: &str,
        field: &str,
        kind: &str,
        value: &Value,
    ) -> Result<(), MessageError> {
        let wrong = || {
            Err(MessageError::Type {
                of: of.to_owned(),
                field: field.to_owned(),
                expected: kind.to_owned(),
                found: value.to_string(),
            })
        };
        if let Some(inner) = kind.strip_suffix('?') {
            return match value {
                Value::Null => Ok(()),
                value => self.check_type(of, field, inner, value),
            };
        }
        if let Some(inner) = kind.strip_suffix("[]") {
            return match value {
                Value::Array(items) => items
                    .iter()
                    .try_for_each(|item| self.check_type(of, field, inner, item)),
                _ => wrong(),
            };
        }
        if let Some(inner) = kind.strip_suffix("{}") {
            return match value {
                Value::Object(items) => items
                    .values()
                    .try_for_each(|item| self.check_type(of, field, inner, item)),
                _ => wrong(),
            };
        }
        let is_it = match kind {
            "string" => value.is_string(),
            "number" => value.is_number(),
            "integer" => value.is_u64() || value.is_i64(),
            "boolean" => value.is_boolean(),
            object => {
                return match self.objects.get(object) {
                    Some(fields) if value.is_object() => self.check_fields(object, fields, value),
                    _ => wrong(),
                };
            }
        };
        if is_it { Ok(()) } else { wrong() }
    }
}

fn find<'a>(
    messages: &'a BTreeMap<String, Message>,
    kind: &'static str,
    name: &str,
) -> Result<&'a Message, MessageError> {
    messages.get(name).ok_or_else(|| MessageError::Unknown {
        kind,
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agent::PORT;

    #[test]
    fn the_table_that_is_built_in_is_read() {
        let table = Table::built_in();
        assert_eq!(table.port, PORT);
        assert!(
            table
                .commands
                .values()
                .chain(table.events.values())
                .all(|m| m.since <= table.version && !m.about.is_empty())
        );
    }

    #[test]
    fn messages_that_are_not_the_tables_are_told_by_what_is_wrong() {
        let table = Table::built_in();
        let say = |name: &str, arguments: Value| {
            table
                .check_command(name, &arguments)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(say("fly", json!({})), "unknown command `fly`");
        assert_eq!(
            say("ping", json!({ "far": 1 })),
            "unknown field `far` of `ping`"
        );
        assert_eq!(
            say("adjust", json!({})),
            "`adjust` lacks the field `seconds`"
        );
        assert_eq!(
            say("adjust", json!({ "seconds": "1" })),
            "`seconds` of `adjust` is \"1\"; expected number"
        );
        assert_eq!(
            say("ping", json!([])),
            "`arguments` of `ping` is []; expected an object"
        );
        let identity = |more: (&str, Value)| {
            let mut all = json!({ "hostname": "x", "machine_id": "y", "authorized_keys": [], "password_hash": "!" });
            all[more.0] = more.1;
            all
        };
        assert_eq!(
            say("identity", identity(("nics", json!([{ "mac": 1 }])))),
            "`mac` of `nic` is 1; expected string"
        );
        assert_eq!(
            say("identity", identity(("host_keys", json!({ "rsa": {} })))),
            "`key_pair` lacks the field `private`"
        );
        let fine = identity(("nics", json!([{ "router": null }, {}])));
        table.check_command("identity", &fine).unwrap();
        table
            .check_answer("identity", &json!({ "ready": true, "address": null }))
            .unwrap();
        assert!(table.check_answer("ping", &json!({})).is_err());
        table
            .check_event("stage", &json!({ "stage": "lease" }))
            .unwrap();
        assert!(table.check_event("stage", &Value::Null).is_err());
    }
}
