//! Asks the host's resolvers one after the other, each with a time-out, over UDP and then TCP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

use super::resolv_conf::Resolvers;
use super::responder::{ForwardedQuery, ReplyKind, classify};
use super::wire::{self, flag};
use crate::outside::run_outside;

/// Time-outs for one resolver, in the first round and in the second.
const PATIENCE: [Duration; 2] = [Duration::from_millis(1200), Duration::from_millis(2000)];
/// Time-out for all resolvers: clients give up after five seconds, resolv.conf(5).
const TOTAL: Duration = Duration::from_millis(4800);
/// After so many wrong answers the question is repeated over TCP, which is harder to forge.
const FORGERIES: usize = 20;

/// The resolver to ask first: the one that answered last.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    first: AtomicUsize,
}

/// The outcome of one attempt.
enum Attempt {
    Answer(Vec<u8>),
    Refusal(Vec<u8>),
    Nothing,
}

impl Upstream {
    /// The first answer, else an error of a resolver.
    ///
    /// # Errors
    /// There is no resolver, or none answered; the text is for the client.
    pub(super) async fn ask(
        &self,
        resolvers: &Resolvers,
        query: &ForwardedQuery,
    ) -> Result<Vec<u8>, String> {
        let servers = &resolvers.servers;
        if servers.is_empty() {
            return Err(match resolvers.loops.first() {
                Some(ours) => {
                    format!("the host's resolver {ours} is this name server; a query would loop")
                }
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
                match timeout_at(by, attempt(server, query, round > 0)).await {
                    Ok(Attempt::Answer(answer)) => {
                        self.first.store(number, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Ok(Attempt::Refusal(answer)) => {
                        // A resolver on this host has asked the other resolvers already.
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

async fn attempt(server: SocketAddr, query: &ForwardedQuery, plain: bool) -> Attempt {
    let (id, dice) = {
        let mut rng = rand::rng();
        (rng.random(), rng.random::<[u8; 32]>())
    };
    let question = query.question(id, &dice, plain);
    match over_udp(server, &question).await {
        Ok(Some((heard, answer))) => sort(heard, answer),
        Ok(None) => match over_tcp(server, &question).await {
            Ok((heard, answer)) => sort(heard, answer),
            Err(_) => Attempt::Nothing,
        },
        Err(_) => Attempt::Nothing,
    }
}

/// SERVFAIL and REFUSED; other errors may be about EDNS.
fn is_final(answer: &[u8]) -> bool {
    matches!(wire::flags(answer) & flag::RCODE, 2 | 5)
}

fn sort(heard: ReplyKind, answer: Vec<u8>) -> Attempt {
    match heard {
        ReplyKind::Answer => Attempt::Answer(answer),
        ReplyKind::Refusal => Attempt::Refusal(answer),
        ReplyKind::Truncated | ReplyKind::Other => Attempt::Nothing,
    }
}

/// The resolver's answer over UDP; `None` when the question has to be repeated over TCP. Each question has its own socket,
/// with a random port. The socket is connected, so that it receives only from the resolver's address.
async fn over_udp(
    server: SocketAddr,
    question: &[u8],
) -> std::io::Result<Option<(ReplyKind, Vec<u8>)>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // The host's resolvers are outside where this process has moved into another namespace.
    let socket = run_outside(|| std::net::UdpSocket::bind((any, 0)))??;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; 4096];
    for _ in 0..FORGERIES {
        let length = socket.recv(&mut buffer).await?;
        let got = buffer.get(..length).unwrap_or_default();
        match classify(question, got) {
            ReplyKind::Other => {}
            ReplyKind::Truncated => return Ok(None),
            heard => return Ok(Some((heard, got.to_vec()))),
        }
    }
    Ok(None)
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> std::io::Result<(ReplyKind, Vec<u8>)> {
    let socket = run_outside(|| match server {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    })??;
    let mut stream = socket.connect(server).await?;
    let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
    let mut sent = length.to_be_bytes().to_vec();
    sent.extend(question);
    stream.write_all(&sent).await?;
    let length = stream.read_u16().await?;
    let mut got = vec![0; usize::from(length)];
    stream.read_exact(&mut got).await?;
    Ok((classify(question, &got), got))
}

/// Runs work with the time-out of all questions.
pub(super) async fn within_bounds<T>(work: impl Future<Output = T>) -> Option<T> {
    timeout(TOTAL + PATIENCE[1], work).await.ok()
}
