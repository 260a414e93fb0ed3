//! Makes key pairs on the host. An RSA pair takes a good part of a second, so some are kept ready.

use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use ssh_key::private::{EcdsaKeypair, Ed25519Keypair};
use ssh_key::rand_core::OsRng;
use ssh_key::{EcdsaCurve, LineEnding, PrivateKey};

use super::process::start_time;

/// A key pair in OpenSSH's formats.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct KeyPair {
    pub(crate) private: String,
    pub(crate) public: String,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// A folder of unused RSA keys. Taking a key renames its file, so that no two processes get the same key.
#[derive(Debug, Clone)]
pub(crate) struct KeyPool {
    dir: PathBuf,
}

/// Prefix of the folders in which keys are made. The maker's pid and start time follow, because another process may
/// have the pid later.
const MAKING: &str = ".making-";

/// Interval at which a running ssh-keygen is checked, which bounds how long it runs in vain.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl KeyPool {
    /// The pool below a state folder. The folder may be missing.
    pub(crate) fn open(root: &Path) -> Self {
        Self {
            dir: root.join("keys"),
        }
    }

    /// An RSA key from the pool, or a new one.
    ///
    /// # Errors
    /// Fails if ssh-keygen fails.
    pub(crate) fn rsa(&self, bits: u32, comment: &str) -> Result<KeyPair> {
        let mut key = match self.take(bits) {
            Some(key) => key,
            None => match self.make_rsa(bits, || true)? {
                Some(key) => key,
                None => bail!("the key is not needed any more"),
            },
        };
        key.set_comment(comment);
        pair_of(&key)
    }

    fn take(&self, bits: u32) -> Option<PrivateKey> {
        for path in self.ready(bits) {
            let taken = path.with_extension("taken");
            if std::fs::rename(&path, &taken).is_err() {
                continue;
            }
            let text = std::fs::read_to_string(&taken);
            // While the file exists, another process might take the key.
            std::fs::remove_file(&taken).ok()?;
            if let Some(key) = text.ok().and_then(|t| PrivateKey::from_openssh(t).ok()) {
                return Some(key);
            }
        }
        None
    }

    /// Makes keys until `count` of `bits` are ready. Stops at once when `wanted` returns false.
    ///
    /// # Errors
    /// Fails if ssh-keygen fails, or if a file cannot be written.
    pub(crate) fn fill(&self, bits: u32, count: usize, wanted: impl Fn() -> bool) -> Result<()> {
        let mut ready = self.ready(bits).len();
        while ready < count {
            let Some(key) = self.make_rsa(bits, &wanted)? else {
                return Ok(());
            };
            let text = key
                .to_openssh(LineEnding::LF)
                .context("a key cannot be written")?;
            let name = format!("rsa{bits}-{}", crate::ids::random_id());
            crate::state::replace(&self.dir.join(name), text.as_bytes(), 0o600)?;
            ready += 1;
        }
        Ok(())
    }

    fn make_dir(&self) -> Result<()> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .with_context(|| format!("cannot make {}", self.dir.display()))
    }

    /// Removes the files of processes that were killed while they made or took a key.
    pub(crate) fn sweep(&self) {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        for path in entries.map(|e| e.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let maker = name.strip_prefix(MAKING);
            let is_left = match maker {
                Some(maker) => !is_alive(maker),
                // A process that uses one of these files now makes another key.
                None => name.starts_with('.') || name.ends_with(".taken"),
            };
            if is_left && maker.is_some() {
                let _next_time = std::fs::remove_dir_all(&path);
            } else if is_left {
                let _next_time = std::fs::remove_file(&path);
            }
        }
    }

    /// Removes the pool.
    ///
    /// # Errors
    /// Fails if a file cannot be removed.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs_err::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Makes an RSA key with ssh-keygen, because OpenSSL is many times faster than the Rust crates, and kvmc needs ssh
    /// anyway. Returns `None` once `wanted` returns false.
    fn make_rsa(&self, bits: u32, wanted: impl Fn() -> bool) -> Result<Option<PrivateKey>> {
        if !wanted() {
            return Ok(None);
        }
        self.make_dir()?;
        let dir = tempfile::Builder::new()
            .prefix(&format!("{MAKING}{}-", me()))
            .tempdir_in(&self.dir)
            .context("cannot make a folder for a key")?;
        let path = dir.path().join("key");
        #[expect(clippy::disallowed_methods, reason = "ssh-keygen, for RSA keys")]
        let mut child = Command::new("ssh-keygen")
            .args(["-q", "-t", "rsa", "-b", &bits.to_string(), "-N", "", "-f"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C at the terminal is for kvmc only.
            .process_group(0)
            .spawn()
            .context("ssh-keygen cannot be started")?;
        if !ended(&mut child, wanted)? {
            return Ok(None);
        }
        let output = child
            .wait_with_output()
            .context("the state of ssh-keygen is unknown")?;
        if !output.status.success() {
            bail!(
                "ssh-keygen ended with an error: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let text = fs_err::read_to_string(&path)?;
        let key =
            PrivateKey::from_openssh(text).context("the key from ssh-keygen cannot be read")?;
        Ok(Some(key))
    }

    fn ready(&self, bits: u32) -> Vec<PathBuf> {
        let prefix = format!("rsa{bits}-");
        let is_ready = |path: &PathBuf| {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
            name.is_some_and(|n| n.starts_with(&prefix) && !n.contains('.'))
        };
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries.map(|e| e.path()).filter(is_ready).collect()
    }
}

/// Waits for the end of a child. Returns false if the child was killed because it is not wanted any more.
fn ended(child: &mut Child, wanted: impl Fn() -> bool) -> Result<bool> {
    while child
        .try_wait()
        .context("the state of ssh-keygen is unknown")?
        .is_none()
    {
        if !wanted() {
            child.kill().context("ssh-keygen cannot be killed")?;
            child.wait().context("the state of ssh-keygen is unknown")?;
            return Ok(false);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(true)
}

/// Makes keys in the background until it is dropped.
#[derive(Debug)]
pub(crate) struct Filling {
    wanted: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Filling {
    /// Runs `fill`, with a function that tells whether keys are still wanted. Its error is dropped, because a verb
    /// that finds no spare key makes one and reports the error then.
    pub(crate) fn start(
        fill: impl FnOnce(&dyn Fn() -> bool) -> Result<()> + Send + 'static,
    ) -> Self {
        let wanted = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&wanted);
        let thread = std::thread::spawn(move || {
            let _told_when_needed = fill(&|| seen.load(Ordering::Relaxed));
        });
        Self {
            wanted,
            thread: Some(thread),
        }
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// This process as the maker of a key.
fn me() -> String {
    let pid = std::process::id();
    let time = i32::try_from(pid).ok().and_then(start_time);
    format!("{pid}-{}", time.unwrap_or_default())
}

fn is_alive(maker: &str) -> bool {
    let mut numbers = maker.split('-');
    let pid = numbers.next().and_then(|n| n.parse().ok());
    let time = numbers.next().and_then(|n| n.parse().ok());
    time.is_some() && pid.and_then(start_time) == time
}

/// Makes a new ed25519 key pair.
///
/// # Errors
/// Fails if the key cannot be made or written.
pub(crate) fn ed25519(comment: &str) -> Result<KeyPair> {
    let key = PrivateKey::new(Ed25519Keypair::random(&mut OsRng).into(), comment)
        .context("a key cannot be made")?;
    pair_of(&key)
}

/// A new ECDSA pair of ssh-keygen's default curve.
///
/// # Errors
/// As [`ed25519`].
pub(crate) fn ecdsa(comment: &str) -> Result<KeyPair> {
    let pair = EcdsaKeypair::random(&mut OsRng, EcdsaCurve::NistP256);
    let key = PrivateKey::new(pair.context("failed to make a key")?.into(), comment)
        .context("failed to make a key")?;
    pair_of(&key)
}

fn pair_of(key: &PrivateKey) -> Result<KeyPair> {
    let private = key
        .to_openssh(LineEnding::LF)
        .context("a key cannot be written")?;
    let public = key
        .public_key()
        .to_openssh()
        .context("a key cannot be written")?;
    Ok(KeyPair {
        private: private.to_string(),
        public: format!("{public}\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_key_is_given_once_and_a_damaged_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let pool = KeyPool::open(dir.path());
        pool.fill(1024, 2, || true).unwrap();
        std::fs::write(pool.dir.join("rsa1024-bad"), "not a key").unwrap();
        let first = pool.take(1024).unwrap();
        let second = pool.take(1024).unwrap();
        assert_ne!(first.public_key(), second.public_key());
        assert!(pool.take(1024).is_none());
        assert_eq!(std::fs::read_dir(&pool.dir).unwrap().count(), 0);
        // Without a spare key one is made, with the requested comment.
        let pair = pool.rsa(1024, "node").unwrap();
        assert!(pair.public.trim_end().ends_with(" node"), "{}", pair.public);
    }

    #[test]
    fn p2_files_of_a_killed_maker_are_removed_and_those_of_a_living_one_stay() {
        let dir = tempfile::tempdir().unwrap();
        let pool = KeyPool::open(dir.path());
        pool.fill(1024, 1, || true).unwrap();
        let mine = pool.dir.join(format!("{MAKING}{}-x", me()));
        std::fs::create_dir(&mine).unwrap();
        // Another process may have this pid.
        for left in ["4194305-7".to_owned(), format!("{}-1", std::process::id())] {
            std::fs::create_dir(pool.dir.join(format!("{MAKING}{left}-x"))).unwrap();
        }
        for name in [".rsa1024-a.kvmc-new-b", "rsa1024-c.taken"] {
            std::fs::write(pool.dir.join(name), "").unwrap();
        }
        pool.sweep();
        assert!(mine.exists());
        assert_eq!(std::fs::read_dir(&pool.dir).unwrap().count(), 2);
        assert!(pool.take(1024).is_some());
    }

    #[test]
    fn filling_stops_when_keys_are_not_wanted_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let pool = KeyPool::open(dir.path());
        pool.fill(1024, 2, || false).unwrap();
        assert!(pool.take(1024).is_none());
    }

    #[test]
    fn an_unfinished_key_is_abandoned_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pool = KeyPool::open(dir.path());
        let looks = std::cell::Cell::new(0);
        // This takes any machine many seconds.
        let began = std::time::Instant::now();
        let wanted = || looks.replace(looks.get() + 1) < 3;
        pool.fill(16384, 1, wanted).unwrap();
        assert!(looks.get() >= 3 && began.elapsed() < Duration::from_secs(5));
        assert_eq!(std::fs::read_dir(&pool.dir).unwrap().count(), 0);
    }

    #[test]
    fn private_keys_do_not_show_in_debug_output() {
        let key = ed25519("n").unwrap();
        assert!(!format!("{key:?}").contains("PRIVATE"));
        assert!(key.private.contains("BEGIN OPENSSH PRIVATE KEY"));
    }
}
