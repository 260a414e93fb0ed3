//! Preparing: a cloud image's first start, done once, in a machine without a network.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kvmc_images::{Image, agent, qcow2, seed};
use kvmc_qmp::Events;
use serde_json::json;

use super::freeze::{Machine, check_room, copy, ended, failed};
use super::store::Store;
use crate::host::cores;
use crate::ids;
use crate::model::Accelerator;
use crate::node::identity::ADMIN;
use crate::node::{
    Nics, Parts, Sockets, Source, disks, listen, pflash, seed_user_data, template_mac,
};
use crate::spec::Bytes;

/// What a first start takes, in bytes.
const RAM: Bytes = Bytes::mib(1024);
/// A whole first start, cloud-init's last stage included, emulated and beside others.
const FIRST_START: Duration = Duration::from_secs(600);

/// The image with the agent that is made of `image`, unless it is there already.
///
/// # Errors
/// Why it cannot be had; nothing of it is left.
pub(crate) async fn prepare(
    warm: &Store,
    images: &kvmc_images::Store,
    image: &Image,
    accelerator: &Accelerator,
) -> Result<Image> {
    let (folder, _lock) = warm.workshop(&format!("prepare-{}", image.id)).await?;
    if let Some(prepared) = images.prepared(image)? {
        return Ok(prepared);
    }
    let dir = folder.path();
    check_room(dir)?;
    let disk = dir.join("disk.qcow2");
    qcow2::create_overlay(&disk, &image.disk(), image.virtual_size)
        .context("failed to make the disk of a machine to prepare")?;
    let mut machine = start(dir, image, accelerator)?;
    let prepared = match drive(dir).await {
        Ok(()) => ended(&mut machine).await,
        Err(e) => Err(e),
    };
    prepared.map_err(|e| failed(e, &mut machine, dir))?;
    drop(machine);
    Ok(images.keep_prepared(image, &disk)?)
}

fn start(dir: &Path, image: &Image, accelerator: &Accelerator) -> Result<Machine> {
    let uuid = ids::uuid(&ids::random_id());
    write_seed(&dir.join("seed.img"))?;
    let parts = Parts {
        name: "kvmc-prepare",
        uuid: &uuid,
        image,
        accelerator,
        vcpus: cores().min(2),
        ram: RAM,
        source: Source::Boot,
        disks: disks(&dir.join("disk.qcow2"), &image.layers)?,
        nics: Nics::Nowhere(1),
        seed: Some(std::fs::File::open(dir.join("seed.img")).context("the seed is gone")?),
        pflash: pflash(image, &dir.join("uefi-vars.fd"))?,
        qmp: listen(&dir.join("qmp.sock"))?,
        console: listen(&dir.join("console.sock"))?,
        agent: listen(&dir.join("agent.sock"))?,
    };
    Machine::start(parts, dir)
}

/// Nothing in it is anybody's, and what the start makes of it is taken out of the disk again.
fn write_seed(path: &Path) -> Result<()> {
    let user = seed_user_data(&kvmc_images::prepare::user_data(ADMIN), None);
    let meta = json!({ "instance-id": ids::random_id(), "local-hostname": "template" });
    // Nobody waits for a NIC that nothing comes over.
    let network = json!({
        "version": 2,
        "ethernets": { "eth0": {
            "match": { "macaddress": template_mac(0).to_string() },
            "set-name": "eth0",
            "optional": true,
            "dhcp4": false,
            "link-local": [],
        } },
    });
    Ok(seed::write(
        path,
        &[
            ("user-data", user.as_bytes()),
            ("meta-data", meta.to_string().as_bytes()),
            ("network-config", network.to_string().as_bytes()),
        ],
    )?)
}

/// From a paused QEMU to a guest that has said that it is prepared.
async fn drive(dir: &Path) -> Result<()> {
    let mut session = Sockets::in_folder(dir).open().await?;
    let console = tokio::spawn(copy(session.console, dir.join("console.log")));
    session.qmp.execute(qapi_qmp::cont {}).await?;
    tokio::time::timeout(FIRST_START, verdict(&mut session.said, &mut session.events))
        .await
        .context("its first start does not come to its end")??;
    // It powers itself off, and all of its disk is written then.
    let off = async { while session.events.next().await.is_some() {} };
    tokio::time::timeout(FIRST_START, off)
        .await
        .context("it does not power off")?;
    console.abort();
    Ok(())
}

/// Waits for the guest's own words on whether it is fit.
async fn verdict(said: &mut Events, events: &mut Events) -> Result<()> {
    loop {
        tokio::select! {
            event = said.next() => match event {
                Some(event) => match agent::Event::parse(&event.name, &event.data) {
                    Some(agent::Event::Prepared) => return Ok(()),
                    Some(agent::Event::Unfit(why)) => {
                        bail!("{}", why.as_deref().unwrap_or("it says that it is not fit"));
                    }
                    _ => {}
                },
                None => bail!("it ended before it was prepared"),
            },
            event = events.next() => if event.is_none() {
                bail!("it ended before it was prepared");
            },
        }
    }
}
