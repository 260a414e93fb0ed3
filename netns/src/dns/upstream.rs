//! Asking the host's resolvers: several, each with a time-out, by datagram and then by stream.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

use super::core::{Ask, Heard, hear};
use super::resolv_conf::Resolvers;
use super::wire::{self, flag};

/// For one resolver, in the first round and in the second. A resolver has to find the answer first.
const PATIENCE: [Duration; 2] = [Duration::from_millis(1200), Duration::from_millis(2000)];
/// For all of them: clients give up after five seconds, resolv.conf(5).
const TOTAL: Duration = Duration::from_millis(4800);
/// So many wrong answers to one question are an attack: a stream cannot be forged as easily.
const FORGERIES: usize = 20;

/// Whom to ask first: who answered last.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    first: AtomicUsize,
}

/// What became of one attempt.
enum Attempt {
    Answer(Vec<u8>),
    Refusal(Vec<u8>),
    Nothing,
}

impl Upstream {
    /// The answer of the first resolver that has one, or a resolver's refusal.
    ///
    /// # Errors
    /// That there is none to ask, or that none answered, in words for the client.
    pub(super) async fn ask(&self, resolvers: &Resolvers, ask: &Ask) -> Result<Vec<u8>, String> {
        let servers = &resolvers.servers;
        if servers.is_empty() {
            return Err(match resolvers.loops.first() {
                Some(ours) => format!("the host's resolver {ours} is this one: it would loop"),
                None => "the host has no resolver in /etc/resolv.conf".to_owned(),
            });
        }
        let mut refusal = None;
        let until = Instant::now() + TOTAL;
        let first = self.first.load(Ordering::Relaxed);
        for (round, patience) in PATIENCE.into_iter().enumerate() {
            for i in 0..servers.len() {
                let number = (first + i) % servers.len();
                let Some(server) = servers.get(number).copied() else {
                    continue;
                };
                let by = until.min(Instant::now() + patience);
                match timeout_at(by, attempt(server, ask, round > 0)).await {
                    Ok(Attempt::Answer(answer)) => {
                        self.first.store(number, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Ok(Attempt::Refusal(answer)) => {
                        // One on this host has asked the others already; it may have refused theirs.
                        if server.ip().is_loopback() && is_final(&answer) {
                            return Ok(answer);
                        }
                        refusal = Some(answer);
                    }
                    Ok(Attempt::Nothing) | Err(_) => {}
                }
                if Instant::now() >= until {
                    break;
                }
            }
        }
        let asked: Vec<_> = servers.iter().map(|s| s.ip().to_string()).collect();
        refusal.ok_or_else(|| format!("no answer from the host's resolver {}", asked.join(", ")))
    }
}

async fn attempt(server: SocketAddr, ask: &Ask, plain: bool) -> Attempt {
    let (id, dice) = {
        let mut rng = rand::rng();
        (rng.random(), rng.random::<[u8; 32]>())
    };
    let question = ask.question(id, &dice, plain);
    match by_datagram(server, &question).await {
        Ok(Some((heard, answer))) => sort(heard, answer),
        Ok(None) => match by_stream(server, &question).await {
            Ok((heard, answer)) => sort(heard, answer),
            Err(_) => Attempt::Nothing,
        },
        Err(_) => Attempt::Nothing,
    }
}

/// SERVFAIL and REFUSED; the others may be about how it was asked.
fn is_final(answer: &[u8]) -> bool {
    matches!(wire::flags(answer) & flag::RCODE, 2 | 5)
}

fn sort(heard: Heard, answer: Vec<u8>) -> Attempt {
    match heard {
        Heard::Answer => Attempt::Answer(answer),
        Heard::Refusal => Attempt::Refusal(answer),
        Heard::Truncated | Heard::Other => Attempt::Nothing,
    }
}

/// None when it has to go by stream. A socket of its own for each question has a port of its own, by
/// chance, and hears only the resolver's address.
async fn by_datagram(
    server: SocketAddr,
    question: &[u8],
) -> std::io::Result<Option<(Heard, Vec<u8>)>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; 4096];
    for _ in 0..FORGERIES {
        let length = socket.recv(&mut buffer).await?;
        let got = buffer.get(..length).unwrap_or_default();
        match hear(question, got) {
            Heard::Other => {}
            Heard::Truncated => return Ok(None),
            heard => return Ok(Some((heard, got.to_vec()))),
        }
    }
    Ok(None)
}

async fn by_stream(server: SocketAddr, question: &[u8]) -> std::io::Result<(Heard, Vec<u8>)> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
    let mut sent = length.to_be_bytes().to_vec();
    sent.extend(question);
    stream.write_all(&sent).await?;
    let length = stream.read_u16().await?;
    let mut got = vec![0; usize::from(length)];
    stream.read_exact(&mut got).await?;
    Ok((hear(question, &got), got))
}

/// Never more than this passes with a question.
pub(super) async fn within_bounds<T>(work: impl Future<Output = T>) -> Option<T> {
    timeout(TOTAL + PATIENCE[1], work).await.ok()
}
