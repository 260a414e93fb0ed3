//! A node's identity: keys, ids and names. The host makes them and gives them to the guest, because ssh-keygen takes
//! seconds in an emulated guest.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use kvmc_images::agent;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::keys::{KeyPair, KeyPool, ecdsa, ed25519};
use super::nics::NicKind;
use crate::ids::{now, random_id};
use crate::state::{NetworkRecord, NodeRecord};

/// ssh-keygen's default.
const ADMIN_RSA_BITS: u32 = 3072;
/// Clients use the pinned ed25519 key. This key is for those that know only RSA.
const HOST_RSA_BITS: u32 = 2048;

/// The user for Ansible.
pub(crate) const ADMIN: &str = "admin";
/// The host keys of one node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HostKeys {
    pub(crate) ed25519: KeyPair,
    pub(crate) rsa: KeyPair,
    /// A cluster of an earlier version has none until it is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ecdsa: Option<KeyPair>,
}

impl HostKeys {
    /// All of them, by sshd's names of their kinds; the one that clients use comes first.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &KeyPair)> {
        let ecdsa = self.ecdsa.as_ref().map(|pair| ("ecdsa", pair));
        [("ed25519", &self.ed25519), ("rsa", &self.rsa)]
            .into_iter()
            .chain(ecdsa)
    }
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
    /// Makes new secrets for a cluster of these nodes, on as many threads as there are cores.
    ///
    /// # Errors
    /// Fails if a key cannot be made.
    pub(crate) fn generate(cluster: &str, nodes: &[NodeRecord], pool: &KeyPool) -> Result<Self> {
        let password = password();
        let admin = std::thread::scope(|scope| {
            let admin =
                scope.spawn(|| pool.rsa(ADMIN_RSA_BITS, &format!("{ADMIN}@{cluster} (kvmc)")));
            let hosts = host_keys(nodes, pool);
            admin
                .join()
                .map_err(|_| anyhow::anyhow!("a thread that makes keys panicked"))?
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

    /// Adds keys that nodes lack, and returns whether there were any.
    ///
    /// # Errors
    /// Like [`Self::generate`].
    pub(crate) fn complete(&mut self, nodes: &[NodeRecord], pool: &KeyPool) -> Result<bool> {
        let missing: Vec<_> = nodes
            .iter()
            .filter(|n| !self.hosts.contains_key(&n.name))
            .cloned()
            .collect();
        self.hosts.extend(host_keys(&missing, pool)?);
        let before = self.hosts.len();
        // A removed node's keys go with it. A later node of its name is another machine.
        self.hosts
            .retain(|name, _| nodes.iter().any(|n| n.name == *name));
        let mut has_changed = !missing.is_empty() || self.hosts.len() != before;
        for (name, keys) in &mut self.hosts {
            if keys.ecdsa.is_none() {
                keys.ecdsa = Some(ecdsa(name)?);
                has_changed = true;
            }
        }
        Ok(has_changed)
    }
}

/// Keeps keys ready for the next two clusters with as many nodes, because the pool may not have been refilled between
/// two quick tries.
///
/// # Errors
/// Like [`KeyPool::fill`].
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
                                ecdsa: Some(ecdsa(&n.name)?),
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
                    .map_err(|_| anyhow::anyhow!("a thread that makes keys panicked"))??,
            );
        }
        Ok(all)
    })
}

/// 20 characters, about 119 bits, without any that are special to a shell or an INI file.
fn password() -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut rng = rand::rng();
    (0..20)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect()
}

/// crypt(5)'s SHA-512 with its default of 5000 rounds. More would slow each login under emulation.
fn hash(password: &str) -> Result<String> {
    use sha_crypt::PasswordHasher;
    let salt: [u8; 12] = rand::rng().random();
    let params = sha_crypt::Params::new(5000)
        .map_err(|e| anyhow::anyhow!("the password cannot be hashed: {e}"))?;
    let hash = sha_crypt::ShaCrypt::new(sha_crypt::Algorithm::Sha512Crypt, params)
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|e| anyhow::anyhow!("the password cannot be hashed: {e}"))?;
    Ok(hash.to_string())
}

/// Arguments of the agent's `identity` for a machine to freeze. Nothing in it belongs to a node, and the agent
/// replaces all of it on waking.
///
/// # Errors
/// Like [`Secrets::generate`].
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

/// Arguments of the agent's `identity`. With `woken`, they include what a booting guest makes itself.
///
/// # Errors
/// Fails if keys are missing.
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
        .with_context(|| format!("host keys for `{}` are missing", node.name))?;
    let nics = networks
        .iter()
        .filter_map(|network| Some((network, node.nic(&network.name)?)))
        .map(|(network, nic)| agent::Nic {
            mac: Some(nic.mac.to_string()),
            ipv6: network.prefix6.is_some(),
            // The node gets the same by DHCP.
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
        host_keys: keys
            .all()
            .map(|(kind, pair)| (kind.to_owned(), key_pair(pair)))
            .collect(),
        authorized_keys: vec![secrets.admin.public.trim_end().to_owned()],
        password_hash: secrets.password_hash.clone(),
        dns: resolvers(dns),
        search: Some(domain.to_owned()),
        time: now(),
        seed: seed(),
        mac: node.nics.first().map(|nic| nic.mac.to_string()),
        nics,
        disk: node.disk.0,
        woken,
        uuid: woken.then(|| node.uuid.clone()),
        ..agent::Identity::default()
    })
}

/// Randomness for a guest's kernel, in base64.
pub(crate) fn seed() -> Option<String> {
    let seed: [u8; 64] = rand::rng().random();
    (!super::unsafe_no_reseed()).then(|| base64(&seed))
}

fn resolvers(dns: &[Ipv4Addr]) -> Vec<String> {
    dns.iter().map(ToString::to_string).collect()
}

/// RFC 4648 section 4. Only the seed needs it, so there is no crate for it.
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
    fn base64_matches_rfc_4648() {
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
    fn a_password_is_stored_in_crypts_format() {
        let hashed = hash("secret").unwrap();
        assert!(hashed.starts_with("$6$"), "{hashed}");
    }
    #[test]
    fn a_node_has_debians_three_host_keys_and_one_of_an_earlier_version_gets_the_third() {
        let dir = tempfile::tempdir().unwrap();
        let pool = KeyPool::open(dir.path());
        let mut secrets = crate::samples::secrets();
        assert!(secrets.hosts.values().all(|keys| keys.ecdsa.is_none()));
        assert!(secrets.complete(&[], &pool).unwrap());
        assert!(!secrets.complete(&[], &pool).unwrap());
        for keys in secrets.hosts.values() {
            let kinds: Vec<_> = keys.all().map(|(kind, _)| kind).collect();
            assert_eq!(kinds, ["ed25519", "rsa", "ecdsa"]);
            let ecdsa = keys.ecdsa.as_ref().unwrap();
            assert!(ecdsa.public.starts_with("ecdsa-sha2-nistp256 "));
        }
    }
}
