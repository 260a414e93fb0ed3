//! Reads a Vagrantfile line by line. Nothing of it is run, so what is not plain in it is listed.

mod expression;
mod lines;
mod machine;
mod provider;
mod reader;
mod settings;
mod words;

use anyhow::Result;

use self::reader::Reader;
use super::draft::Carried;

/// Makes a cluster file from a Vagrantfile.
///
/// # Errors
/// Fails if its blocks are not closed, or if its settings do not fit together.
pub(crate) fn from_vagrant(text: &str, from: &str) -> Result<Carried> {
    let items = lines::blocks(text).map_err(|why| anyhow::anyhow!("{from}:{why}"))?;
    let mut reader = Reader::new(from);
    reader.read(&items);
    reader.finish()
}
