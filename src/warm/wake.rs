//! Waking: a QEMU that awaits a state is given one, and runs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_qmp::Client;
use serde_json::json;

use super::freeze::{ignore_shared, migrated, request};
use crate::node::cmdline::{TOP_DISK, netdev};

/// Loading half a megabyte, on a host that does much else.
const LOAD: Duration = Duration::from_secs(60);

/// Loads the device state at `state`, and lets the guest run; its disk is made `disk` bytes before.
///
/// Its network is still cut: nothing of it may talk before it is itself.
///
/// # Errors
/// The step that QEMU refused, in its words; the guest has not run then.
pub(crate) async fn wake(qmp: &Client, state: &Path, disk: Option<u64>) -> Result<()> {
    let file = fs_err::File::open(state)?.into_parts().0;
    request(qmp, "migrate-set-capabilities", ignore_shared()).await?;
    // Nor is QEMU to announce the frozen machine's address to the network on its behalf.
    request(
        qmp,
        "migrate-set-parameters",
        json!({ "announce-rounds": 0 }),
    )
    .await?;
    qmp.pass_fd("state", file.into()).await?;
    request(qmp, "migrate-incoming", json!({ "uri": "fd:state" })).await?;
    tokio::time::timeout(LOAD, migrated(qmp))
        .await
        .context("its state takes too long to load")??;
    if let Some(size) = disk {
        resize(qmp, size).await?;
    }
    qmp.execute(qapi_qmp::cont {}).await?;
    Ok(())
}

/// Makes the disk `size` bytes, as the guest sees it.
///
/// # Errors
/// QEMU's.
pub(crate) async fn resize(qmp: &Client, size: u64) -> Result<()> {
    let arguments = json!({ "node-name": TOP_DISK, "size": size });
    request(qmp, "block_resize", arguments).await.map(drop)
}

/// Connects the guest's cards to their networks.
///
/// # Errors
/// QEMU's.
pub(crate) async fn connect(qmp: &Client, cards: usize) -> Result<()> {
    for number in 0..cards {
        let arguments = json!({ "name": netdev(number), "up": true });
        request(qmp, "set_link", arguments).await?;
    }
    Ok(())
}
