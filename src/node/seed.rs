//! cloud-init's seed, which gives an image without kvmc's agent its identity.

use anyhow::{Context, Result};
use kvmc_images::{agent, seed};
use serde_json::{Map, Value, json};

use super::identity::{ADMIN, HostKeys, Secrets, base64};
use super::user_data::is_message;
use crate::state::{NodeDir, NodeRecord};

const BOUNDARY: &str = "==kvmc==";
const CONFIG: &str = "text/cloud-config";
/// How kvmc's parts join what the user's parts made, which they follow, so that no `merge_how` and no type of the user's
/// parts concerns them; see cloud-init's "Merging user-data sections". First kvmc's lists come before the user's.
const LISTS: &str = "list(prepend)+dict(no_replace,recurse_list)+str()";
/// Then kvmc's user joins the user's, where they are a mapping. Without a merger for lists, cloud-init leaves them alone.
const USERS: &str = "dict(no_replace)";
/// Last, kvmc's other values replace the user's.
const VALUES: &str = "dict(replace)";
/// Reports through the agent's port and in its format that cloud-init has begun and that it is done, which is when its
/// last stage has written its result. It runs in the background, because the keeper may not listen. It is a part of its
/// own and the first, since a list that the user's parts could replace is no place for it.
const REPORT: &str = r#"#cloud-boothook
#!/bin/sh
say() {
  for p in /sys/class/virtio-ports/*; do
    [ "$(cat "$p/name")" != @port@ ] || echo "$1" > "/dev/${p##*/}"
  done
}
(
  say '@began@'
  until [ -e /run/cloud-init/result.json ]; do sleep 1; done
  say '@done@'
) </dev/null >/dev/null 2>&1 &"#;

/// Writes a node's seed, merged with the user's `user_data`.
///
/// # Errors
/// Fails if keys are missing, or if the file cannot be written.
pub(crate) fn write_seed(
    domain: &str,
    node: &NodeRecord,
    dir: &NodeDir,
    secrets: &Secrets,
    user_data: Option<&str>,
) -> Result<()> {
    let mut config = config(domain, node, secrets)?;
    if let Value::Object(config) = &mut config {
        config.insert("write_files".to_owned(), json!([hosts(domain, node)]));
    }
    let user = user_data_of(Some(&report()), &config, user_data);
    let meta = meta_data(node);
    let network = network(node);
    seed::write(
        &dir.seed(),
        &[
            ("user-data", user.as_bytes()),
            // JSON is YAML.
            ("meta-data", meta.to_string().as_bytes()),
            ("network-config", network.to_string().as_bytes()),
        ],
    )
    .with_context(|| format!("the seed of {} cannot be made", node.name))
}

/// The script of [`REPORT`] with the agent's port and events.
fn report() -> String {
    let began = agent::Event::Stage(agent::BootStage::Identity).message();
    let done = agent::Event::Ready.message();
    REPORT
        .replace("@port@", agent::PORT)
        .replace("@began@", &began.to_string())
        .replace("@done@", &done.to_string())
}

/// What the agent of a node gives to cloud-init. It is the seed without the report, because the agent watches
/// cloud-init itself.
///
/// # Errors
/// Fails if keys are missing.
pub(crate) fn for_agent(
    domain: &str,
    node: &NodeRecord,
    secrets: &Secrets,
    user_data: &str,
) -> Result<agent::Cloud> {
    let config = config(domain, node, secrets)?;
    Ok(agent::Cloud {
        instance: node.machine_id.clone(),
        user_data: user_data_of(None, &config, Some(user_data)),
        meta_data: meta_data(node).to_string(),
    })
}

/// cloud-init treats a machine as new when its instance-id is new.
fn meta_data(node: &NodeRecord) -> Value {
    json!({ "instance-id": node.machine_id, "local-hostname": node.name })
}

fn config(domain: &str, node: &NodeRecord, secrets: &Secrets) -> Result<Value> {
    let keys = secrets
        .hosts
        .get(&node.name)
        .with_context(|| format!("host keys for `{}` are missing", node.name))?;
    Ok(json!({
        "hostname": node.name,
        "fqdn": format!("{}.{domain}", node.name),
        "prefer_fqdn_over_hostname": false,
        // cloud-init would write the file again at each boot, with 127.0.1.1 for the node.
        "manage_etc_hosts": false,
        "users": [{
            "name": ADMIN,
            "gecos": ADMIN,
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "lock_passwd": false,
            "passwd": secrets.password_hash,
            // This is for a user that the image has already.
            "hashed_passwd": secrets.password_hash,
            "ssh_authorized_keys": [secrets.admin.public.trim_end()],
        }],
        "ssh_pwauth": true,
        "ssh_deletekeys": true,
        "ssh_keys": ssh_keys(keys),
        "growpart": { "mode": "auto", "devices": ["/"] },
        "resize_rootfs": true,
    }))
}

/// The node's lines in /etc/hosts, as the agent writes them. cloud-init appends them once for an instance.
fn hosts(domain: &str, node: &NodeRecord) -> Value {
    let (name, address) = (&node.name, node.address());
    json!({
        "path": "/etc/hosts",
        "append": true,
        "content": format!("# kvmc begin\n{address} {name}.{domain} {name}\n# kvmc end\n"),
    })
}

/// Host keys by cloud-init's names.
fn ssh_keys(keys: &HostKeys) -> Value {
    let mut all = serde_json::Map::new();
    for (kind, pair) in keys.all() {
        all.insert(format!("{kind}_private"), json!(pair.private));
        all.insert(format!("{kind}_public"), json!(line(&pair.public)));
    }
    Value::Object(all)
}

/// A public key as a line, because cloud-init writes it to a file as it is.
fn line(key: &str) -> String {
    format!("{}\n", key.trim_end())
}

