//! Ends QEMUs that stand by for a process that has ended without doing so.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::served::Served;
use super::standby::{Standby, end_others};
use crate::state::{ClusterDir, ClusterRecord, Lock};

/// Waiting for a process is done in steps, so that each wait has a limit.
const STEP: Duration = Duration::from_secs(3600);
/// A verb may hold the cluster's lock as long as nodes take to start.
const LOCK: Duration = Duration::from_secs(3600);

impl Served {
    /// Ends what stands by once the process that it is for has ended without doing so.
    pub(super) fn watch_standby(self: &Arc<Self>) -> Result<()> {
        let Some(standby) = Standby::read(&self.dir)? else {
            return Ok(());
        };
        match self.watched.lock() {
            Ok(watched) if watched.as_ref() == Some(&standby) => return Ok(()),
            Ok(mut watched) => *watched = Some(standby.clone()),
            Err(_) => return Ok(()),
        }
        let served = Arc::clone(self);
        tokio::spawn(async move {
            if let Some(by) = standby.by.open() {
                while !by.ended(STEP).await {}
            }
            // The next verb tries again.
            let _not_ended = end_left(&served.dir, &standby).await;
        });
        Ok(())
    }
}

async fn end_left(dir: &ClusterDir, of: &Standby) -> Result<()> {
    if Standby::read(dir)?.as_ref() != Some(of) {
        return Ok(());
    }
    let _lock = Lock::take(dir, "end of try", LOCK).await?;
    match ClusterRecord::load(dir)? {
        // A verb may have ended them, or another may have others.
        Some(record) if Standby::read(dir)?.as_ref() == Some(of) => end_others(dir, &record).await,
        _ => Ok(()),
    }
}
