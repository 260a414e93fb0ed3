//! `image`.

use std::time::Duration;

use anyhow::Result;

use super::Session;
use crate::cli::{BuildFlags, ImageCommand, TakeFlags};
use crate::engine::Local;
use crate::engine::local::{BuildRequest, BuildSource, ImportRequest, PullRequest, catalogue};
use crate::model::Exit;
use crate::output;
use crate::spec::approximate;

pub(super) async fn run(session: &Session, command: ImageCommand) -> Result<Exit> {
    let engine = session.engine()?;
    match command {
        ImageCommand::Build(flags) => digest(&build(session, &engine, *flags).await?),
        ImageCommand::Commit { node, tag } => digest(&engine.commit_image(&node, &tag).await?),
        ImageCommand::Export { image, file, arch } => {
            output::talk(&engine.export_image(&image, arch.as_deref(), &file)?);
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
        } => {
            let request = PullRequest {
                image,
                take: take(how),
                sums,
                insecure,
            };
            digest(&engine.pull_image(request).await?);
        }
        ImageCommand::Import { file, how } => digest(&engine.import_image(&file, &take(how))?),
        ImageCommand::Inspect {
            image,
            arch,
            json,
            verify,
        } => output::image(&engine.image(&image, arch.as_deref(), verify)?, json)?,
        ImageCommand::Rm { image, arch } => engine.remove_image(&image, arch.as_deref())?,
        ImageCommand::Prune { all } => {
            let bytes = engine.prune_images(all)?;
            output::talk(&match bytes {
                0 => "nothing to remove".to_owned(),
                bytes => format!("{} freed", approximate(bytes)),
            });
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

fn digest(id: &str) {
    output::data(&format!("{id}\n"));
}
