//! Compares the host keys of the nodes' sshd with the record's. Each exchange costs a guest a process and a signature, so
//! a key is asked for only when something has changed, and seldom otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use ssh_key::{HashAlg, PublicKey};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::host_key::host_key;
use crate::model::Fault;
use crate::node::Secrets;
use crate::output;
use crate::state::{ClusterDir, NodeRecord, read_json};

/// Until the first question to a node, and between two where nothing tells of changes.
const FIRST: Duration = Duration::from_secs(300);
const SELDOM: Duration = Duration::from_secs(3600);
/// Between the first questions to two nodes.
const TURN: Duration = Duration::from_secs(15);
/// Least time between two questions to a node.
const PAUSE: Duration = Duration::from_secs(20);

/// What is known of the nodes' keys.
#[derive(Debug, Default)]
pub(super) struct HostKeys(BTreeMap<String, Known>);

#[derive(Debug)]
struct Known {
    /// The agent's mark of the sshd that had the key.
    mark: Option<String>,
    /// When it is asked for next.
    due: Instant,
    /// When it was asked for last.
    asked: Option<Instant>,
    asking: Option<JoinHandle<Result<PublicKey>>>,
    /// The key that its sshd had last, if it was no known one.
    key: Option<PublicKey>,
    fault: Option<Fault>,
}

impl HostKeys {
    /// Looks at the answer to the last question to a node.
    pub(super) fn hear(&mut self, dir: &ClusterDir, node: &NodeRecord) {
        let Some(known) = self.0.get_mut(&node.name) else {
            return;
        };
        known.hear();
        if let Some(key) = &known.key {
            // Its user may have made the key a known one meanwhile.
            match compare(dir, node, key) {
                Ok(fault) => known.fault = fault,
                Err(error) => {
                    output::error(&error);
                    known.key = None;
                }
            }
            known.key = known.key.take().filter(|_| known.fault.is_some());
        }
    }

    /// Asks a node where that is due, and tells `answered` when it has answered. `is_back` says that the node was not
    /// reached before, and `mark` is what its agent says of its sshd.
    pub(super) fn ask(
        &mut self,
        node: &NodeRecord,
        is_back: bool,
        mark: Option<&str>,
        answered: &Arc<Notify>,
    ) {
        let now = Instant::now();
        // Not all at the same time.
        let turn = TURN * u32::try_from(self.0.len()).unwrap_or_default();
        let known = self.0.entry(node.name.clone()).or_insert_with(|| Known {
            mark: None,
            due: now + FIRST + turn,
            asked: None,
            asking: None,
            key: None,
            fault: None,
        });
        // The first mark says nothing of a change.
        known.mark = known.mark.take().or_else(|| mark.map(str::to_owned));
        if known.is_due(is_back, mark, now) && known.asking.is_none() {
            known.asked = Some(now);
            known.due = now + SELDOM;
            if mark.is_some() {
                known.mark = mark.map(str::to_owned);
            }
            let address = (node.address(), 22).into();
            let answered = Arc::clone(answered);
            known.asking = Some(tokio::spawn(async move {
                let key = host_key(address).await;
                answered.notify_one();
                key
            }));
        }
    }

    /// Forgets the nodes that are not ready any more.
    pub(super) fn forget(&mut self, is_still: impl Fn(&String) -> bool) {
        self.0.retain(|name, _| is_still(name));
    }

    /// The fault of a node's key.
    pub(super) fn fault(&self, node: &str) -> Option<Fault> {
        self.0.get(node)?.fault.clone()
    }
}

impl Known {
    /// Takes the key, if there is an answer. Without an answer the last one counts.
    fn hear(&mut self) {
        let Some(asking) = self.asking.take_if(|asking| asking.is_finished()) else {
            return;
        };
        // The task is over, so its result is there.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut asking = std::pin::pin!(asking);
        if let std::task::Poll::Ready(Ok(Ok(key))) = asking.as_mut().poll(&mut context) {
            self.key = Some(key);
        }
    }