/// Network configuration of version 2. It matches NICs by MAC address, because their names differ between images.
fn network(node: &NodeRecord) -> Value {
    let macs = node.nics.iter().map(|nic| nic.mac);
    let nics: serde_json::Map<_, _> = macs
        .enumerate()
        .map(|(number, mac)| {
            let nic = json!({
                "match": { "macaddress": mac.to_string() },
                "set-name": format!("eth{number}"),
                "dhcp4": true,
                "dhcp-identifier": "mac",
            });
            (format!("eth{number}"), nic)
        })
        .collect();
    json!({ "version": 2, "ethernets": nics })
}

/// kvmc's report and configuration and the user's data, as one multipart message.
pub(crate) fn user_data_of(
    report: Option<&str>,
    config: &Value,
    user_data: Option<&str>,
) -> String {
    let boundary = boundary(user_data.unwrap_or_default());
    let mut text =
        format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n");
    let mut part = |part: &str| text.push_str(&format!("\n--{boundary}\n{part}\n"));
    if let Some(report) = report {
        part(&plain("text/cloud-boothook", None, report));
    }
    match user_data {
        Some(user) => {
            part(&users_part(user));
            let (lists, values) = split(config);
            part(&config_part(LISTS, &lists));
            if let Some(users) = by_name(config) {
                part(&config_part(USERS, &json!({ "users": users })));
            }
            part(&config_part(VALUES, &values));
        }
        None => part(&config_part(VALUES, config)),
    }
    text.push_str(&format!("\n--{boundary}--\n"));
    text
}

/// A boundary that the user's data does not contain.
fn boundary(user: &str) -> String {
    let mut boundary = BOUNDARY.to_owned();
    while user.contains(&boundary) {
        boundary.push('=');
    }
    boundary
}

/// The user's data as a part: a message with its own headers, anything else with a type that has cloud-init look at the
/// content.
fn users_part(user: &str) -> String {
    if is_message(user) {
        return user.trim_end().to_owned();
    }
    let coded = base64(user.as_bytes());
    let lines: Vec<_> = coded
        .as_bytes()
        .chunks(76)
        .map(|l| String::from_utf8_lossy(l).into_owned())
        .collect();
    format!(
        "Content-Type: text/plain; charset=\"utf-8\"\nContent-Transfer-Encoding: base64\n\n{}",
        lines.join("\n")
    )
}

fn config_part(merge: &str, config: &Value) -> String {
    plain(CONFIG, Some(merge), &format!("#cloud-config\n{config:#}"))
}

fn plain(kind: &str, merge: Option<&str>, body: &str) -> String {
    let merge = merge.map_or_else(String::new, |m| format!("Merge-Type: {m}\n"));
    format!("Content-Type: {kind}; charset=\"utf-8\"\n{merge}\n{body}")
}

/// Splits a configuration into its lists and its other values.
fn split(config: &Value) -> (Value, Value) {
    let all = config.as_object().into_iter().flatten();
    let (lists, values): (Map<_, _>, Map<_, _>) = all
        .map(|(k, v)| (k.clone(), v.clone()))
        .partition(|(_, v)| v.is_array());
    (Value::Object(lists), Value::Object(values))
}

/// The configuration's users as a mapping from their names.
fn by_name(config: &Value) -> Option<Value> {
    let users = config.get("users")?.as_array()?;
    let named = users.iter().filter_map(|user| {
        let name = user.get("name")?.as_str()?;
        Some((name.to_owned(), user.clone()))
    });
    Some(Value::Object(named.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{record, secrets};

    #[test]
    fn the_seed_has_the_nodes_identity_and_the_users_data_unchanged() {
        let record = record();
        let config = config("k80.internal", &record.nodes[0], &secrets()).unwrap();
        assert_eq!(config["hostname"], "master0");
        assert_eq!(config["users"][0]["name"], "admin");
        let text = user_data_of(None, &config, Some("#!/bin/sh\necho hello\n"));
        assert!(text.starts_with("Content-Type: multipart/mixed"));
        assert!(text.contains("#cloud-config\n{"));
        assert!(text.contains("Merge-Type: list(prepend)"));
        assert!(text.contains(&base64(b"#!/bin/sh\necho hello\n")));
        let macs = network(&record.nodes[0]).to_string();
        assert!(
            macs.contains(&record.nodes[0].nics[0].mac.to_string()),
            "{macs}"
        );
    }

    #[test]
    fn cloud_init_writes_the_nodes_address_into_hosts_once_and_never_again() {
        let record = record();
        let node = &record.nodes[0];
        let config = config("k80.internal", node, &secrets()).unwrap();
        assert_eq!(config["manage_etc_hosts"], false);
        let lines = hosts("k80.internal", node);
        assert_eq!(
            lines["content"],
            "# kvmc begin\n192.168.80.2 master0.k80.internal master0\n# kvmc end\n"
        );
        assert_eq!(lines["append"], true);
    }

    #[test]
    fn a_guest_without_the_agent_reports_with_the_agents_events() {
        let script = report();
        assert!(script.contains("!= org.kvmc.agent.0 ]") && !script.contains('@'));
        assert!(script.contains(r#"say '{"data":{"stage":"identity"},"event":"stage"}'"#));
        assert!(script.contains(r#"say '{"data":{},"event":"ready"}'"#));
    }

    #[test]
    fn p15_each_seed_has_an_instance_id_of_its_own() {
        let record = record();
        let ids: std::collections::BTreeSet<_> = record
            .nodes
            .iter()
            .map(|node| meta_data(node)["instance-id"].to_string())
            .collect();
        assert!(record.nodes.len() > 1);
        assert_eq!(ids.len(), record.nodes.len());
    }
}
