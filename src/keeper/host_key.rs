//! Asks an ssh server for its host key: the exchange of RFC 4253 up to the server's answer. It needs no secret, since ssh
//! itself verifies that the server has the private key.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rand::RngExt;
use ssh_key::PublicKey;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Longest exchange. An emulated node takes seconds for its part.
const EXCHANGE: Duration = Duration::from_secs(40);
/// Longest packet that is read, RFC 4253 section 6.1, and most lines before the server's version, section 4.2.
const LONGEST: usize = 35_000;
const MOST_LINES: usize = 100;

/// RFC 4253 section 12 and RFC 8731.
const DISCONNECT: u8 = 1;
const KEXINIT: u8 = 20;
const KEX_ECDH_INIT: u8 = 30;
const KEX_ECDH_REPLY: u8 = 31;

/// What this client offers, in the order of RFC 4253 section 7.1. ssh prefers host keys in this order, too.
const OFFERS: [&str; 10] = [
    "curve25519-sha256,curve25519-sha256@libssh.org",
    "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256,ssh-rsa",
    CIPHERS,
    CIPHERS,
    MACS,
    MACS,
    "none,zlib@openssh.com",
    "none,zlib@openssh.com",
    "",
    "",
];
const CIPHERS: &str = "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr";
const MACS: &str = "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256,hmac-sha2-512,umac-128@openssh.com";

/// The host key of the ssh server at an address.
///
/// # Errors
/// Nothing listens, the server speaks no ssh, or no key exchange in common.
pub(super) async fn host_key(address: SocketAddr) -> Result<PublicKey> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let (reader, mut writer) = stream.split();
        writer.write_all(&hello()).await?;
        read(BufReader::new(reader)).await
    };
    let key = tokio::time::timeout(EXCHANGE, exchange).await;
    key.context("the ssh server took too long")?
}

/// Everything that the client says, which depends on nothing that the server says.
fn hello() -> Vec<u8> {
    let mut proposal = vec![KEXINIT];
    proposal.extend(rand::rng().random::<[u8; 16]>());
    for offer in OFFERS {
        proposal.extend(string(offer.as_bytes()));
    }
    // No guess follows; reserved.
    proposal.extend([0; 5]);
    // Any 32 bytes are a public key of curve25519, RFC 7748 section 5.
    let mut share = vec![KEX_ECDH_INIT];
    share.extend(string(&rand::rng().random::<[u8; 32]>()));
    [
        &b"SSH-2.0-kvmc\r\n"[..],
        &packet(&proposal),
        &packet(&share),
    ]
    .concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or_default();
    [&length.to_be_bytes()[..], bytes].concat()
}

/// A packet before there are keys, RFC 4253 section 6: a multiple of 8 bytes, with 4 of padding at least.
fn packet(payload: &[u8]) -> Vec<u8> {
    let whole = (5 + payload.len() + 4).next_multiple_of(8);
    let padding = whole - 5 - payload.len();
    let length = u32::try_from(whole - 4).unwrap_or_default();
    [
        &length.to_be_bytes()[..],
        &[u8::try_from(padding).unwrap_or_default()],
        payload,
        &vec![0; padding],
    ]
    .concat()
}

/// Reads what the server says up to its key.
async fn read(mut from: impl AsyncBufReadExt + Unpin) -> Result<PublicKey> {
    let mut is_ssh = false;
    for _ in 0..MOST_LINES {
        let mut line = Vec::new();
        (&mut from).take(1024).read_until(b'\n', &mut line).await?;
        is_ssh = line.starts_with(b"SSH-");
        if is_ssh || line.is_empty() {
            break;
        }
    }
    ensure!(is_ssh, "the server speaks no ssh");
    for _ in 0..MOST_LINES {
        let payload = next(&mut from).await?;
        match payload.split_first() {
            Some((&KEX_ECDH_REPLY, rest)) => {
                let key = first_string(rest).context("the answer is cut off")?;
                return PublicKey::from_bytes(key).context("the host key is of an unknown form");
            }
            Some((&DISCONNECT, _)) => bail!("the server offers no key exchange that kvmc knows"),
            // Its proposal, and messages that mean nothing.
            _ => {}
        }
    }
    bail!("the server does not answer with its key")
}

async fn next(from: &mut (impl AsyncReadExt + Unpin)) -> Result<Vec<u8>> {
    let length = from.read_u32().await? as usize;
    ensure!(
        (2..=LONGEST).contains(&length),
        "a packet of {length} bytes"
    );
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    let padding = body.first().map_or(0, |p| usize::from(*p));
    let payload = body.get(1..length.saturating_sub(padding));
    Ok(payload.context("more padding than packet")?.to_vec())
}

fn first_string(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.get(..u32::from_be_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn of(bytes: &[u8]) -> Result<PublicKey> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(read(bytes))
    }

    fn answer() -> Vec<u8> {
        let key = PublicKey::from_openssh(KEY).unwrap().to_bytes().unwrap();
        let reply = [&[KEX_ECDH_REPLY][..], &string(&key), &string(&[9; 32])].concat();
        [
            &b"a line before\r\nSSH-2.0-x\r\n"[..],
            &packet(&[KEXINIT, 1, 2, 3]),
            &packet(&[2, 0, 0, 0, 0]),
            &packet(&reply),
        ]
        .concat()
    }

    #[test]
    fn a_servers_key_is_read_and_nothing_else_is_one() {
        assert_eq!(
            of(&answer()).unwrap(),
            PublicKey::from_openssh(KEY).unwrap()
        );
        for (bytes, why) in [
            (&b"HTTP/1.1 400\r\n"[..], "speaks no ssh"),
            (
                &[b"SSH-2.0-x\r\n", &packet(&[DISCONNECT])[..]].concat(),
                "no key exchange",
            ),
            (
                b"SSH-2.0-x\r\n\xff\xff\xff\xff",
                "a packet of 4294967295 bytes",
            ),
            (b"SSH-2.0-x\r\n\0\0\0\x02\x09\x01", "more padding"),
        ] {
            let error = format!("{:#}", of(bytes).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn packets_have_the_length_that_the_rfc_asks_for() {
        for length in 0..40 {
            let whole = packet(&vec![7; length]);
            assert_eq!(whole.len() % 8, 0);
            let padding = usize::from(whole[4]);
            assert!((4..12).contains(&padding));
            assert_eq!(whole.len(), 5 + length + padding);
        }
    }

    #[test]
    fn fuzz_host_key() {
        kvmc_fuzz::run("host-key", |bytes| match of(bytes) {
            Ok(key) => key.algorithm().to_string(),
            Err(e) => format!("{e:#}").chars().take(20).collect(),
        });
    }
}
