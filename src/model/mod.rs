//! What is shown and sent: types that every room may see. No effects, and nothing below but the members.

mod accelerator;
mod board;
mod cause;
mod progress;
mod stage;

pub(crate) use accelerator::Accelerator;
pub(crate) use board::{Board, NodeView, Vitals};
pub(crate) use cause::Cause;
pub(crate) use progress::Progress;
pub(crate) use stage::Stage;
