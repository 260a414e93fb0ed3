//! cloud-init's seed, which gives an image without kvmc's agent its identity.

use std::path::Path;

use anyhow::{Context, Result, bail};
use kvmc_images::{agent, seed};
use saphyr_parser::{Event, Parser};
use serde_json::{Value, json};

use super::identity::{ADMIN, HostKeys, Secrets, base64};
use crate::state::{NodeDir, NodeRecord};

/// Largest `user_data` in bytes, more than a person writes.
const LONGEST: usize = 1 << 20;
const BOUNDARY: &str = "==kvmc==";
/// Lists from the user come after kvmc's, and kvmc's values stay; see cloud-init's "Merging user-data sections".
const MERGE: &str = "list(append)+dict(no_replace,recurse_list)+str()";
/// Reports through the agent's port and in its format that cloud-init has begun and that it is done, which is when its
/// last stage has written its result. It runs in the background, because the keeper may not listen.
const REPORT: &str = r#"say() {
  for p in /sys/class/virtio-ports/*; do
    [ "$(cat "$p/name")" != @port@ ] || echo "$1" > "/dev/${p##*/}"
  done
}
(
  say '@began@'
  until [ -e /run/cloud-init/result.json ]; do sleep 1; done
  say '@done@'
) </dev/null >/dev/null 2>&1 &"#;
/// First lines that cloud-init knows, and their types.
const TYPES: [(&str, &str); 7] = [
    ("#cloud-config-archive", "text/cloud-config-archive"),
    ("#cloud-config", "text/cloud-config"),
    ("#cloud-boothook", "text/cloud-boothook"),
    ("#include", "text/x-include-url"),
    ("#!", "text/x-shellscript"),
    ("## template: jinja", "text/jinja2"),
    ("Content-Type: multipart/", ""),
];

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
        config.insert("bootcmd".to_owned(), json!([["sh", "-c", report()]]));
        config.insert("write_files".to_owned(), json!([hosts(domain, node)]));
    }
    let user = user_data_of(&config, user_data);
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
        user_data: user_data_of(&config, Some(user_data)),
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

/// kvmc's configuration and the user's data, as one multipart message.
pub(crate) fn user_data_of(config: &Value, user_data: Option<&str>) -> String {
    let mut text =
        format!("Content-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\nMIME-Version: 1.0\n");
    let mut part = |headers: &str, body: &str| {
        text.push_str(&format!("\n--{BOUNDARY}\n{headers}\n{body}\n"));
    };
    part(
        "Content-Type: text/cloud-config; charset=\"utf-8\"\n",
        &format!("#cloud-config\n{config:#}"),
    );
    if let Some(user) = user_data {
        match kind(user) {
            // The user's data has its own headers.
            Some("") => part(user.trim_end(), ""),
            kind => {
                let headers = format!(
                    "Content-Type: {}; charset=\"utf-8\"\nContent-Transfer-Encoding: base64\nMerge-Type: {MERGE}\n",
                    kind.unwrap_or("text/cloud-config")
                );
                let coded = base64(user.as_bytes());
                let lines: Vec<_> = coded
                    .as_bytes()
                    .chunks(76)
                    .map(|l| String::from_utf8_lossy(l).into_owned())
                    .collect();
                part(&headers, &lines.join("\n"));
            }
        }
    }
    text.push_str(&format!("\n--{BOUNDARY}--\n"));
    text
}

fn kind(text: &str) -> Option<&'static str> {
    let known = TYPES.iter().find(|(first, _)| text.starts_with(first));
    known.map(|(_, kind)| *kind)
}

/// Reads the user's `user_data` and checks that cloud-init understands it, because nobody would see an error in the
/// guest.
///
/// # Errors
/// Fails with the file, and with line and column if possible.
pub(crate) fn read_user_data(path: &Path) -> Result<String> {
    let shown = path.display();
    let bytes = fs_err::read(path).context("user_data")?;
    if bytes.len() > LONGEST {
        bail!(
            "user_data: {shown} has {} bytes; expected {LONGEST} or less",
            bytes.len()
        );
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        anyhow::anyhow!(
            "user_data: {shown} is not text: byte {} is not UTF-8",
            e.utf8_error().valid_up_to() + 1
        )
    })?;
    match kind(&text) {
        Some("text/cloud-config") => check_yaml(&text)
            .map_err(|e| anyhow::anyhow!("user_data: {shown}:{e}"))
            .map(|()| text),
        Some(_) => Ok(text),
        None => bail!(
            "user_data: cloud-init does not know the first line of {shown}; write `#cloud-config` there, or `#!/bin/sh` for a script"
        ),
    }
}

/// Checks that the text is a mapping or empty.
fn check_yaml(text: &str) -> Result<(), String> {
    let mut depth = 0_u32;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| {
            let at = e.marker();
            format!("{}:{}: {}", at.line(), at.col() + 1, e.info())
        })?;
        match event {
            Event::SequenceStart(..) | Event::Scalar(..) if depth == 0 => {
                return Err(format!(
                    "{}:{}: expected a mapping, `key: value`",
                    span.start.line(),
                    span.start.col() + 1
                ));
            }
            Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
            Event::MappingEnd | Event::SequenceEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
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
        let text = user_data_of(&config, Some("#!/bin/sh\necho hello\n"));
        assert!(text.starts_with("Content-Type: multipart/mixed"));
        assert!(text.contains("#cloud-config\n{"));
        assert!(text.contains("text/x-shellscript") && text.contains("Merge-Type: list(append)"));
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

    #[test]
    fn bad_input_28_user_data_that_cloud_init_would_drop_is_refused_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("u");
        let say = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_user_data(&path).map_err(|e| format!("{e:#}"))
        };
        say(b"#cloud-config\npackages: [vim]\n").unwrap();
        say(b"#cloud-config\n").unwrap();
        say(b"#!/bin/sh\n: not yaml {\n").unwrap();
        assert!(
            say(b"packages: [vim]\n")
                .unwrap_err()
                .contains("#cloud-config")
        );
        let error = say(b"#cloud-config\na: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(error.contains("u:4:") || error.contains("u:3:"), "{error}");
        let error = say(b"#cloud-config\n- a\n").unwrap_err();
        assert!(error.contains("u:2:1: expected a mapping"), "{error}");
        assert!(
            say(b"#cloud-config\n\xff\xfe")
                .unwrap_err()
                .contains("byte 15 is not UTF-8")
        );
        let long = [b"#!".as_slice(), &vec![b'x'; LONGEST]].concat();
        assert!(say(&long).unwrap_err().contains("or less"));
        assert!(read_user_data(&dir.path().join("none")).is_err());
    }
}