    fn is_due(&mut self, is_back: bool, mark: Option<&str>, now: Instant) -> bool {
        let is_another = mark.is_some() && self.mark.as_deref() != mark;
        if is_back || is_another || self.fault.is_some() {
            self.due = self.due.min(now);
        }
        // A user who keeps another key changes nothing for long.
        let stands = self.fault.is_some() && !is_back && !is_another;
        let pause = if stands { FIRST } else { PAUSE };
        now >= self.due && self.asked.is_none_or(|asked| now >= asked + pause)
    }
}

/// A fault if a key of a node's sshd is neither in the record nor in known_hosts.
fn compare(dir: &ClusterDir, node: &NodeRecord, key: &PublicKey) -> Result<Option<Fault>> {
    let secrets = read_json::<Secrets>(&dir.secrets())?.context("secrets.json is missing")?;
    // The user may have put another key into the file that `kvmc ssh` reads.
    let known = std::fs::read_to_string(dir.artifact("known_hosts")).unwrap_or_default();
    if is_known(key, node, &secrets, &known) {
        return Ok(None);
    }
    let text = PublicKey::from(key.key_data().clone()).to_openssh()?;
    Ok(Some(Fault::HostKey {
        address: node.address(),
        key: text.trim().to_owned(),
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
    }))
}

/// Whether a key is one of a node's, by the record or a file of sshd(8)'s form. Pure.
fn is_known(key: &PublicKey, node: &NodeRecord, secrets: &Secrets, file: &str) -> bool {
    let is_it = |text: &str| {
        PublicKey::from_openssh(text).is_ok_and(|known| known.key_data() == key.key_data())
    };
    let mut recorded = secrets
        .hosts
        .get(&node.name)
        .into_iter()
        .flat_map(|keys| keys.all());
    recorded.any(|(_, pair)| is_it(&pair.public))
        || file.lines().any(|line| {
            let Some((hosts, text)) = line.trim_start().split_once([' ', '\t']) else {
                return false;
            };
            // ssh looks for the address, which ssh_config gives as HostName.
            let address = node.address().to_string();
            hosts.split(',').any(|host| host == address) && is_it(text.trim_start())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{record, secrets};

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn a_key_is_known_by_the_record_or_by_the_users_line() {
        let (record, mut secrets) = (record(), secrets());
        let node = record.node("master0").unwrap();
        let key = PublicKey::from_openssh(KEY).unwrap();
        let known = |secrets: &Secrets, file: &str| is_known(&key, node, secrets, file);
        assert!(!known(&secrets, ""));
        assert!(!known(
            &secrets,
            &format!("# x\n\nmaster1,192.168.80.3 {KEY}\n")
        ));
        assert!(known(&secrets, &format!("master0,192.168.80.2 {KEY}\n")));
        assert!(known(&secrets, &format!("192.168.80.2\t{KEY}\n")));
        assert!(!known(&secrets, &format!("master0 {KEY}\n")));
        let keys = secrets.hosts.get_mut("master0").unwrap();
        keys.ed25519.public = format!("{KEY} root@master0\n");
        assert!(known(&secrets, ""));
    }

    #[tokio::test]
    async fn a_key_is_asked_for_when_something_changed_and_not_too_often() {
        let now = Instant::now();
        let mut known = Known {
            mark: Some("7".to_owned()),
            due: now + FIRST,
            asked: None,
            asking: None,
            key: None,
            fault: None,
        };
        assert!(!known.is_due(false, Some("7"), now));
        assert!(
            !known.is_due(false, None, now),
            "an agent that is silent says nothing"
        );
        assert!(known.is_due(false, Some("8"), now));
        (known.asked, known.due) = (Some(now), now + SELDOM);
        assert!(!known.is_due(true, Some("7"), now));
        assert!(
            known.is_due(false, Some("7"), now + PAUSE),
            "what was due stays due"
        );
        known.due = now + SELDOM;
        assert!(!known.is_due(false, Some("7"), now + PAUSE));
        known.fault = Some(Fault::Other);
        assert!(
            known.is_due(false, Some("7"), now + FIRST),
            "whether it is over"
        );
        let key = PublicKey::from_openssh(KEY).unwrap();
        let answer = key.clone();
        known.asking = Some(tokio::spawn(async { Ok(answer) }));
        tokio::task::yield_now().await;
        known.hear();
        assert_eq!((known.key, known.asking.is_none()), (Some(key), true));
    }
}
