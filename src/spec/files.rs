//! `[files]` and `[inventory]`: the folder of the files for Ansible and ssh, and what the inventory holds.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Settings of the files for Ansible and ssh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FilesSpec {
    /// An absolute path; none for the folder in which `up` is first run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) folder: Option<PathBuf>,
    /// The inventory holds the ssh password.
    #[serde(default = "yes")]
    pub(crate) password: bool,
}

const fn yes() -> bool {
    true
}

impl Default for FilesSpec {
    fn default() -> Self {
        Self {
            folder: None,
            password: true,
        }
    }
}

impl FilesSpec {
    pub(super) fn new(folder: &str, password: bool) -> Self {
        Self {
            folder: (!folder.is_empty()).then(|| PathBuf::from(folder)),
            password,
        }
    }

    /// The folder that was asked for by name.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    pub(super) fn folder_asked(&self) -> String {
        let folder = self.folder.as_ref();
        folder.map_or_else(String::new, |f| f.display().to_string())
    }
}
