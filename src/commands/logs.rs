//! `logs`.

use std::time::SystemTime;

use anyhow::Result;

use super::Session;
use crate::cli::LogFlags;
use crate::engine::{LogRequest, Reach};
use crate::model::{Exit, Usage};
use crate::output;

/// Lines of each node that are shown before those that come.
const BEFORE: usize = 10;

pub(super) async fn run(session: &Session, flags: LogFlags) -> Result<Exit> {
    let since = flags.since.as_deref().map(time).transpose()?;
    let request = LogRequest {
        targets: flags.targets,
        follow: flags.follow,
        journal: flags.journal,
        since,
        lines: flags.lines.or(flags.follow.then_some(BEFORE)),
    };
    let form = match (flags.json, flags.raw) {
        (true, _) => output::LogForm::Json,
        (false, true) => output::LogForm::Raw,
        (false, false) => output::LogForm::Plain,
    };
    let printed = output::Logs::new(form);
    let is_interrupted = session.engine()?.logs(&request, &printed).await?;
    Ok(match is_interrupted {
        true => Exit::Interrupted,
        false => Exit::Done,
    })
}

/// A time in seconds since 1970, of an age or a time.
fn time(text: &str) -> Result<f64> {
    let time = match humantime::parse_duration(text) {
        Ok(age) => SystemTime::now().checked_sub(age),
        Err(_) => humantime::parse_rfc3339_weak(text).ok(),
    };
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    let since = since.ok_or_else(|| {
        Usage(format!(
            "--since: `{}` is no age or time; expected such as 10m, 2h or 2026-01-31T12:00:00Z",
            text.escape_debug()
        ))
    })?;
    Ok(since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_an_age_or_a_time_as_printed() {
        assert_eq!(time("1970-01-01T00:01:00Z").unwrap(), 60.0);
        assert_eq!(time("1970-01-01T00:01:00.250Z").unwrap(), 60.25);
        let ago = crate::ids::now() - time("10m").unwrap();
        assert!((599.0..610.0).contains(&ago), "{ago}");
        for bad in ["", "yesterday", "-5m", "99999999999y"] {
            let error = time(bad).unwrap_err().to_string();
            assert!(error.contains("is no age or time"), "{error}");
        }
    }
}
