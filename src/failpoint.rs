//! The failpoints of this crate, see tests/failpoint.

/// A failpoint. It makes the enclosing function return the failpoint's error, if one is set.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        kvmc_failpoint::reached($crate::failpoint::ALL, $name)?;
    };
}

pub(crate) use failpoint;

/// All failpoints of this crate, each named after its verb and the change that was just made.
#[cfg(feature = "failpoints")]
pub(crate) const ALL: &[&str] = &[
    "up.lock",
    "up.record",
    "up.secrets",
    "up.files.folder",
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

/// All failpoints of the program, including member crates.
#[cfg(feature = "failpoints")]
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    let members = [kvmc_netns::FAILPOINTS, kvmc_images::FAILPOINTS];
    ALL.iter().chain(members.into_iter().flatten()).copied()
}
