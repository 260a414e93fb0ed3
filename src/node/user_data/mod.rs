//! The user's `user_data` in every form that cloud-init reads: brought to plain text, and checked, because nobody would
//! see cloud-init's errors in the guest.
//!
//! Reference: cloud-init's "User-data formats"; its `user_data.py` and `handlers/`.

mod content;
mod fault;
mod form;
mod gzip;
mod message;
mod yaml;

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use self::gzip::LONGEST;
pub(super) use self::message::is_message;

/// Reads the user's `user_data` as plain text, without blank lines at its start.
///
/// # Errors
/// Fails where cloud-init would leave out a part of it, with the file, and with line and column if possible.
pub(crate) fn read_user_data(path: &Path) -> Result<String> {
    let shown = path.display();
    let bytes = fs_err::read(path).context("user_data")?;
    if bytes.len() > LONGEST {
        bail!(
            "user_data: {shown} has {} bytes; expected {LONGEST} or less",
            bytes.len()
        );
    }
    let text = plain(bytes).map_err(|why| anyhow!("user_data: {shown} {why}"))?;
    let content = text.trim_start();
    if content.is_empty() {
        bail!("user_data: {shown} is empty");
    }
    let blank = text.get(..text.len() - content.len()).unwrap_or_default();
    let checked = match is_message(content) {
        true => message::check(content),
        false => content::check(content),
    };
    checked.map_err(|fault| {
        let fault = fault.after_lines(blank.matches('\n').count());
        anyhow!("user_data: {shown}{fault}")
    })?;
    Ok(content.to_owned())
}

/// The text of a file, unpacked if gzip packed it.
fn plain(bytes: Vec<u8>) -> Result<String, String> {
    let bytes = if bytes.starts_with(gzip::MAGIC) {
        gzip::gunzip(&bytes)?
    } else {
        bytes
    };
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to() + 1;
        format!("is not text: byte {at} is not UTF-8")
    })
}

#[cfg(test)]
mod tests;
