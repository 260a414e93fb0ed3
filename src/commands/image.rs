//! `image`.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Session;
use crate::cli::{BuildFlags, ImageCommand, TakeFlags};
use crate::engine::Local;
use crate::engine::local::{BuildRequest, BuildSource, ImportRequest, PullRequest, catalogue};
use crate::model::{Exit, ImagePruning, ImageRemoval};
use crate::output;
use crate::spec::approximate;

pub(super) async fn run(session: &Session, command: ImageCommand) -> Result<Exit> {
    // Images are all clusters', and files come from addresses that this host reaches. Only a node is where its cluster is.
    let engine = match &command {
        ImageCommand::Commit { .. } => session.engine()?,
        _ => session.outside()?,
    };
    match command {
        ImageCommand::Build(flags) => {
            let json = flags.json;
            made(&engine, &build(session, &engine, *flags).await?, json)?;
        }
        ImageCommand::Commit { node, tag, json } => {
            made(&engine, &engine.commit_image(&node, &tag).await?, json)?;
        }
        ImageCommand::Export {
            image,
            file,
            arch,
            json,
        } => {
            let (exported, words) = engine.export_image(&image, arch.as_deref(), &file)?;
            output::talk(&words);
            output::outcome(json, &exported)?;
        }
        ImageCommand::Ls {
            json,
            catalogue: true,
        } => output::catalogue(&catalogue()?, json)?,
        ImageCommand::Ls { json, .. } => output::images(&engine.images()?, json)?,
        ImageCommand::Pull {
            image,
            how,
            sums,
            insecure,
            json,
        } => {
            let request = PullRequest {
                image,
                take: take(how),
                sums,
                insecure,
            };
            made(&engine, &engine.pull_image(request).await?, json)?;
        }
        ImageCommand::Import { file, how, json } => {
            made(&engine, &engine.import_image(&file, &take(how))?, json)?;
        }
        ImageCommand::Inspect {
            image,
            arch,
            json,
            verify,
        } => output::image(&engine.image(&image, arch.as_deref(), verify)?, json)?,
        ImageCommand::Rm { image, arch, json } => {
            let removed = engine.remove_image(&image, arch.as_deref())?;
            output::outcome(json, &ImageRemoval { removed })?;
        }
        ImageCommand::Prune { all, json } => {
            let freed = engine.prune_images(all)?;
            output::talk(&match freed {
                0 => "nothing to remove".to_owned(),
                bytes => format!("{} freed", approximate(bytes)),
            });
            output::outcome(json, &ImagePruning { freed })?;
        }
    }
    Ok(Exit::Done)
}

/// Builds the template, or an image in a machine, and returns its digest.
async fn build(session: &Session, engine: &Local, flags: BuildFlags) -> Result<String> {
    if !flags.is_in_a_machine() {
        let settings = session.settings(engine, flags.layer())?;
        return engine.build_template(&settings, flags.tag.as_deref());
    }
    let machine = engine.of(&Local::build_cluster());
    let request = BuildRequest {
        settings: session.settings(&machine, flags.layer())?,
        tag: flags.tag,
        timeout: flags.timeout.map(Duration::from_secs),
        source: BuildSource {
            from: flags.from,
            run: flags.run,
            copy: flags.copy,
        },
    };
    machine.build_image(request).await
}

fn take(flags: TakeFlags) -> ImportRequest {
    ImportRequest {
        tag: flags.tag,
        architecture: flags.arch,
        firmware: flags.firmware,
    }
}

/// Prints the digest of an image that is there now, or with `as_json` everything known about it.
fn made(engine: &Local, id: &str, as_json: bool) -> Result<()> {
    if !as_json {
        output::data(&format!("{id}\n"));
        return Ok(());
    }
    let images = engine.images()?;
    let image = images.iter().find(|image| image.id == id);
    let image = image.with_context(|| format!("image {id} is gone again"))?;
    output::outcome(true, image)
}
