//! Errors of links, addresses and routes.

use std::io;

use crate::{range::NameError, sysctl::SysctlError};

/// A link, address or route could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A netlink socket cannot be opened.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// [`Links::open`](super::Links::open) was called outside a tokio runtime.
    #[error("no tokio runtime to run the netlink connection on")]
    NoRuntime,
    /// The kernel refused a request.
    #[error("cannot {action}")]
    Request {
        /// The operation and its object.
        action: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A link cannot have the name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A link of the wanted name belongs to another program.
    #[error("`{name}` exists and is another program's: {what}")]
    Foreign {
        /// The link.
        name: String,
        /// The difference to the wanted link.
        what: String,
    },
    /// There is no link of this name.
    #[error("there is no link `{name}`")]
    Missing {
        /// The name.
        name: String,
    },
    /// The kernel accepted every request, but the link is not as wanted.
    #[error("`{name}` is not as it was set up: {what}")]
    ReadBack {
        /// The link.
        name: String,
        /// The difference to the wanted link.
        what: String,
    },
    /// The tun driver refused to make a tap.
    #[error("cannot create the tap `{name}`")]
    Tap {
        /// The tap.
        name: String,
        /// The driver's answer.
        source: io::Error,
    },
    /// A parameter of the link could not be set.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
}

/// Makes the error of a request; `action` is the operation and its object.
pub(super) fn request(
    action: impl FnOnce() -> String,
) -> impl FnOnce(rtnetlink::Error) -> LinkError {
    |error| LinkError::Request {
        action: action(),
        source: to_io(error),
    }
}

/// The errno in rtnetlink's error, if there is one.
pub(super) fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}
