//! `man`: writes the manual pages.

use std::path::Path;

use anyhow::{Context, Result};

use crate::cli;
use crate::model::Exit;

/// Writes a page for kvmc and one for each verb, such as `kvmc-image-ls.1`.
pub(super) fn run(folder: &Path) -> Result<Exit> {
    fs_err::create_dir_all(folder)?;
    clap_mangen::generate_to(cli::plain_command(), folder).with_context(|| {
        format!(
            "the manual pages cannot be written into {}",
            folder.display()
        )
    })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("man1");
        run(&folder).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        for page in [
            "kvmc.1",
            "kvmc-up.1",
            "kvmc-image-ls.1",
            "kvmc-forward-add.1",
        ] {
            let text = read(page);
            assert!(
                text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"),
                "{page}: {text}"
            );
        }
        assert!(!folder.join("kvmc-keeper.1").exists());
        assert!(read("kvmc-events.1").contains("after this number"));
    }
}
