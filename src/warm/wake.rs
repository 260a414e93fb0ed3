//! Wakes a node: gives a waiting QEMU a frozen machine's state, and resumes it.

use std::path::Path;

use anyhow::Result;
use kvmc_qmp::Client;

use crate::node::savestate;

/// Loads the device state at `state`, resizes `disks`, and resumes the guest.
///
/// The guest's NICs stay disconnected, because it must not send anything before it has its own identity. `before` changes
/// its memory before it runs.
///
/// # Errors
/// Fails with QEMU's words if it refuses a step. The guest has not run then.
pub(crate) async fn wake(
    qmp: &Client,
    state: &Path,
    disks: &[(String, u64)],
    before: impl FnOnce(),
) -> Result<()> {
    savestate::load(qmp, state).await?;
    before();
    savestate::resize(qmp, disks).await?;
    qmp.execute(qapi_qmp::cont {}).await?;
    Ok(())
}
