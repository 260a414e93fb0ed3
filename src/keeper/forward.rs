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

use super::gate::{Gate, Pass, Way};
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
    gate: Gate,
}

impl Forwards {
    /// Resets all open connections. New ones wait for [`Self::pass`].
    pub(super) fn cut(&self) {
        self.gate.shut();
    }

    /// Lets connections to the nodes pass again.
    pub(super) fn pass(&self) {
        self.gate.open();
    }

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
            match serve(forward, record, &self.gate) {
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

fn serve(forward: &Forward, record: &ClusterRecord, gate: &Gate) -> Result<Vec<AbortHandle>> {
    let node = record.node(&forward.node)?;
    let to = SocketAddr::from((node.address(), forward.node_port));
    let mut tasks = Vec::new();
    for address in addresses(forward) {
        let at = SocketAddr::from((address, forward.port));
        let bound = match forward.protocol {
            Protocol::Tcp => listen(at).map(|l| tokio::spawn(relay_tcp(l, to, gate.way()))),
            Protocol::Udp => open(at).map(|s| tokio::spawn(relay_udp(s, to, gate.way()))),
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

async fn relay_tcp(listener: TcpListener, to: SocketAddr, way: Way) {
    let slots = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let Ok((client, _)) = listener.accept().await else {
            // This happens when descriptors run out, for instance. Wait, to avoid a tight loop.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let way = way.clone();
        tokio::spawn(async move {
            let _slot = slot;
            relay(client, to, way).await;
        });
    }
}

/// Relays one connection until either end closes it, or until it is cut off.
async fn relay(mut client: TcpStream, to: SocketAddr, mut way: Way) {
    let Some(pass) = way.pass().await else {
        return;
    };
    let connecting = tokio::time::timeout(CONNECT, TcpStream::connect(to));
    let node = tokio::select! {
        node = connecting => node.ok().and_then(std::io::Result::ok),
        () = way.cut(pass) => return reset(client),
    };
    // If the node does not answer, the client's connection is closed.
    let Some(mut node) = node else {
        return;
    };
    tokio::select! {
        _either_end_is_gone = tokio::io::copy_bidirectional(&mut client, &mut node) => {}
        () = way.cut(pass) => {
            reset(client);
            reset(node);
        }
    }
}

/// Closes a connection so that the other end does not take what it has for all that was sent.
fn reset(stream: TcpStream) {
    let _closed_anyway = stream.set_zero_linger();
}

/// Each client has its own socket to the node, so that answers find their way back.
async fn relay_udp(socket: UdpSocket, to: SocketAddr, way: Way) {
    let socket = Arc::new(socket);
    let clients: Clients = Arc::default();
    let mut packet = vec![0; LONGEST];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut packet).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // As on any network, a packet that does not arrive is lost.
        let Some(pass) = way.pass_now() else {
            continue;
        };
        let known = clients.lock().ok().and_then(|c| c.get(&client).cloned());
        let node = match known {
            Some((since, node)) if since == pass => node,
            _ => match add_client(&socket, (client, pass), to, &clients, way.clone()).await {
                Some(node) => node,
                None => continue,
            },
        };
        let _lost = node.send(packet.get(..length).unwrap_or_default()).await;
    }
}

type Clients = Arc<Mutex<HashMap<SocketAddr, (Pass, Arc<UdpSocket>)>>>;

/// Opens a socket for a new client, and starts a task that returns the node's answers to it.
async fn add_client(
    socket: &Arc<UdpSocket>,
    (client, pass): (SocketAddr, Pass),
    to: SocketAddr,
    clients: &Clients,
    mut way: Way,
) -> Option<Arc<UdpSocket>> {
    let node = Arc::new(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok()?);
    node.connect(to).await.ok()?;
    {
        let mut clients = clients.lock().ok()?;
        if clients.len() >= MOST {
            return None;
        }
        clients.insert(client, (pass, Arc::clone(&node)));
    }
    let (socket, answers, clients) = (Arc::clone(socket), Arc::clone(&node), Arc::clone(clients));
    tokio::spawn(async move {
        let mut packet = vec![0; LONGEST];
        let returning = async {
            // A closed port on the node ends the relay, as silence does.
            while let Ok(Ok(length)) = tokio::time::timeout(IDLE, answers.recv(&mut packet)).await {
                let answer = packet.get(..length).unwrap_or_default();
                let _lost = socket.send_to(answer, client).await;
            }
        };
        tokio::select! {
            () = returning => {}
            () = way.cut(pass) => {}
        }
        if let Ok(mut clients) = clients.lock()
            && clients
                .get(&client)
                .is_some_and(|(_, node)| Arc::ptr_eq(node, &answers))
        {
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
        let gate = Gate::default();
        tokio::spawn(relay_udp(host, to, gate.way()));
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
        let gate = Gate::default();
        tokio::spawn(relay_tcp(host, to, gate.way()));
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

    #[tokio::test]
    async fn a_cut_resets_both_ends_and_later_connections_wait_for_the_nodes() {
        let node = TcpListener::bind(ANY).await.unwrap();
        let to = node.local_addr().unwrap();
        let host = TcpListener::bind(ANY).await.unwrap();
        let at = host.local_addr().unwrap();
        let gate = Gate::default();
        tokio::spawn(relay_tcp(host, to, gate.way()));
        let mut client = TcpStream::connect(at).await.unwrap();
        let (mut end, _) = node.accept().await.unwrap();
        client.write_all(b"abc").await.unwrap();
        let mut heard = [0; 3];
        end.read_exact(&mut heard).await.unwrap();
        gate.shut();
        for stream in [&mut client, &mut end] {
            let read = tokio::time::timeout(CONNECT, stream.read(&mut heard)).await;
            let error = read.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        let mut later = TcpStream::connect(at).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), node.accept());
        early.await.unwrap_err();
        gate.open();
        let (mut end, _) = node.accept().await.unwrap();
        later.write_all(b"abc").await.unwrap();
        end.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"abc");
    }

    #[tokio::test]
    async fn after_a_cut_a_udp_client_has_another_socket_to_the_node() {
        let node = UdpSocket::bind(ANY).await.unwrap();
        let to = node.local_addr().unwrap();
        let host = UdpSocket::bind(ANY).await.unwrap();
        let at = host.local_addr().unwrap();
        let gate = Gate::default();
        tokio::spawn(relay_udp(host, to, gate.way()));
        let client = UdpSocket::bind(ANY).await.unwrap();
        let mut packet = [0; 9];
        client.send_to(b"1", at).await.unwrap();
        let (_, first) = node.recv_from(&mut packet).await.unwrap();
        gate.shut();
        client.send_to(b"2", at).await.unwrap();
        let lost = tokio::time::timeout(Duration::from_millis(50), node.recv_from(&mut packet));
        lost.await.unwrap_err();
        gate.open();
        client.send_to(b"3", at).await.unwrap();
        let (_, second) = node.recv_from(&mut packet).await.unwrap();
        assert_eq!((packet[0], first == second), (b'3', false));
        // An answer to the client of before is too late.
        node.send_to(b"old", first).await.unwrap();
        node.send_to(b"new", second).await.unwrap();
        let (length, _) = client.recv_from(&mut packet).await.unwrap();
        assert_eq!(&packet[..length], b"new");
    }
}
