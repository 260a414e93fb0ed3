//! Descriptor sets and block nodes, as far as a snapshot needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;

use serde_json::{Value, json};

#[derive(Debug, Default)]
pub(crate) struct Blocks {
    sets: BTreeMap<u64, OwnedFd>,
    last: u64,
    nodes: BTreeSet<String>,
    /// The writable images of the disks.
    tops: Vec<String>,
}

impl Blocks {
    pub(crate) fn new(drives: &[String]) -> Self {
        Self {
            last: 100,
            tops: drives.to_vec(),
            ..Self::default()
        }
    }

    /// `add-fd`
    pub(crate) fn add_fd(&mut self, fd: OwnedFd) -> u64 {
        self.last += 1;
        self.sets.insert(self.last, fd);
        self.last
    }

    /// `remove-fd`
    pub(crate) fn remove_fd(&mut self, set: u64) -> Result<(), String> {
        let removed = self.sets.remove(&set);
        removed
            .map(drop)
            .ok_or_else(|| format!("File descriptor named 'fdset-id:{set}' not found"))
    }

    /// A set by its path, such as `/dev/fdset/3`.
    pub(crate) fn file(&self, path: &str) -> Result<File, String> {
        let set = path
            .strip_prefix("/dev/fdset/")
            .and_then(|s| s.parse().ok());
        let fd = set.and_then(|set: u64| self.sets.get(&set));
        let fd = fd.ok_or_else(|| format!("Could not open '{path}'"))?;
        Ok(File::from(fd.try_clone().map_err(|e| e.to_string())?))
    }

    /// `blockdev-add`
    pub(crate) fn add(&mut self, arguments: &Value) -> Result<(), String> {
        let text = |key: &str| arguments[key].as_str().unwrap_or_default().to_owned();
        match text("driver").as_str() {
            "file" => drop(self.file(&text("filename"))?),
            _ if !self.nodes.contains(&text("file")) => {
                return Err(format!("Cannot find device '{}'", text("file")));
            }
            _ => {}
        }
        if !self.nodes.insert(text("node-name")) {
            return Err("Duplicate nodes with node-name".to_owned());
        }
        Ok(())
    }

    /// `blockdev-del`
    pub(crate) fn delete(&mut self, node: &str) -> Result<(), String> {
        if self.tops.iter().any(|top| top == node) {
            return Err(format!("Block device {node} is in use"));
        }
        match self.nodes.remove(node) {
            true => Ok(()),
            false => Err(format!("Failed to find node with node-name='{node}'")),
        }
    }

    /// `blockdev-snapshot`
    pub(crate) fn snapshot(&mut self, node: &str, overlay: &str) -> Result<(), String> {
        if !self.nodes.contains(overlay) {
            return Err(format!("Cannot find device '{overlay}'"));
        }
        let top = self.tops.iter_mut().find(|top| *top == node);
        overlay.clone_into(top.ok_or_else(|| format!("Cannot find device '{node}'"))?);
        Ok(())
    }

    /// `query-block`
    pub(crate) fn query(&self) -> Value {
        let each = self.tops.iter();
        each.map(|top| json!({ "device": "", "inserted": { "node-name": top } }))
            .collect()
    }
}
