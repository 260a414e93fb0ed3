//! What makes a node itself: keys, ids and names, all made on the host and pushed in, since a guest
//! that runs ssh-keygen under emulation takes seconds for it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use kvmc_images::agent;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::keys::{KeyPair, KeyPool, ed25519};
use super::nics::NicKind;
use crate::ids::{now, random_id, uuid};
use crate::state::{NetworkRecord, NodeRecord};

/// As ssh-keygen's default.
const ADMIN_RSA_BITS: u32 = 3072;
/// The pinned ed25519 key is what clients use; this one is for those that know only RSA.
const HOST_RSA_BITS: u32 = 2048;

/// The user that Ansible comes as.
pub(crate) const ADMIN: &str = "admin";
/// The host keys of one node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HostKeys {
    pub(crate) ed25519: KeyPair,
    pub(crate) rsa: KeyPair,
}

/// `secrets.json`.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) password: String,
    pub(crate) password_hash: String,
    pub(crate) admin: KeyPair,
    pub(crate) hosts: BTreeMap<String, HostKeys>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl Secrets {
    /// New secrets for a cluster of these nodes, on as many threads as there are cores.
    ///
    /// # Errors
    /// None that a working random generator would give.
    pub(crate) fn generate(cluster: &str, nodes: &[NodeRecord], pool: &KeyPool) -> Result<Self> {
        let password = password();
        let admin = std::thread::scope(|scope| {
            let admin =
                scope.spawn(|| pool.rsa(ADMIN_RSA_BITS, &format!("{ADMIN}@{cluster} (kvmc)")));
            let hosts = host_keys(nodes, pool);
            admin
                .join()
                .map_err(|_| anyhow::anyhow!("key generation stopped"))?
                .and_then(|a| Ok((a, hosts?)))
        });
        let (admin, hosts) = admin?;
        Ok(Self {
            password_hash: hash(&password)?,
            password,
            admin,
            hosts,
        })
    }

    /// Adds keys for nodes that have none yet; true when there were such.
    ///
    /// # Errors
    /// As [`Self::generate`].
    pub(crate) fn complete(&mut self, nodes: &[NodeRecord], pool: &KeyPool) -> Result<bool> {
        let missing: Vec<_> = nodes
            .iter()
            .filter(|n| !self.hosts.contains_key(&n.name))
            .cloned()
            .collect();
        self.hosts.extend(host_keys(&missing, pool)?);
        Ok(!missing.is_empty())
    }
}

/// Keeps keys ready for the next two clusters of as many nodes: who tries something again and again has
/// not always rested in between.
///
/// # Errors
/// As [`KeyPool::fill`].
pub(crate) fn fill(pool: &KeyPool, nodes: usize, wanted: impl Fn() -> bool) -> Result<()> {
    pool.fill(ADMIN_RSA_BITS, 2, &wanted)?;
    pool.fill(HOST_RSA_BITS, 2 * nodes, &wanted)
}

fn host_keys(nodes: &[NodeRecord], pool: &KeyPool) -> Result<BTreeMap<String, HostKeys>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = nodes.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = nodes
            .chunks(share)
            .map(|chunk| {
                scope.spawn(|| {
                    chunk
                        .iter()
                        .map(|n| {
                            let keys = HostKeys {
                                ed25519: ed25519(&n.name)?,
                                rsa: pool.rsa(HOST_RSA_BITS, &n.name)?,
                            };
                            Ok((n.name.clone(), keys))
                        })
                        .collect::<Result<Vec<_>>>()
                })
            })
            .collect();
        let mut all = BTreeMap::new();
        for worker in workers {
            all.extend(
                worker
                    .join()
                    .map_err(|_| anyhow::anyhow!("key generation stopped"))??,
            );
        }
        Ok(all)
    })
}

/// 20 characters, about 119 bits, none that a shell or INI file would take for something else.
fn password() -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut rng = rand::rng();
    (0..20)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect()
}

