//! New writable images above the disks of a running machine.
//!
//! The file is a block node of its own. As a nested child, QEMU could not make the image below read-only, and the guest
//! would not go on.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_qmp::Client;
use serde_json::{Value, json};

use super::cmdline::{TOP_DISK, extra_disk};
use super::savestate::remove_set;

/// Longest time for a command about images.
const LONGEST: Duration = Duration::from_secs(30);

/// An image that QEMU has open above a disk, and that is not the disk's yet.
#[derive(Debug)]
pub(crate) struct Overlay {
    /// The block node of the disk's writable image.
    top: String,
    /// The block node of the new one.
    node: String,
    set: u64,
}

impl Overlay {
    /// Opens an empty image to go above `top`. `file` is open for reading and writing, `name` is the image's file name.
    ///
    /// # Errors
    /// Fails with QEMU's words.
    pub(crate) async fn open(qmp: &Client, top: &str, file: File, name: &str) -> Result<Self> {
        let set = qmp.add_fd(file.into()).await?;
        let node = name.strip_suffix(".qcow2").unwrap_or(name).to_owned();
        let overlay = Self {
            top: top.to_owned(),
            node,
            set,
        };
        let opened = overlay.add(qmp).await;
        if opened.is_err() {
            overlay.close(qmp).await;
        }
        opened.map(|()| overlay)
    }

    async fn add(&self, qmp: &Client) -> Result<()> {
        let file = format!("{}-file", self.node);
        let below = json!({
            "driver": "file",
            "node-name": file,
            "filename": format!("/dev/fdset/{}", self.set),
            "discard": "unmap",
        });
        request(qmp, "blockdev-add", below).await?;
        let image = json!({
            "driver": "qcow2",
            "node-name": self.node,
            "file": file,
            "backing": null,
            "discard": "unmap",
        });
        request(qmp, "blockdev-add", image).await?;
        Ok(())
    }

    /// Makes it the writable image of its disk, over the one before. The machine is stopped.
    ///
    /// # Errors
    /// Fails with QEMU's words.
    pub(crate) async fn take_over(&self, qmp: &Client) -> Result<()> {
        let arguments = json!({ "node": self.top, "overlay": self.node });
        request(qmp, "blockdev-snapshot", arguments).await?;
        Ok(())
    }

    /// Closes it where it did not become a disk's.
    pub(crate) async fn close(&self, qmp: &Client) {
        for node in [self.node.clone(), format!("{}-file", self.node)] {
            let _not_there = request(qmp, "blockdev-del", json!({ "node-name": node })).await;
        }
        let _not_there = remove_set(qmp, self.set).await;
    }
}

/// The block nodes of the disks' writable images, the main disk first.
///
/// # Errors
/// Fails with QEMU's words, or if QEMU does not know the main disk.
pub(crate) async fn tops(qmp: &Client) -> Result<Vec<String>> {
    let blocks = request(qmp, "query-block", json!({})).await?;
    let nodes = blocks.as_array().into_iter().flatten();
    let nodes = nodes.filter_map(|b| b.get("inserted")?.get("node-name")?.as_str());
    let nodes: Vec<_> = nodes.collect();
    let all = std::iter::once(("disk".to_owned(), TOP_DISK.to_owned()))
        .chain((1..).map(|number| (extra_disk(number), extra_disk(number))));
    let found = all.map_while(|(stem, first)| {
        let later = format!("{stem}.");
        let is_it = |node: &&&str| **node == first || node.starts_with(&later);
        nodes.iter().find(is_it).map(|node| (*node).to_owned())
    });
    let found: Vec<_> = found.collect();
    anyhow::ensure!(!found.is_empty(), "QEMU does not know the node's disk");
    Ok(found)
}

async fn request(qmp: &Client, name: &str, arguments: Value) -> Result<Value> {
    qmp.request(name, arguments, LONGEST)
        .await
        .with_context(|| format!("QEMU refused {name}"))
}
