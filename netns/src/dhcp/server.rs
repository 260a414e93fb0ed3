//! A DHCP server on one bridge.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use dhcproto::v4::SERVER_PORT;
use tokio::sync::mpsc;

use super::lease_file::LeaseFile;
use super::service::{Event, Service};
use super::sockets::{ServerError, Sockets};
use super::table::Table;
use crate::{Protocol, ports};

/// A server on one bridge.
#[derive(Debug)]
pub struct Server(Sockets);

impl Server {
    /// Takes port 67 on a bridge. Needs a tokio runtime, CAP_NET_RAW and CAP_NET_BIND_SERVICE.
    ///
    /// # Errors
    /// Another process has the port, or a system call failed.
    pub fn bind(bridge: &str) -> Result<Self, ServerError> {
        Sockets::open(bridge).map(Self)
    }

    /// Checks that no process has port 67 of all links: a bridge that does not exist yet could then not get it. A process
    /// that serves only its own links does not matter.
    ///
    /// # Errors
    /// A process has the port.
    pub fn check_free(bridge: &str) -> Result<(), ServerError> {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        match ports::holder_on_all(Protocol::Udp, any, SERVER_PORT) {
            None => Ok(()),
            holder => Err(ServerError::PortTaken {
                bridge: bridge.to_owned(),
                holder,
            }),
        }
    }

    /// Serves until the socket fails, and keeps `lease_file` up to date.
    ///
    /// # Errors
    /// The socket failed, as when the bridge is gone.
    pub async fn run(
        self,
        table: Arc<Mutex<Table>>,
        events: mpsc::Sender<Event>,
        lease_file: Option<LeaseFile>,
    ) -> Result<(), ServerError> {
        Service::new(self.0, table, events, lease_file).run().await
    }
}
