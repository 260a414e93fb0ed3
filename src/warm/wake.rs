//! Waking: a QEMU that awaits a state is given a frozen machine's, and runs.

use std::path::Path;

use anyhow::Result;
use kvmc_qmp::Client;

use crate::node::savestate;

/// Loads the device state at `state`, and lets the guest run; its disk is made `disk` bytes before.
///
/// Its network is still cut: nothing of it may talk before it is itself.
///
/// # Errors
/// The step that QEMU refused, in its words; the guest has not run then.
pub(crate) async fn wake(qmp: &Client, state: &Path, disk: Option<u64>) -> Result<()> {
    savestate::load(qmp, state).await?;
    if let Some(size) = disk {
        savestate::resize(qmp, size).await?;
    }
    qmp.execute(qapi_qmp::cont {}).await?;
    Ok(())
}
