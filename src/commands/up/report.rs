//! What `up` and `start` say.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::cluster::Upped;
use crate::host::cores;
use crate::image::Make;
use crate::interrupt::INTERRUPTED;
use crate::model::Accelerator;
use crate::node::vcpus;
use crate::output::{self, seconds};
use crate::plan::Step;
use crate::state::ClusterRecord;
use crate::warm;

/// It was told to stop, and did so before anything of the cluster was made; what there is now.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; {0}")]
pub(super) struct Interrupted(pub(super) &'static str);

pub(super) fn interrupted(what_now: &str) -> ExitCode {
    output::talk(&format!("interrupted; {what_now}"));
    ExitCode::from(INTERRUPTED)
}

pub(super) fn finish(record: &ClusterRecord, upped: Upped, began: Instant) -> Result<ExitCode> {
    let (started, failed) = match upped {
        Upped::Done { started, failed } => (started, failed),
        Upped::Interrupted { taken_back: true } => {
            return Ok(interrupted("nothing is left of what was made"));
        }
        Upped::Interrupted { taken_back: false } => {
            return Ok(interrupted(
                "`kvmc up` goes on from here, `kvmc down` removes what there is",
            ));
        }
    };
    for (name, why) in &failed {
        output::talk(&format!("error: {name}: {why}"));
    }
    if !failed.is_empty() {
        bail!(
            "{} of {} nodes are not ready; `kvmc up` tries again, `kvmc down` removes the cluster",
            failed.len(),
            record.nodes.len()
        );
    }
    summary(record, started.len(), began);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn print_plan(
    steps: &[Step],
    to_make: &[&Make],
    prepare: &[String],
    missing: &[warm::Shape],
) -> ExitCode {
    let make = to_make.iter().map(|m| format!("{m}\n"));
    let prepare = prepare
        .iter()
        .map(|name| format!("prepare the image {name}\n"));
    let make: String = make.chain(prepare).collect();
    let frozen: String = missing
        .iter()
        .map(|shape| format!("freeze a machine of {shape}\n"))
        .collect();
    let rest: String = steps.iter().map(|s| format!("{s}\n")).collect();
    output::data(&(make + &frozen + &rest));
    ExitCode::SUCCESS
}

pub(super) fn say_accelerator(record: &ClusterRecord) {
    let Accelerator::Tcg { why, .. } = &record.accelerator else {
        return;
    };
    let asked = record.spec.vcpus;
    let given = vcpus(asked, &record.accelerator);
    let held = if given < asked {
        format!(
            "; {given} of {asked} vcpus a node, the host has {} cores",
            cores()
        )
    } else {
        String::new()
    };
    output::talk(&format!("emulating with TCG, slowly ({why}){held}"));
}

fn summary(record: &ClusterRecord, started: usize, began: Instant) {
    if started == 0 {
        output::talk(&format!(
            "cluster `{}` is whole again; all its nodes were running",
            record.spec.name
        ));
        return;
    }
    output::talk(&format!(
        "cluster `{}`: {started} of {} nodes started, all ready in {}",
        record.spec.name,
        record.nodes.len(),
        seconds(began.elapsed())
    ));
    // Elsewhere there is no inventory, and images are built in machines that nobody is to enter.
    if std::env::current_dir().is_ok_and(|here| here == record.project) {
        output::talk("  kvmc ssh master0\n  ansible -i inventory all -m ping");
    }
}
