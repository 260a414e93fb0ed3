//! Forwards on the host's loopback addresses, relayed by this process. nft could only send a guest packets from
//! 127.0.0.1, which the guest cannot answer. Connections to other host addresses do not pass here.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use kvmc_netns::firewall::Protocol;
use kvmc_netns::outside::run_outside;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::spec::Forward;
use crate::state::ClusterRecord;

/// Most connections at once for each TCP forward, and most clients of a UDP forward.
const MOST: usize = 512;
/// Longest time to connect to a node on the same host.
const CONNECT: Duration = Duration::from_secs(5);
/// Idle time after which a UDP client is forgotten.
const IDLE: Duration = Duration::from_secs(60);
/// Largest UDP packet.
const LONGEST: usize = 65535;

/// The forwards that are served now.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    serving: Mutex<BTreeMap<Forward, Vec<AbortHandle>>>,
}

impl Forwards {
    /// Serves exactly the forwards of this record. Open connections stay open.
    ///
    /// # Errors
    /// Fails with the ports that cannot be opened. The other ports are served nevertheless.
    pub(super) fn follow(&self, record: &ClusterRecord) -> Result<()> {
        let mut serving = self
            .serving
            .lock()
            .map_err(|_| anyhow!("a task of the keeper panicked"))?;
        serving.retain(|forward, tasks| {
            let stays = record.forwards.contains(forward);
            if !stays {
                tasks.iter().for_each(AbortHandle::abort);
            }
            stays
        });
        let mut failed = Vec::new();
        for forward in &record.forwards {
            if serving.contains_key(forward) {
                continue;
            }
            match serve(forward, record) {
                Ok(tasks) => drop(serving.insert(forward.clone(), tasks)),
                Err(e) => failed.push(format!("{e:#}")),
            }
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(anyhow!("{}", failed.join("; ")))
        }
    }
}

/// The loopback addresses of a forward.
fn addresses(forward: &Forward) -> Vec<IpAddr> {
    match forward.address {
        None => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        Some(address) if address.is_loopback() => vec![address.into()],
        Some(_) => Vec::new(),
    }
}

fn serve(forward: &Forward, record: &ClusterRecord) -> Result<Vec<AbortHandle>> {
    let node = record.node(&forward.node)?;
    let to = SocketAddr::from((node.address(), forward.node_port));
    let mut tasks = Vec::new();
    for address in addresses(forward) {
        let at = SocketAddr::from((address, forward.port));
        let bound = match forward.protocol {
            Protocol::Tcp => listen(at).map(|l| tokio::spawn(relay_tcp(l, to))),
            Protocol::Udp => open(at).map(|s| tokio::spawn(relay_udp(s, to))),
        };
        match bound {
            Ok(task) => tasks.push(task.abort_handle()),
            // A host without IPv6 has no such address.
            Err(e) if address.is_ipv6() && e.kind() == ErrorKind::AddrNotAvailable => {}
            Err(e) if address.is_ipv6() && e.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => {}
            Err(e) => {
                tasks.iter().for_each(AbortHandle::abort);
                return Err(e)
                    .with_context(|| format!("forward `{forward}`: cannot listen on {at}"));
            }
        }
    }
    Ok(tasks)
}

fn listen(at: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = run_outside(|| std::net::TcpListener::bind(at))??;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn open(at: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = run_outside(|| std::net::UdpSocket::bind(at))??;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

async fn relay_tcp(listener: TcpListener, to: SocketAddr) {
    let slots = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let Ok((mut client, _)) = listener.accept().await else {
            // This happens when descriptors run out, for instance. Wait, to avoid a tight loop.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        tokio::spawn(async move {
            let _slot = slot;
            // If the node does not answer, the client's connection is closed.
            if let Ok(Ok(mut node)) = tokio::time::timeout(CONNECT, TcpStream::connect(to)).await {
                let _either_end_is_gone =
                    tokio::io::copy_bidirectional(&mut client, &mut node).await;
            }
        });
    }
}

/// Each client has its own socket to the node, so that answers find their way back.
async fn relay_udp(socket: UdpSocket, to: SocketAddr) {
    let socket = Arc::new(socket);
    let clients: Clients = Arc::default();
    let mut packet = vec![0; LONGEST];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut packet).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let known = clients
            .lock()
            .ok()
            .and_then(|c| c.get(&client).map(Arc::clone));
        let node = match known {
            Some(node) => node,
            None => match add_client(&socket, client, to, &clients).await {
                Some(node) => node,
                None => continue,
            },
        };
        let _lost = node.send(packet.get(..length).unwrap_or_default()).await;
    }
}

type Clients = Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>;

/// Opens a socket for a new client, and starts a task that returns the node's answers to it.
async fn add_client(
    socket: &Arc<UdpSocket>,
    client: SocketAddr,
    to: SocketAddr,
    clients: &Clients,
) -> Option<Arc<UdpSocket>> {
    let node = Arc::new(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok()?);
    node.connect(to).await.ok()?;
    {
        let mut clients = clients.lock().ok()?;
        if clients.len() >= MOST {
            return None;
        }
        clients.insert(client, Arc::clone(&node));
    }
    let (socket, answers, clients) = (Arc::clone(socket), Arc::clone(&node), Arc::clone(clients));
    tokio::spawn(async move {
        let mut packet = vec![0; LONGEST];
        // A closed port on the node ends the relay, as silence does.
        while let Ok(Ok(length)) = tokio::time::timeout(IDLE, answers.recv(&mut packet)).await {
            let answer = packet.get(..length).unwrap_or_default();
            let _lost = socket.send_to(answer, client).await;
        }
        if let Ok(mut clients) = clients.lock() {
            clients.remove(&client);
        }
    });
    Some(node)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

    #[tokio::test]
    async fn udp_clients_each_hear_their_own_answers() {
        let node = UdpSocket::bind(ANY).await.unwrap();
        let to = node.local_addr().unwrap();
        let host = UdpSocket::bind(ANY).await.unwrap();
        let at = host.local_addr().unwrap();
        tokio::spawn(relay_udp(host, to));
        tokio::spawn(async move {
            let mut packet = [0; 64];
            loop {
                let (length, client) = node.recv_from(&mut packet).await.unwrap();
                node.send_to(&packet[..length], client).await.unwrap();
            }
        });
        let clients = [
            UdpSocket::bind(ANY).await.unwrap(),
            UdpSocket::bind(ANY).await.unwrap(),
        ];
        for (i, client) in clients.iter().enumerate() {
            client.send_to(format!("{i}").as_bytes(), at).await.unwrap();
        }
        for (i, client) in clients.iter().enumerate() {
            let mut answer = [0; 64];
            let heard = tokio::time::timeout(CONNECT, client.recv_from(&mut answer));
            let (length, from) = heard.await.unwrap().unwrap();
            assert_eq!((&answer[..length], from), (format!("{i}").as_bytes(), at));
        }
    }

    #[tokio::test]
    async fn tcp_data_and_half_closes_pass_both_ways() {
        let node = TcpListener::bind(ANY).await.unwrap();
        let to = node.local_addr().unwrap();
        let host = TcpListener::bind(ANY).await.unwrap();
        let at = host.local_addr().unwrap();
        tokio::spawn(relay_tcp(host, to));
        let answer = tokio::spawn(async move {
            let (mut stream, _) = node.accept().await.unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.unwrap();
            heard.reverse();
            stream.write_all(&heard).await.unwrap();
        });
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(b"abc").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"cba");
        answer.await.unwrap();
    }
}
