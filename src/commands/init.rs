//! `init` and `schema`: the cluster file and its schema.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};

use super::Session;
use crate::cli::InitFlags;
use crate::convert::{Carried, from_libvirt, from_vagrant};
use crate::hint::{bail_with_hint, command, host_command};
use crate::model::{Exit, Usage};
use crate::output;
use crate::project::write_own;
use crate::spec::{commented, json_schema};

const FILE: &str = "kvmc.toml";

pub(super) fn init(session: &Session, flags: &InitFlags) -> Result<Exit> {
    if !flags.force && std::fs::symlink_metadata(FILE).is_ok() {
        let force = host_command("init --force");
        bail_with_hint!(format!("{force} replaces it"), "{FILE} exists");
    }
    let carried = match (&flags.from_libvirt, &flags.from_vagrant) {
        (Some(path), _) => from_libvirt(&read(path)?, &path.display().to_string())?,
        (None, Some(path)) => from_vagrant(&read(path)?, &path.display().to_string())?,
        (None, None) => Carried::default_cluster(session.named_by_flag()?),
    };
    write_own(Path::new(FILE), &commented(&carried.live), 0o644, true)?;
    output::notes(FILE, &carried.from, &carried.notes);
    output::talk(&format!(
        "{} creates the cluster, {} shows what the file sets",
        command(&carried.cluster, "up"),
        command(&carried.cluster, "config")
    ));
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<String> {
    /// More than any such file has, in bytes.
    const LARGEST: u64 = 4 << 20;
    let mut bytes = Vec::new();
    let file = fs_err::File::open(path)?;
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    anyhow::ensure!(
        bytes.len() as u64 <= LARGEST,
        "{} is larger than {} MiB",
        path.display(),
        LARGEST >> 20
    );
    String::from_utf8(bytes)
        .ok()
        .with_context(|| format!("{} is not UTF-8 text", path.display()))
}

pub(super) fn schema(of: Option<&str>) -> Result<Exit> {
    match of {
        None => output::json(&json_schema())?,
        Some(verb) => {
            let schema = output::schema_of(verb).ok_or_else(|| {
                let verbs: Vec<_> = output::REPORTS.iter().map(|(verb, _)| *verb).collect();
                Usage(format!(
                    "--of: `{}` is no verb whose shape is known; expected {}",
                    verb.escape_debug(),
                    verbs.join(", ")
                ))
            })?;
            output::json(&schema)?;
        }
    }
    Ok(Exit::Done)
}
