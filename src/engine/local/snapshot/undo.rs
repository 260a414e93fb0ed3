//! Undoes what a tried command did to the nodes, and tells what that was.

use anyhow::Result;

use super::rollback::Around;
use super::standby::Standing;
use crate::engine::local::Local;
use crate::interrupt::Interrupt;
use crate::model::{NodeDiff, RolledBack};
use crate::snapshot::Name;
use crate::state::ClusterRecord;

/// What was undone.
#[derive(Debug)]
pub(crate) struct Undone {
    pub(crate) back: RolledBack,
    /// What the nodes had written to their disks.
    pub(crate) changed: Result<Vec<NodeDiff>>,
    /// A signal came meanwhile. It changed nothing.
    pub(crate) interrupted: bool,
}

impl Local {
    /// Brings the whole cluster back to a snapshot, by QEMUs that stand by if that is possible. They are ended in any case.
    ///
    /// # Errors
    /// Like [`Self::roll_back`].
    pub(crate) async fn undo(&self, name: &Name, mut standing: Option<Standing>) -> Result<Undone> {
        let mut interrupt = Interrupt::listen()?;
        let mut changed = Ok(Vec::new());
        // The nodes run again before their old disks are looked at.
        let mut look = |before: &ClusterRecord| changed = self.changes_since(before, name);
        let around = Around {
            standing: &mut standing,
            before_removal: &mut look,
        };
        let back = self.go_back(name, false, around, &mut interrupt).await;
        if let Some(unused) = standing {
            unused.end(self).await?;
        }
        Ok(Undone {
            back: back?,
            changed,
            interrupted: interrupt.came(),
        })
    }
}
