//! The alias of a link, which names its owner.

use rtnetlink::{LinkUnspec, packet_route::link::LinkAttribute};

use super::{LinkError, Links};
use crate::Change;

impl Links {
    /// Sets a link's alias, `IFLA_IFALIAS`, of at most 255 bytes.
    pub async fn set_alias(&self, name: &str, alias: &str) -> Result<Change, LinkError> {
        let link = self.find(name).await?.ok_or_else(|| LinkError::Missing {
            name: name.to_owned(),
        })?;
        if link.alias.as_deref() == Some(alias) {
            return Ok(Change::Unchanged);
        }
        let message = LinkUnspec::new_with_index(link.index)
            .append_extra_attribute(LinkAttribute::IfAlias(alias.to_owned()))
            .build();
        self.change("alias", name, message).await?;
        Ok(Change::Changed)
    }
}
