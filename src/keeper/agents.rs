//! The nodes' agents: whether they run, answer, and see another sshd. QEMU knows whether a program has the agent's port
//! open, which costs the guest nothing; a question costs it some time.

use std::collections::BTreeMap;
use std::time::Duration;

use kvmc_qmp::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::served::Served;
use super::vitals::{self, Answer};
use crate::model::{Fault, Vitals};
use crate::state::{ClusterRecord, NodeRecord};

/// Looks between two questions to the agents: emulated guests, and others.
const ASK_EACH: (u32, u32) = (2, 1);
/// How long a guest may take to answer, at first and the second time.
const ANSWER: Duration = Duration::from_secs(1);
const PATIENT: Duration = Duration::from_secs(4);
/// Wait before an agent that does not run is looked at again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long QEMU may take.
const QEMU: Duration = Duration::from_secs(2);

/// What is known of the agents.
#[derive(Debug, Clone, Default)]
pub(super) struct Agents {
    looks: u32,
    known: BTreeMap<String, Known>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    /// Whether a program in the guest has the port open; `None` if QEMU did not say.
    runs: Option<bool>,
    answer: Option<Answer>,
    /// It did not answer twice in a row.
    is_silent: bool,
}

impl Agents {
    /// Looks at the agents of these nodes, and stores their vitals.
    pub(super) async fn look(
        &mut self,
        served: &Served,
        record: &ClusterRecord,
        nodes: &[&NodeRecord],
    ) {
        let each = match record.accelerator.is_kvm() {
            true => ASK_EACH.1,
            false => ASK_EACH.0,
        };
        let asks = self.looks.is_multiple_of(each);
        self.looks = self.looks.wrapping_add(1);
        let mut tasks = JoinSet::new();
        for node in nodes.iter().filter(|node| !node.seeded) {
            let Ok(connections) = served.connections(&node.name) else {
                continue;
            };
            let name = node.name.clone();
            let before = self.known.remove(&name).unwrap_or_default();
            tasks.spawn(async move {
                let runs = looked_twice(connections.qmp.as_ref()).await;
                // What was not heard of one that is back says nothing.
                let is_back = before.runs == Some(false) && runs == Some(true);
                let mut known = Known { runs, ..before };
                match connections.agent.filter(|_| known.runs != Some(false)) {
                    Some(agent) if asks || is_back => known.hear(ask(&agent).await),
                    _ if known.runs == Some(false) => known.hear(None),
                    _ => {}
                }
                (name, known)
            });
        }
        self.known.clear();
        while let Some(Ok((name, known))) = tasks.join_next().await {
            self.known.insert(name, known);
        }
        if asks {
            let of = |known: &Known| {
                let answer = known.answer.as_ref()?;
                Some((answer.vitals, answer.kernel.clone()))
            };
            let all = self.known.iter();
            let all = all.filter_map(|(name, k)| Some((name.clone(), of(k)?)));
            let all: BTreeMap<String, (Vitals, Option<String>)> = all.collect();
            served.status.set_vitals(&all);
        }
    }

    /// Forgets the nodes that are not ready any more.
    pub(super) fn forget(&mut self, is_still: impl Fn(&String) -> bool) {
        self.known.retain(|name, _| is_still(name));
    }

    /// The agent's mark of a node's sshd.
    pub(super) fn sshd(&self, node: &str) -> Option<&str> {
        self.known.get(node)?.answer.as_ref()?.sshd.as_deref()
    }

    pub(super) fn fault(&self, node: &str) -> Option<Fault> {
        let known = self.known.get(node)?;
        let runs = known.runs != Some(false);
        (!runs || known.is_silent).then_some(Fault::Agent { runs })
    }
}

impl Known {
    fn hear(&mut self, answer: Option<Answer>) {
        self.is_silent = answer.is_none();
        self.answer = answer;
    }
}

/// A guest that gets too little CPU may be late once.
async fn ask(agent: &Client) -> Option<Answer> {
    match vitals::one(agent, ANSWER).await {
        Some(answer) => Some(answer),
        None => vitals::one(agent, PATIENT).await,
    }
}

/// Whether a program in the guest has the agent's port open. One that has not may be starting again.
async fn looked_twice(qmp: Option<&Client>) -> Option<bool> {
    let qmp = qmp?;
    match has_port_open(qmp).await {
        Some(false) => {
            tokio::time::sleep(AGAIN).await;
            has_port_open(qmp).await
        }
        runs => runs,
    }
}

async fn has_port_open(qmp: &Client) -> Option<bool> {
    let all = qmp.request_secret("query-chardev", json!({}), QEMU).await;
    is_open(&all.ok()?)
}

/// Reads QEMU's answer, `ChardevInfo` of its qapi/char.json.
fn is_open(all: &Value) -> Option<bool> {
    let mut all = all.as_array()?.iter();
    let agent = all.find(|c| c.get("label").and_then(Value::as_str) == Some("agent"))?;
    agent.get("frontend-open")?.as_bool()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_says_whether_the_agent_has_its_port_open() {
        let all = |open: Value| {
            json!([
                { "label": "qmp", "frontend-open": true, "filename": "unix:" },
                { "label": "agent", "frontend-open": open, "filename": "unix:" },
            ])
        };
        assert_eq!(is_open(&all(json!(true))), Some(true));
        assert_eq!(is_open(&all(json!(false))), Some(false));
        for unknown in [all(json!("x")), json!([]), json!({}), json!([7])] {
            assert_eq!(is_open(&unknown), None, "{unknown}");
        }
    }

    #[test]
    fn an_agent_is_at_fault_when_it_is_gone_or_silent() {
        let mut agents = Agents::default();
        let fault = |agents: &Agents| agents.fault("a");
        assert_eq!(fault(&agents), None);
        agents.known.insert("a".to_owned(), Known::default());
        assert_eq!(fault(&agents), None, "nothing is known yet");
        agents.known.get_mut("a").unwrap().hear(None);
        assert_eq!(fault(&agents), Some(Fault::Agent { runs: true }));
        agents.known.get_mut("a").unwrap().runs = Some(false);
        assert_eq!(fault(&agents), Some(Fault::Agent { runs: false }));
    }
}
