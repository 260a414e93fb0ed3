//! `top`: a full screen of nodes. [`Top`] holds what is shown and obeys keys, and knows no terminal.

mod columns;
mod draw;
mod keys;
mod rows;
mod screen;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use self::keys::{Input, inputs};
pub(crate) use self::screen::FullScreen;
pub(crate) use self::state::{After, Top};
