//! Why a link verb failed.

use std::io;

use crate::{range::NameError, sysctl::SysctlError};

/// A link, address or route could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No netlink socket to be had.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// [`Links::open`](super::Links::open) was called outside a tokio runtime.
    #[error("no tokio runtime to run the netlink connection on")]
    NoRuntime,
    /// The kernel refused a request.
    #[error("cannot {action}")]
    Request {
        /// What was tried, and on which object.
        action: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The name is not fit for a link.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A link has the wanted name and is not the wanted object.
    #[error("`{name}` exists and is another's: {what}")]
    Foreign {
        /// The link.
        name: String,
        /// How it differs from the wanted one.
        what: String,
    },
    /// No link of this name.
    #[error("there is no link `{name}`")]
    Missing {
        /// The name.
        name: String,
    },
    /// The kernel took every request, and yet the link is not as asked.
    #[error("`{name}` was set up but reads back wrong: {what}")]
    ReadBack {
        /// The link.
        name: String,
        /// How it differs from the wanted one.
        what: String,
    },
    /// The tun driver refused.
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

/// Makes the error of a request that was to do `action`.
pub(super) fn request(
    action: impl FnOnce() -> String,
) -> impl FnOnce(rtnetlink::Error) -> LinkError {
    |error| LinkError::Request {
        action: action(),
        source: to_io(error),
    }
}

/// The errno in what rtnetlink returned, where there is one.
pub(super) fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}
