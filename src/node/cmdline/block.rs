//! QEMU's switches for disks.

use std::os::fd::RawFd;

use serde_json::json;

use super::switches::Switch;

/// `-add-fd`
#[derive(Debug)]
pub(crate) struct AddFd {
    pub(crate) fd: RawFd,
    pub(crate) set: u32,
}

impl Switch for AddFd {
    fn name(&self) -> &'static str {
        "-add-fd"
    }
    fn value(&self) -> String {
        format!("fd={},set={}", self.fd, self.set)
    }
}

/// `-blockdev` in its JSON form, which needs no escaping.
#[derive(Debug)]
pub(crate) struct Blockdev(serde_json::Map<String, serde_json::Value>);

impl Blockdev {
    pub(crate) fn file(node_name: &str, filename: &str, read_only: bool) -> Self {
        Self::new("file", node_name, read_only).with("filename", json!(filename))
    }

    pub(crate) fn qcow2(node: &str, file: &str, backing: Option<&str>, read_only: bool) -> Self {
        let this = Self::new("qcow2", node, read_only).with("file", json!(file));
        match backing {
            Some(backing) => this.with("backing", json!(backing)),
            // Whatever its header names.
            None => this.with("backing", serde_json::Value::Null),
        }
    }

    pub(crate) fn raw(node: &str, file: &str, read_only: bool) -> Self {
        Self::new("raw", node, read_only).with("file", json!(file))
    }

    fn new(driver: &str, node_name: &str, read_only: bool) -> Self {
        let this = Self(serde_json::Map::new())
            .with("driver", json!(driver))
            .with("node-name", json!(node_name));
        if read_only {
            this.with("read-only", json!(true))
        } else {
            this.with("discard", json!("unmap"))
        }
    }

    fn with(mut self, key: &str, value: serde_json::Value) -> Self {
        self.0.insert(key.to_owned(), value);
        self
    }
}

impl Switch for Blockdev {
    fn name(&self) -> &'static str {
        "-blockdev"
    }
    fn value(&self) -> String {
        serde_json::Value::Object(self.0.clone()).to_string()
    }
}
