//! The missing and outdated files for Ansible and ssh of a cluster whose record is the wanted one.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::bench::Workbench;
use crate::node::Secrets;
use crate::project;
use crate::state::{ClusterRecord, read_json};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) folder: PathBuf,
    pub(crate) names: Vec<&'static str>,
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "restore {} in {}",
            self.names.join(", "),
            self.folder.display()
        )
    }
}

impl Files {
    pub(super) fn make(&self, record: &ClusterRecord, bench: Workbench<'_>) -> Result<()> {
        let dir = bench.host.dir;
        let secrets = read_json::<Secrets>(&dir.secrets())?.context("the keys are gone")?;
        for text in project::write(record, &secrets, dir, false)? {
            bench.progress.say(&text);
        }
        Ok(())
    }
}
