//! The doors for programs: the Model Context Protocol, and JSON lines on a socket. Both ask for the same verbs, which run as
//! processes of their own, so that each has its signals, its locks and its output.

mod child;
mod mcp;
mod serve;
mod verb;

pub(crate) use self::mcp::mcp;
pub(crate) use self::serve::serve;
#[cfg(test)]
pub(crate) use self::serve::understood;
