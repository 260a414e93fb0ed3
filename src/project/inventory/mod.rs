//! Ansible's inventory: what it says, and the forms in which it says so.

mod data;
mod ini;
mod json;
mod plugin;
mod script;
mod yaml;

use anyhow::{Context, Result};

pub(crate) use self::data::Inventory;
pub(super) use self::ini::inventory as ini_file;
pub(crate) use self::plugin::{CONFIG as PLUGIN_CONFIG, PLUGIN};
pub(crate) use self::script::script as inventory_script;

/// A form of the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InventoryFormat {
    /// The form that `up` writes.
    Ini,
    Yaml,
    /// The form that Ansible reads from programs.
    Json,
}

impl Inventory {
    /// The whole inventory as text.
    ///
    /// # Errors
    /// Fails if JSON cannot represent a value.
    pub(crate) fn text(&self, format: InventoryFormat) -> Result<String> {
        match format {
            InventoryFormat::Ini => Ok(ini::text(self)),
            InventoryFormat::Yaml => Ok(yaml::text(self)),
            InventoryFormat::Json => json::list(self),
        }
    }

    /// The variables of one host, in the form that Ansible reads from programs.
    ///
    /// # Errors
    /// Fails if there is no such host.
    pub(crate) fn host(&self, name: &str) -> Result<String> {
        let host = self.hosts.iter().find(|(host, _)| host == name);
        let (_, vars) = host.with_context(|| {
            let names: Vec<_> = self.hosts.iter().map(|(n, _)| n.as_str()).collect();
            format!(
                "cluster `{}` has no node `{name}`; expected {}",
                self.cluster,
                names.join(", ")
            )
        })?;
        json::host(vars)
    }
}