/// crypt(5)'s SHA-512, with its default of 5000 rounds: more would be felt at each emulated login.
fn hash(password: &str) -> Result<String> {
    use sha_crypt::PasswordHasher;
    let salt: [u8; 12] = rand::rng().random();
    let params = sha_crypt::Params::new(5000)
        .map_err(|e| anyhow::anyhow!("failed to hash the password: {e}"))?;
    let hash = sha_crypt::ShaCrypt::new(sha_crypt::Algorithm::Sha512Crypt, params)
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|e| anyhow::anyhow!("failed to hash the password: {e}"))?;
    Ok(hash.to_string())
}

/// The arguments of the agent's `identity` in a machine that is to be frozen: nothing in it is anybody's,
/// and the agent replaces it all on waking.
///
/// # Errors
/// As [`Secrets::generate`].
pub(crate) fn template(disk: u64, nics: &[NicKind]) -> Result<agent::Identity> {
    let keys = ed25519("template")?;
    Ok(agent::Identity {
        template: true,
        hostname: "t".to_owned(),
        machine_id: random_id(),
        host_keys: BTreeMap::from([("ed25519".to_owned(), key_pair(&keys))]),
        password_hash: "!".to_owned(),
        time: now(),
        disk,
        nics: nics
            .iter()
            .map(|nic| agent::Nic {
                ipv6: nic.ipv6,
                ..agent::Nic::default()
            })
            .collect(),
        ..agent::Identity::default()
    })
}

fn key_pair(keys: &KeyPair) -> agent::KeyPair {
    agent::KeyPair {
        private: keys.private.clone(),
        public: keys.public.clone(),
    }
}

/// The arguments of the agent's `identity`; with `woken` also what a guest that boots makes itself.
///
/// # Errors
/// Keys that are missing.
pub(crate) fn push(
    domain: &str,
    node: &NodeRecord,
    networks: &[NetworkRecord],
    secrets: &Secrets,
    woken: bool,
) -> Result<agent::Identity> {
    let keys = secrets
        .hosts
        .get(&node.name)
        .with_context(|| format!("there are no host keys for `{}`", node.name))?;
    let seed: [u8; 64] = rand::rng().random();
    let nics = networks
        .iter()
        .filter_map(|network| Some((network, node.nic(&network.name)?)))
        .map(|(network, nic)| agent::Nic {
            mac: Some(nic.mac.to_string()),
            ipv6: network.prefix6.is_some(),
            // What it gets by DHCP as well.
            address: Some(nic.address),
            prefix: Some(network.subnet.prefix()),
            router: network.is_main().then_some(network.gateway),
            mtu: Some(network.mtu),
        })
        .collect();
    let dns = networks.first().map_or(&[][..], |n| &n.dns);
    Ok(agent::Identity {
        hostname: node.name.clone(),
        machine_id: node.machine_id.clone(),
        host_keys: BTreeMap::from([
            ("ed25519".to_owned(), key_pair(&keys.ed25519)),
            ("rsa".to_owned(), key_pair(&keys.rsa)),
        ]),
        authorized_keys: vec![secrets.admin.public.trim_end().to_owned()],
        password_hash: secrets.password_hash.clone(),
        dns: resolvers(dns),
        search: Some(domain.to_owned()),
        time: now(),
        seed: (!super::unsafe_no_reseed()).then(|| base64(&seed)),
        mac: node.nics.first().map(|nic| nic.mac.to_string()),
        nics,
        disk: node.disk.0,
        woken,
        uuid: woken.then(|| node.uuid.clone()),
        boot_id: woken.then(|| uuid(&random_id())),
        ..agent::Identity::default()
    })
}

fn resolvers(dns: &[Ipv4Addr]) -> Vec<String> {
    dns.iter().map(ToString::to_string).collect()
}

/// RFC 4648 section 4; the one use is the seed, so no crate for it.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0_u32, |w, b| w << 8 | u32::from(*b));
        for i in 0..4 {
            let digit = usize::try_from(word >> (18 - 6 * i) & 63).unwrap_or(0);
            text.push(if i > chunk.len() {
                '='
            } else {
                char::from(DIGITS[digit])
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_rfc_4648_has_it() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_password_is_kept_as_crypt_has_it() {
        let hashed = hash("secret").unwrap();
        assert!(hashed.starts_with("$6$"), "{hashed}");
    }
}
