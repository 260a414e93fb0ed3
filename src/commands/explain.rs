//! `explain`.

use anyhow::Result;

use crate::cli::ExplainFlags;
use crate::codes::{code, codes};
use crate::model::{Exit, Usage};
use crate::output;
use crate::spec::nearest;

pub(super) fn run(flags: &ExplainFlags) -> Result<Exit> {
    let Some(name) = &flags.code else {
        output::explain_all(flags.json)?;
        return Ok(Exit::Done);
    };
    let Some(code) = code(name) else {
        let names: Vec<_> = codes().map(|c| c.name).collect();
        let near = nearest(name, &names);
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let text = format!("unknown error code `{}`{near}", name.escape_debug());
        return Err(Usage(text).into());
    };
    output::explain(code, flags.json)?;
    Ok(Exit::Done)
}
