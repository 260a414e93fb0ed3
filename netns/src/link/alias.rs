//! A link's alias: a word for people, and for finding again whose it is.

use rtnetlink::{LinkUnspec, packet_route::link::LinkAttribute};

use super::{LinkError, Links};
use crate::Change;

impl Links {
    /// Gives a link its alias, `IFLA_IFALIAS`: at most 255 bytes.
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
