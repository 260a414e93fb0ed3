//! The events that a guest sends: from its agent, or from cloud-init in an image without one.

use serde_json::{Value, json};

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The agent has started, and waits for an identity.
    Hello,
    /// The boot has reached a stage.
    Stage(BootStage),
    /// The node is ready.
    Ready,
    /// During a shutdown, this unit took too long to stop and systemd killed it.
    Killed(String),
    /// The agent was added to a cloud image.
    Prepared,
    /// A cloud image cannot have the agent, for the reason that the guest gives.
    Unfit(Option<String>),
}

/// A stage of a guest's boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootStage {
    /// The guest has its identity.
    Identity,
    /// The guest has its addresses.
    Lease,
}

impl BootStage {
    /// All stages.
    pub const ALL: [Self; 2] = [Self::Identity, Self::Lease];

    /// Its name in a message.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Lease => "lease",
        }
    }
}

impl Event {
    /// Its name in a message.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Stage(_) => "stage",
            Self::Ready => "ready",
            Self::Killed(_) => "killed",
            Self::Prepared => "prepared",
            Self::Unfit(_) => "unfit",
        }
    }

    /// Reads an event. `None` for an unknown one: the agent may be newer, and a guest may send anything.
    #[must_use]
    pub fn parse(name: &str, data: &Value) -> Option<Self> {
        let text = |key: &str| data.get(key).and_then(Value::as_str);
        match name {
            "hello" => Some(Self::Hello),
            "stage" => {
                let stage = text("stage")?;
                let known = BootStage::ALL.into_iter().find(|s| s.name() == stage);
                known.map(Self::Stage)
            }
            "ready" => Some(Self::Ready),
            "killed" => text("unit").map(|unit| Self::Killed(unit.to_owned())),
            "prepared" => Some(Self::Prepared),
            "unfit" => Some(Self::Unfit(text("why").map(str::to_owned))),
            _ => None,
        }
    }

    /// The message, with only the fields that it always has.
    #[must_use]
    pub fn message(&self) -> Value {
        let data = match self {
            Self::Stage(stage) => json!({ "stage": stage.name() }),
            Self::Killed(unit) => json!({ "unit": unit }),
            Self::Unfit(Some(why)) => json!({ "why": why }),
            _ => json!({}),
        };
        json!({ "event": self.name(), "data": data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{PORT, Table};

    fn all() -> Vec<Event> {
        vec![
            Event::Hello,
            Event::Stage(BootStage::Identity),
            Event::Stage(BootStage::Lease),
            Event::Ready,
            Event::Killed("slow.service".to_owned()),
            Event::Prepared,
            Event::Unfit(Some("no system".to_owned())),
        ]
    }

    #[test]
    fn every_event_is_the_tables_and_is_read_back() {
        let table = Table::built_in();
        let mut names: Vec<_> = all().iter().map(Event::name).collect();
        for event in all() {
            let message = event.message();
            table.check_event(event.name(), &message["data"]).unwrap();
            assert_eq!(Event::parse(event.name(), &message["data"]), Some(event));
        }
        names.sort_unstable();
        names.dedup();
        let listed: Vec<_> = table.events.into_keys().collect();
        assert_eq!(listed, names);
    }

    #[test]
    fn what_a_guest_makes_up_is_no_event() {
        for (name, data) in [
            ("fly", json!({})),
            ("stage", json!({ "stage": "moon" })),
            ("stage", json!([])),
            ("killed", json!({ "unit": 7 })),
        ] {
            assert_eq!(Event::parse(name, &data), None, "{name}");
        }
        assert_eq!(
            Event::parse("unfit", &Value::Null),
            Some(Event::Unfit(None))
        );
    }

    /// The script speaks to the host before the agent exists.
    #[test]
    fn the_script_that_prepares_an_image_sends_the_tables_events() {
        let script = include_str!("../../guest/prepare").replace("'\"$1\"'", "a reason");
        assert!(script.contains(PORT));
        let table = Table::built_in();
        let mut sent = Vec::new();
        for part in script.split("say '").skip(1) {
            let message: Value = serde_json::from_str(part.split('\'').next().unwrap()).unwrap();
            let name = message["event"].as_str().unwrap().to_owned();
            table.check_event(&name, &message["data"]).unwrap();
            sent.push(name);
        }
        assert_eq!(sent, ["unfit", "prepared"]);
    }
}
