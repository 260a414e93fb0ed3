//! Router advertisements (RFC 4861), from which guests form their addresses (RFC 4862): the messages, and the loop that
//! sends them.

mod message;
mod routing;
mod server;

pub use message::{Advertisement, is_solicitation};
pub use server::{RaError, Server};
