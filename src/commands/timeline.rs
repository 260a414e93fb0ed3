//! `timeline`.

use std::path::Path;

use anyhow::Result;

use super::Session;
use crate::cli::TimelineFlags;
use crate::model::Exit;
use crate::output;

pub(super) fn run(session: &Session, flags: &TimelineFlags) -> Result<Exit> {
    let timeline = session.engine()?.timeline()?;
    if let Some(file) = &flags.svg {
        write(file, &output::timeline_svg(&timeline))?;
    }
    if let Some(file) = &flags.html {
        write(file, &output::timeline_html(&timeline))?;
    }
    if flags.svg.is_none() && flags.html.is_none() {
        output::timeline(&timeline, flags.json)?;
    }
    Ok(Exit::Done)
}

fn write(file: &Path, picture: &str) -> Result<()> {
    fs_err::write(file, picture)?;
    output::talk(&format!("{} is written", file.display()));
    Ok(())
}
