//! `image`.

mod removal;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use kvmc_images::{Architecture, Boot, Image, Origin, Store, Unpacked, download, is_archive};
use serde_json::json;

use removal::{prune, remove, sleepers, users};

use super::Scene;
use crate::cli::{ImageCommand, TakeFlags};
use crate::host;
use crate::image::{self, Asked, build, recipe};
use crate::interrupt::{INTERRUPTED, Interrupt};
use crate::output;
use crate::spec::{approximate, check};
use crate::warm;

pub(super) async fn run(scene: &Scene, command: ImageCommand) -> Result<ExitCode> {
    let store = Store::open(scene.state.root());
    match command {
        ImageCommand::Build(mut how) if how.is_in_a_machine() => {
            let flags = how.take_settings();
            return super::build::run(scene, &store, &how, &flags).await;
        }
        ImageCommand::Commit { node, tag } => {
            return super::build::commit(scene, &store, &node, &tag).await;
        }
        ImageCommand::Export { image, file, arch } => {
            let image = image::in_store(&store, &image, architecture(arch.as_deref())?)?;
            return export(&store, &image, &file);
        }
        ImageCommand::Build(mut how) => {
            check_tag(&store, how.tag.as_deref())?;
            let settings = scene.settings(&how.take_settings())?;
            let recipe = recipe(&check(&settings)?)?;
            let image = match store.find(&recipe)? {
                Some(image) => image,
                None => {
                    super::up::fail_on(&host::build_tools(recipe.architecture))?;
                    let interrupt = Interrupt::listen()?;
                    match build(&store, &recipe) {
                        Err(_) if interrupt.came() => {
                            output::talk("interrupted; nothing is left of the template");
                            return Ok(ExitCode::from(INTERRUPTED));
                        }
                        image => image?,
                    }
                }
            };
            finish(&store, &image, how.tag.as_deref())?;
        }
        ImageCommand::Ls { json, catalogue } => match (catalogue, json) {
            (true, json) => list_catalogue(json)?,
            (false, true) => list_json(scene, &store)?,
            (false, false) => list(scene, &store)?,
        },
        ImageCommand::Pull {
            image,
            how,
            sums,
            insecure,
        } => {
            let mut interrupt = Interrupt::listen()?;
            let pulled = tokio::select! {
                biased;
                pulled = pull(&store, &image, &how, sums, insecure) => pulled,
                () = interrupt.wait() => Err(anyhow::anyhow!("interrupted")),
            };
            match pulled {
                Err(_) if interrupt.came() => {
                    output::talk(
                        "interrupted; no image was made, and the next pull goes on with what came",
                    );
                    return Ok(ExitCode::from(INTERRUPTED));
                }
                pulled => pulled?,
            }
        }
        ImageCommand::Import { file, how } => {
            let interrupt = Interrupt::listen()?;
            match import(&store, &file, &how) {
                Err(_) if interrupt.came() => {
                    output::talk("interrupted; no image was made");
                    return Ok(ExitCode::from(INTERRUPTED));
                }
                imported => imported?,
            }
        }
        ImageCommand::Inspect {
            image,
            arch,
            json,
            verify,
        } => {
            let image = image::in_store(&store, &image, architecture(arch.as_deref())?)?;
            if verify {
                store.verify(&image)?;
            }
            inspect(scene, &store, &image, json, verify);
        }
        ImageCommand::Rm { image, arch } => {
            let image = image::in_store(&store, &image, architecture(arch.as_deref())?)?;
            remove(scene, &store, &image)?;
        }
        ImageCommand::Prune { all } => prune(scene, &store, all)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The architecture asked for, or the host's.
fn architecture(asked: Option<&str>) -> Result<Architecture> {
    match asked {
        Some(asked) => Ok(asked.parse()?),
        None => Architecture::host().context("say which architecture with --arch"),
    }
}

fn firmware(asked: Option<&str>, architecture: Architecture) -> Result<Boot> {
    match asked {
        None => Ok(image::firmware(architecture)),
        Some("bios") if architecture == Architecture::Amd64 => Ok(Boot::Bios),
        Some("uefi") => Ok(Boot::Uefi),
        Some(other) => {
            bail!("firmware: {architecture} has no `{other}`; bios (amd64) and uefi are known")
        }
    }
}

async fn pull(
    store: &Store,
    name: &str,
    how: &TakeFlags,
    sums: Option<String>,
    insecure: bool,
) -> Result<()> {
    let architecture = architecture(how.arch.as_deref())?;
    check_tag(store, how.tag.as_deref())?;
    let asked = Asked {
        refresh: true,
        insecure: insecure || sums.is_some(),
    };
    let mut pull = match image::named(name, architecture, asked)? {
        Some(pull) => pull,
        None if name.contains("://") => image::at(name, architecture, asked)?,
        None => bail!(
            "the catalogue has no `{name}`; `kvmc image ls --catalogue` shows it, and an address can be pulled too"
        ),
    };
    if let Some(sums) = sums {
        pull.verification = download::Verification::Listed {
            sums,
            signature: None,
            keyrings: Vec::new(),
        };
    }
    if how.firmware.is_some() {
        pull.boot = firmware(how.firmware.as_deref(), architecture)?;
    }
    let image = image::pull(store, &pull).await?;
    finish(store, &image, how.tag.as_deref())
}

fn import(store: &Store, file: &Path, how: &TakeFlags) -> Result<()> {
    check_tag(store, how.tag.as_deref())?;
    if is_archive(file)? {
        return import_archive(store, file, how);
    }
    let architecture = architecture(how.arch.as_deref())?;
    let boot = firmware(how.firmware.as_deref(), architecture)?;
    let path = std::path::absolute(file)?;
    let name = image::name_of(&path.display().to_string());
    let image = download::import(store, &path, &name, architecture, boot)
        .with_context(|| format!("{} cannot be used", file.display()))?;
    output::talk(&image::line(&image));
    finish(store, &image, how.tag.as_deref())
}

/// Takes what `export` wrote, under its name there unless another is asked for, or has it here.
fn import_archive(store: &Store, file: &Path, how: &TakeFlags) -> Result<()> {
    if how.arch.is_some() || how.firmware.is_some() {
        bail!(
            "{} says itself what architecture and firmware it is for; leave --arch and --firmware out",
            file.display()
        );
    }
    let Unpacked { image, tag } = store
        .unpack(file)
        .with_context(|| format!("{} cannot be used", file.display()))?;
    output::talk(&image::line(&image));
    let mut name = how.tag.clone();
    if let (None, Some(tag)) = (&name, tag) {
        let taken = store.named(&tag, image.architecture)?;
        if taken.as_ref().is_some_and(|t| t.id != image.id) || image::catalogue()?.has(&tag) {
            output::talk(&format!(
                "it was called `{tag}`, which is another image's name here; `-t NAME` gives it one"
            ));
        } else {
            name = Some(tag);
        }
    }
    finish(store, &image, name.as_deref())
}

fn export(store: &Store, image: &Image, file: &Path) -> Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    match store.export(image, file) {
        Err(_) if interrupt.came() => {
            output::talk("interrupted; nothing of the file is left");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        exported => exported?,
    }
    let size = std::fs::metadata(file).map_or(0, |m| m.len());
    output::talk(&format!(
        "{} in {}, {}",
        image::line(image),
        file.display(),
        approximate(size)
    ));
    Ok(ExitCode::SUCCESS)
}

/// A tag that the catalogue has would hide one of the two.
pub(super) fn check_tag(store: &Store, tag: Option<&str>) -> Result<()> {
    let Some(tag) = tag else { return Ok(()) };
    store.check_tag(tag)?;
    if image::catalogue()?.has(tag) {
        bail!("the catalogue has the name `{tag}`; take another one");
    }
    Ok(())
}

pub(super) fn finish(store: &Store, image: &Image, tag: Option<&str>) -> Result<()> {
    if let Some(tag) = tag {
        store.tag(image, tag)?;
    }
    output::data(&format!("{}\n", image.id));
    Ok(())
}

fn list(scene: &Scene, store: &Store) -> Result<()> {
    let mut rows = Vec::new();
    let frozen = warm::Store::open(scene.state.root()).list()?;
    for image in store.list()? {
        rows.push(vec![
            image.id.clone(),
            image::names(store, &image).join(" "),
            image.architecture.to_string(),
            approximate(image.virtual_size),
            kind(store, &image)?,
            users(scene, store, &image.id)?.join(" "),
        ]);
        for frozen in frozen.iter().filter(|f| f.shape().image == image.id) {
            rows.push(vec![
                format!("  {}", frozen.id),
                format!("frozen, {}, disk {}", frozen.shape(), frozen.disk_size()),
                String::new(),
                approximate(frozen.size()),
                String::new(),
                sleepers(scene, &frozen.id).join(" "),
            ]);
        }
    }
    output::data(&output::table(
        &["IMAGE", "NAME", "ARCH", "SIZE", "WHAT", "USED BY"],
        &rows,
    ));
    Ok(())
}

fn kind(store: &Store, image: &Image) -> Result<String> {
    let verified = match &image.origin {
        Origin::Pulled { checksum: None, .. } => ", UNVERIFIED",
        _ => "",
    };
    let outdated = if image::is_outdated(store, image)? {
        ", outdated"
    } else {
        ""
    };
    Ok(format!(
        "{}, {}{verified}{outdated}",
        image.guest.name(),
        image.boot.name()
    ))
}

fn list_json(scene: &Scene, store: &Store) -> Result<()> {
    let images = store.list()?;
    let images: Result<Vec<_>> = images.iter().map(|i| as_json(scene, store, i)).collect();
    output::data(&format!("{:#}\n", json!(images?)));
    Ok(())
}

fn as_json(scene: &Scene, store: &Store, image: &Image) -> Result<serde_json::Value> {
    let frozen = warm::Store::open(scene.state.root()).list()?;
    let frozen: Vec<_> = frozen
        .iter()
        .filter(|f| f.shape().image == image.id)
        .map(|f| json!({ "id": f.id, "size": f.size(), "clusters": sleepers(scene, &f.id) }))
        .collect();
    Ok(json!({
        "id": image.id, "name": image.name, "tags": store.tags(&image.id),
        "architecture": image.architecture, "boot": image.boot, "guest": image.guest,
        "origin": image.origin, "parent": image.parent, "created": image.created,
        "virtual_size": image.virtual_size, "size": store.size(image),
        "outdated": image::is_outdated(store, image)?,
        "digest": format!("sha256:{}", image.digest()),
        "used_by": users(scene, store, &image.id)?, "frozen": frozen,
    }))
}

fn list_catalogue(as_json: bool) -> Result<()> {
    let catalogue = image::catalogue()?;
    if as_json {
        let all: Vec<_> = catalogue
            .entries()
            .map(|(name, entry)| {
                let urls: serde_json::Map<_, _> = Architecture::ALL
                    .into_iter()
                    .filter_map(|a| Some((a.to_string(), json!(entry.of(a)?.url))))
                    .collect();
                json!({ "name": name, "about": entry.about, "urls": urls })
            })
            .collect();
        output::data(&format!("{:#}\n", json!(all)));
        return Ok(());
    }
    let rows: Vec<_> = catalogue
        .entries()
        .map(|(name, entry)| {
            let has = |a: &Architecture| entry.of(*a).is_some();
            let for_which: Vec<_> = Architecture::ALL.into_iter().filter(has).collect();
            let for_which: Vec<_> = for_which.iter().map(ToString::to_string).collect();
            vec![name.to_owned(), for_which.join(" "), entry.about.clone()]
        })
        .collect();
    output::data(&output::table(&["NAME", "ARCH", "ABOUT"], &rows));
    Ok(())
}

fn inspect(scene: &Scene, store: &Store, image: &Image, json: bool, verified: bool) {
    if json {
        match as_json(scene, store, image) {
            Ok(value) => output::data(&format!("{value:#}\n")),
            Err(e) => output::error(&e),
        }
        return;
    }
    let mut rows = vec![
        ("image", image.id.clone()),
        ("name", image.name.clone()),
        ("tags", store.tags(&image.id).join(" ")),
        ("architecture", image.architecture.to_string()),
        ("starts by", image.boot.name().to_owned()),
        ("identity by", image.guest.name().to_owned()),
        ("from", image.origin.words()),
        ("lies on", image.parent.clone().unwrap_or_default()),
        ("disk", approximate(image.virtual_size)),
        ("on this host", approximate(store.size(image))),
        ("sha256", image.digest().to_owned()),
        ("files", image.directory.display().to_string()),
        (
            "used by",
            users(scene, store, &image.id).unwrap_or_default().join(" "),
        ),
    ];
    if let Origin::Pulled {
        checksum, keyring, ..
    } = &image.origin
    {
        let unverified = || "none: --insecure".to_owned();
        rows.push(("publisher's", checksum.clone().unwrap_or_else(unverified)));
        rows.push(("signed by", keyring.clone().unwrap_or_default()));
    }
    if verified {
        rows.push(("content", "as it came into the store".to_owned()));
    }
    let text: String = rows
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name:<13} {value}\n"))
        .collect();
    output::data(&text);
}
