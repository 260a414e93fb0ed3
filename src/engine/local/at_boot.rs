//! Clusters that start with the host.

use anyhow::Result;

use super::Local;
use crate::state::{ClusterRecord, Phase, remove_file};

impl Local {
    /// The clusters that ran when the host shut down or lost power. A cluster whose record cannot be read is an error.
    pub(crate) fn to_start_with_host(&self) -> Vec<Result<Self>> {
        let wants = |local: &Self| {
            let record = local.load()?;
            let is_marked = || local.dir().at_boot().exists();
            anyhow::Ok(record.is_some_and(|r| r.host_rebooted || is_marked()))
        };
        let mut all = Vec::new();
        for name in self.state.cluster_names() {
            let local = self.of(&name);
            match wants(&local) {
                Ok(true) => all.push(Ok(local)),
                Ok(false) => {}
                Err(e) => all.push(Err(e.context(format!("cluster `{name}` was not started")))),
            }
        }
        all
    }

    /// The running clusters.
    pub(crate) fn running(&self) -> Vec<Self> {
        let runs = |record: &ClusterRecord| matches!(record.phase, Phase::Up | Phase::Starting);
        let names = self.state.cluster_names().into_iter();
        names
            .map(|name| self.of(&name))
            .filter(|local| local.load().is_ok_and(|r| r.is_some_and(|r| runs(&r))))
            .collect()
    }

    /// Marks whether the cluster starts with the host.
    ///
    /// # Errors
    /// Fails if the mark cannot be written or removed.
    pub(crate) fn set_at_boot(&self, wanted: bool) -> Result<()> {
        let mark = self.dir().at_boot();
        if wanted {
            Ok(fs_err::write(mark, "")?)
        } else {
            remove_file(&mark)
        }
    }
}
