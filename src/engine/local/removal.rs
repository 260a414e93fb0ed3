//! Carries out the steps of `stop` and `down`. It continues past errors and ends at a signal.

use std::time::Duration;

use anyhow::{Error, Result};

use crate::failpoint::failpoint;
use crate::interrupt::Interrupt;
use crate::model::NodeStop;
use crate::plan::Step;
use crate::state::{ClusterRecord, Phase};
use crate::steps::{Host, Object, leave, node};
use crate::trace;

/// The outcome of a removal.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// How each node stopped.
    pub(super) stopped: Vec<(String, NodeStop)>,
    /// The number of nodes that were killed.
    pub(super) killed: usize,
    /// All errors.
    pub(super) errors: Vec<Error>,
    /// A signal ended the removal early.
    pub(super) interrupted: bool,
    /// A host setting that stays switched on, with the reason.
    pub(super) kept: Vec<String>,
}

/// Carries out the steps. Each step that changes `record` writes it. `say` is called for each node as it stops.
///
/// # Errors
/// Fails only at a failpoint. All other errors are in the returned value.
pub(super) async fn carry_out(
    steps: &[Step],
    mut record: Option<&mut ClusterRecord>,
    host: Host<'_>,
    patience: Duration,
    interrupt: &mut Interrupt,
    say: &dyn Fn(&str, &NodeStop),
) -> Result<Removed> {
    let mut done = Removed::default();
    for step in steps {
        if interrupt.has_come().await {
            done.interrupted = true;
            return Ok(done);
        }
        if step.needs_all_before() && !done.errors.is_empty() {
            return Ok(done);
        }
        trace::verbose(|| step.to_string());
        match step {
            Step::Stop(nodes) => match node::stop(nodes, host, patience, interrupt, say).await? {
                node::Stopped::Done { nodes, errors } => {
                    done.stopped.extend(nodes);
                    done.errors.extend(errors);
                }
                node::Stopped::Interrupted => {
                    done.interrupted = true;
                    return Ok(done);
                }
            },
            Step::Kill(nodes) => done.killed += node::kill(nodes, host, &mut done.errors).await?,
            Step::Enter(phase) => {
                if let Some(record) = record.as_deref_mut() {
                    enter(*phase, record, host)?;
                }
            }
            Step::Remove(object) => {
                let errors = object.remove(record.as_deref_mut(), host, &mut done.kept);
                done.errors.extend(errors.await);
                removed(object, record.as_deref())?;
            }
            Step::Leave(_) => {
                if let Some(record) = record.as_deref_mut() {
                    leave::announce(record, host.dir)?;
                }
            }
            Step::Forget(nodes) => {
                if let Some(record) = record.as_deref_mut().filter(|_| done.errors.is_empty()) {
                    leave::forget(nodes, record, host.dir)?;
                }
            }
            // No removal contains these steps.
            Step::Make(_) => {}
        }
    }
    Ok(done)
}

fn enter(phase: Phase, record: &mut ClusterRecord, host: Host<'_>) -> Result<()> {
    record.phase = phase;
    record.save(host.dir)?;
    if phase == Phase::Removing {
        failpoint!("down.record");
    } else {
        failpoint!("stop.record");
    }
    Ok(())
}

/// The failpoints after an object's removal.
fn removed(object: &Object, record: Option<&ClusterRecord>) -> Result<()> {
    let is_down = record.is_none_or(|r| r.phase == Phase::Removing);
    match object {
        Object::Keeper(_) if !is_down => {
            failpoint!("stop.keeper.ended");
        }
        // The last of the host's network.
        Object::Forwarding(_) if is_down => {
            failpoint!("down.network");
        }
        _ => {}
    }
    Ok(())
}
