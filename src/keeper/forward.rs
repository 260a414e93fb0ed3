//! Forwards on the host's loopback addresses, in this process: nft could only send a guest packets from
//! 127.0.0.1, which it cannot answer. What comes by the other addresses never gets here.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use kvmc_netns::firewall::Protocol;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::spec::Forward;
use crate::state::ClusterRecord;

/// Connections at once for each forward, and clients of a UDP port.
const MOST: usize = 512;
/// To connect to a node on the same host.
const CONNECT: Duration = Duration::from_secs(5);
/// A UDP client that is silent this long is forgotten.
const IDLE: Duration = Duration::from_secs(60);
/// No UDP packet is longer.
const LONGEST: usize = 65535;

/// The forwards that are served.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    serving: Mutex<BTreeMap<Forward, Vec<AbortHandle>>>,
}

impl Forwards {
    /// Serves what is in the record, and that alone; connections that are open stay so.
    ///
    /// # Errors
    /// The ports that cannot be had; the others are served all the same.
    pub(super) fn follow(&self, record: &ClusterRecord) -> Result<()> {
        let mut serving = self
            .serving
            .lock()
            .map_err(|_| anyhow!("a task of the keeper failed"))?;
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

/// The loopback addresses that a forward is on.
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
                return Err(e).with_context(|| format!("{forward}: failed to listen on {at}"));
            }
        }
    }
    Ok(tasks)
}

fn listen(at: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(at)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn open(at: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(at)?;
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
            // Out of descriptors, for instance: better a little later than in a tight loop.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        tokio::spawn(async move {
            let _slot = slot;
            // A node that does not answer: the client sees its connection closed.
            if let Ok(Ok(mut node)) = tokio::time::timeout(CONNECT, TcpStream::connect(to)).await {
                let _either_end_is_gone =
                    tokio::io::copy_bidirectional(&mut client, &mut node).await;
            }
        });
    }
}

/// Each client has a socket of its own towards the node, by which answers find their way back.
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
            None => match meet(&socket, client, to, &clients).await {
                Some(node) => node,
                None => continue,
            },
        };
        let _lost = node.send(packet.get(..length).unwrap_or_default()).await;
    }
}

type Clients = Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>;

/// A socket for a new client, and a task that brings it what the node answers.
async fn meet(
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
        // Its port on the node may be closed for the moment: that ends it as silence does.
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
    async fn tcp_goes_both_ways_and_each_end_is_told_of_the_others() {
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
