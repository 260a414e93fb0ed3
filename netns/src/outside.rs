//! The network namespace outside of the one that this process works in.
//!
//! The process moves into another namespace by moving a thread, before that thread starts others. What belongs outside is
//! then done by a short-lived thread that moves there.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sched::{CloneFlags, setns, unshare};

static OUTSIDE: Mutex<Option<Arc<File>>> = Mutex::new(None);

/// The namespace outside, if this process works in another one.
#[must_use]
pub fn outside() -> Option<Arc<File>> {
    // Nothing panics while it holds the lock.
    OUTSIDE
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// The network namespace of this thread.
///
/// # Errors
/// Fails without /proc.
pub fn here() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

/// Takes `namespace` for the one outside, unless there is one already.
pub fn set_outside(namespace: File) {
    let mut outside = OUTSIDE.lock().unwrap_or_else(PoisonError::into_inner);
    outside.get_or_insert_with(|| Arc::new(namespace));
}

/// Moves this thread into a namespace, or into a new one. What it was in before is outside from now on.
///
/// # Errors
/// Fails without the right to do so.
pub fn enter(namespace: Option<&File>) -> io::Result<()> {
    let before = here()?;
    match namespace {
        Some(namespace) => setns(namespace, CloneFlags::CLONE_NEWNET)?,
        None => unshare(CloneFlags::CLONE_NEWNET)?,
    }
    set_outside(before);
    Ok(())
}

/// Moves this thread back to the namespace outside, if it is in another.
///
/// # Errors
/// Fails without the right to do so.
pub fn leave() -> io::Result<()> {
    match outside() {
        Some(outside) if outside.metadata()?.ino() != here()?.metadata()?.ino() => {
            Ok(setns(&*outside, CloneFlags::CLONE_NEWNET)?)
        }
        _ => Ok(()),
    }
}

/// Does something in the namespace outside, by a thread that ends with it. Without such a namespace this thread does it.
/// Sockets that it opens belong to that namespace, and to this thread's runtime.
///
/// # Errors
/// Fails if no thread can be there.
pub fn run_outside<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let Some(outside) = outside() else {
        return Ok(work());
    };
    let runtime = tokio::runtime::Handle::try_current().ok();
    let there = move || {
        let _entered = runtime.as_ref().map(tokio::runtime::Handle::enter);
        setns(&*outside, CloneFlags::CLONE_NEWNET)?;
        Ok(work())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, there)?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
    })
}
