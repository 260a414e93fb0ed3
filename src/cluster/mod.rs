//! The order of steps for up, stop, start and down, each with its undo.

mod artifacts;
mod boot;
mod doubts;
mod down;
mod forward;
mod prepared;
mod record;
mod stop;
#[cfg(test)]
pub(crate) mod tests;
mod traces;
mod undo;
mod up;
mod warm;

#[cfg(test)]
pub(crate) use boot::last_event;
pub(crate) use doubts::doubts;
pub(crate) use down::{Doomed, Removed, down};
pub(crate) use forward::{add as add_forwards, remove as remove_forwards};
pub(crate) use prepared::{prepare_images, unprepared};
pub(crate) use record::design;
pub(crate) use stop::{Outcome, Stopped, stop};
pub(crate) use traces::{Traces, traces};
pub(crate) use up::{Ground, Upped, Work, check_disks, look, preflight, steps, up};
pub(crate) use warm::{Warm, missing, prepare, shared};
