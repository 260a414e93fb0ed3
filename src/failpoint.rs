//! Failpoints: a place after each side effect where a test can make a verb fail, wait, or be killed.
//!
//! Without the feature `failpoints` nothing of this is in the program. With it, the environment
//! variable `FAILPOINTS` says what happens where: `up.bridge=return(error)`, `=return(kill)`, `=sleep(2000)`.

/// A failpoint: the enclosing function returns its error, if it has one.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::failpoint::reached($name)?;
    };
}

pub(crate) use failpoint;

/// All failpoints of this crate, each named after its verb and what was just done.
#[cfg(feature = "failpoints")]
pub(crate) const ALL: &[&str] = &[
    "up.lock",
    "up.record",
    "up.secrets",
    "up.files.announced",
    "up.files.one",
    "up.files",
    "up.forwarding.recorded",
    "up.forwarding",
    "up.bridge",
    "up.nat",
    "up.keeper.started",
    "up.keeper",
    "up.disk",
    "up.tap",
    "up.qemu.prepared",
    "up.qemu",
    "up.qemu.recorded",
    "up.done",
    "forward.record",
    "forward.rules",
    "forward.keeper",
    "stop.keeper",
    "stop.nodes",
    "stop.keeper.ended",
    "stop.record",
    "net.forwarding",
    "net.nat",
    "net.bridge",
    "down.record",
    "down.killed",
    "down.keeper",
    "down.network",
    "down.files",
    "down.nodes",
    "down.folder",
    "freeze.folder",
    "freeze.disk",
    "freeze.qemu",
    "freeze.state",
    "freeze.ended",
    "freeze.ram",
    "freeze.meta",
    "freeze.done",
];

/// What the environment wants done here.
#[cfg(feature = "failpoints")]
pub(crate) fn reached(name: &'static str) -> anyhow::Result<()> {
    anyhow::ensure!(ALL.contains(&name), "the failpoint {name} is not listed");
    // So that a test knows that it came here, and when.
    if let Some(path) = std::env::var_os("KVMC_FAILPOINTS_REACHED") {
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path);
        let _unseen = file
            .and_then(|mut f| std::io::Write::write_all(&mut f, format!("{name}\n").as_bytes()));
    }
    fail::fail_point!(name, |how| {
        if how.as_deref() == Some("kill") {
            let _never_back = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        }
        anyhow::bail!("failpoint {name}")
    });
    Ok(())
}

/// All failpoints of the program, member crates included.
#[cfg(feature = "failpoints")]
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    let members = [kvmc_netns::FAILPOINTS, kvmc_images::FAILPOINTS];
    ALL.iter().chain(members.into_iter().flatten()).copied()
}
