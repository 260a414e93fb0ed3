//! Ports of the host that guests may connect to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Protocol;

/// A port of the host, or a range of ports, that guests may connect to. As text `8080`, `69/udp` or
/// `30000-32767/tcp`; without a protocol it is TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct HostPort {
    /// The first port.
    pub first: u16,
    /// The last port; of a single port the same as the first.
    pub last: u16,
    /// The transport protocol.
    pub protocol: Protocol,
}

/// The text is not a port or a range of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid port `{0}`; expected a port such as 8080, 69/udp or 30000-32767/tcp")]
pub struct HostPortError(String);

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let error = || HostPortError(text.to_owned());
        let (ports, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(error()),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |text: &str| text.parse::<u16>().ok().filter(|p| *p > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self {
                first,
                last,
                protocol,
            }),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        write!(f, "/{}", self.protocol.name())
    }
}

impl From<HostPort> for String {
    fn from(port: HostPort) -> Self {
        port.to_string()
    }
}

impl TryFrom<String> for HostPort {
    type Error = HostPortError;

    fn try_from(text: String) -> Result<Self, HostPortError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_parsed_and_printed_and_an_error_names_the_text() {
        for (text, whole) in [
            ("8080", "8080/tcp"),
            ("69/udp", "69/udp"),
            ("30000-32767/tcp", "30000-32767/tcp"),
        ] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), whole);
        }
        for bad in [
            "", "0", "65536", "80/icmp", "9-8", "-1", "80/", "a", "1-2-3",
        ] {
            let error = bad.parse::<HostPort>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{bad}`")), "{error}");
        }
    }
}
