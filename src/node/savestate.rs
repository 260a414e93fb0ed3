//! Saves a machine's state to a file and loads it, with QEMU's settings before and after.
//!
//! The state is a QEMU migration stream. `x-ignore-shared` leaves out memory that others map (`share=on`).

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kvmc_qmp::Client;
use serde_json::{Value, json};

use super::cmdline::netdev;

/// Time to write or load half a megabyte of device state on a busy host.
const LONGEST: Duration = Duration::from_secs(60);
/// Interval between checks of a migration's progress.
const LOOK: Duration = Duration::from_millis(3);
/// The name under which QEMU gets the file.
const FD: &str = "state";

/// Writes the state of a stopped machine, without its shared memory, to a new file.
///
/// # Errors
/// Fails if the file cannot be made, or with QEMU's words.
pub(crate) async fn save(qmp: &Client, path: &Path) -> Result<()> {
    request(qmp, "migrate-set-capabilities", ignore_shared()).await?;
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    qmp.pass_fd(FD, file.into()).await?;
    request(qmp, "migrate", json!({ "uri": format!("fd:{FD}") })).await?;
    tokio::time::timeout(LONGEST, migrated(qmp))
        .await
        .context("saving its state takes too long")?
}

/// Loads a state into a machine that waits for one, and leaves it stopped. QEMU does not announce the guest to its
/// networks, because it still has the addresses of the saved machine.
///
/// # Errors
/// Fails if the file cannot be read, or with QEMU's words. The guest has not run then.
pub(crate) async fn load(qmp: &Client, path: &Path) -> Result<()> {
    let file = fs_err::File::open(path)?.into_parts().0;
    request(qmp, "migrate-set-capabilities", ignore_shared()).await?;
    load_whole(qmp, file).await
}

/// Loads a whole stream, memory included, into a machine that waits for one, and leaves it stopped.
///
/// # Errors
/// Like [`load`].
pub(crate) async fn load_whole(qmp: &Client, file: File) -> Result<()> {
    let silent = json!({ "announce-rounds": 0 });
    request(qmp, "migrate-set-parameters", silent).await?;
    qmp.pass_fd(FD, file.into()).await?;
    let uri = json!({ "uri": format!("fd:{FD}") });
    request(qmp, "migrate-incoming", uri).await?;
    tokio::time::timeout(LONGEST, migrated(qmp))
        .await
        .context("loading its state takes too long")?
}

/// Saves the state of a stopped machine's devices into a descriptor set that was added for writing. With `hands_over`,
/// QEMU also gives up the disks, and the machine cannot go on.
///
/// # Errors
/// Fails with QEMU's words.
pub(crate) async fn save_devices(qmp: &Client, set: u64, hands_over: bool) -> Result<()> {
    let arguments = json!({ "filename": format!("/dev/fdset/{set}"), "live": hands_over });
    request(qmp, "xen-save-devices-state", arguments).await?;
    Ok(())
}

/// Removes a descriptor set. QEMU closes its descriptors when nothing uses them any more.
///
/// # Errors
/// Fails with QEMU's words.
pub(crate) async fn remove_set(qmp: &Client, set: u64) -> Result<()> {
    request(qmp, "remove-fd", json!({ "fdset-id": set })).await?;
    Ok(())
}

/// Resizes disks, given by their block nodes, to so many bytes, as the guest sees them.
///
/// # Errors
/// Fails with QEMU's words.
pub(crate) async fn resize(qmp: &Client, disks: &[(String, u64)]) -> Result<()> {
    for (name, size) in disks {
        let arguments = json!({ "node-name": name, "size": size });
        request(qmp, "block_resize", arguments).await?;
    }
    Ok(())
}

/// Connects a guest's NICs to their networks, or disconnects them.
///
/// # Errors
/// Fails with QEMU's words.
pub(crate) async fn set_links(qmp: &Client, nics: usize, up: bool) -> Result<()> {
    for number in 0..nics {
        let arguments = json!({ "name": netdev(number), "up": up });
        request(qmp, "set_link", arguments).await?;
    }
    Ok(())
}

/// Arguments of `migrate-set-capabilities`.
fn ignore_shared() -> Value {
    json!({ "capabilities": [{ "capability": "x-ignore-shared", "state": true }] })
}

async fn request(qmp: &Client, name: &str, arguments: Value) -> Result<Value> {
    const DEADLINE: Duration = Duration::from_secs(30);
    qmp.request(name, arguments, DEADLINE)
        .await
        .with_context(|| format!("QEMU refused {name}"))
}

/// Waits for the end of a migration, in or out.
async fn migrated(qmp: &Client) -> Result<()> {
    loop {
        let answer = request(qmp, "query-migrate", json!({})).await?;
        let text = |key| answer.get(key).and_then(Value::as_str);
        match text("status").unwrap_or("none") {
            "completed" => return Ok(()),
            status @ ("failed" | "cancelled") => bail!(
                "the migration is {status}: {}",
                text("error-desc").unwrap_or("no reason given")
            ),
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}
