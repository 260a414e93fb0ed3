//! Prepares a cloud image: does its first start once, in a machine without a network.

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
use crate::node::{MemorySource, Nics, Parts, disks, listen, pflash, seed_user_data, template_mac};
use crate::spec::Bytes;

/// Bytes that a first start needs.
const RAM: Bytes = Bytes::mib(1024);
/// Time for a whole first start with cloud-init's last stage, emulated and beside other machines.
const FIRST_START: Duration = Duration::from_secs(600);

/// Makes the prepared image with kvmc's agent from `image`, unless it exists.
///
/// # Errors
/// Fails if the image cannot be prepared; nothing is left then.
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
        .context("the disk of a machine to prepare cannot be made")?;
    let mut machine = start(dir, image, accelerator)?;
    let prepared = match drive(&machine, dir).await {
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
        cpu: accelerator.cpu(image.architecture).to_owned(),
        source: MemorySource::Boot,
        disks: disks(&[dir.join("disk.qcow2")], &image.layers)?,
        extra: Vec::new(),
        nics: Nics::Nowhere(1),
        seed: Some(std::fs::File::open(dir.join("seed.img")).context("the seed is missing")?),
        pflash: pflash(image, &dir.join("uefi-vars.fd"))?,
        qmp: listen(&dir.join("qmp.sock"))?,
        console: listen(&dir.join("console.sock"))?,
        agent: listen(&dir.join("agent.sock"))?,
    };
    Machine::start(parts, dir)
}

/// The seed holds no node's data. The traces of the start are removed from the disk afterwards.
fn write_seed(path: &Path) -> Result<()> {
    let user = seed_user_data(None, &kvmc_images::prepare::user_data(ADMIN), None);
    let meta = json!({ "instance-id": ids::random_id(), "local-hostname": "template" });
    // The NIC is optional, so that the boot does not wait for a network that never comes.
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

/// Drives a paused QEMU until its guest has reported that it is prepared.
async fn drive(machine: &Machine, dir: &Path) -> Result<()> {
    let mut session = machine.open(dir).await?;
    let console = tokio::spawn(copy(session.console, dir.join("console.log")));
    session.qmp.execute(qapi_qmp::cont {}).await?;
    tokio::time::timeout(FIRST_START, verdict(&mut session.said, &mut session.events))
        .await
        .context("the first start of the image does not end")??;
    // The guest powers itself off, after which its disk is completely written.
    let off = async { while session.events.next().await.is_some() {} };
    tokio::time::timeout(FIRST_START, off)
        .await
        .context("the guest does not power off")?;
    console.abort();
    Ok(())
}

/// Waits for the guest's report on whether the image can be prepared.
async fn verdict(said: &mut Events, events: &mut Events) -> Result<()> {
    loop {
        tokio::select! {
            event = said.next() => match event {
                Some(event) => match agent::Event::parse(&event.name, &event.data) {
                    Some(agent::Event::Prepared) => return Ok(()),
                    Some(agent::Event::Unfit(why)) => {
                        bail!("{}", why.as_deref().unwrap_or("the guest reports that the image cannot be prepared"));
                    }
                    _ => {}
                },
                None => bail!("the machine ended before the image was prepared"),
            },
            event = events.next() => if event.is_none() {
                bail!("the machine ended before the image was prepared");
            },
        }
    }
}
