//! Failpoints, as the binary has them; see its src/failpoint.rs.

/// A failpoint: the enclosing function returns its error, if it has one.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::failpoint::reached($name)?;
    };
}

pub(crate) use failpoint;

/// All failpoints of this crate.
#[cfg(feature = "failpoints")]
pub const FAILPOINTS: &[&str] = &[
    "image.folder",
    "image.packages",
    "image.tree",
    "image.disk",
    "image.meta",
    "image.done",
    "pull.mark",
    "pull.received",
    "pull.disk",
    "pull.pointer",
    "import.copy",
    "import.disk",
    "import.pointer",
];

#[cfg(feature = "failpoints")]
pub(crate) fn reached(name: &'static str) -> std::io::Result<()> {
    let failed = |what: &str| Err(std::io::Error::other(format!("{what} {name}")));
    if !FAILPOINTS.contains(&name) {
        return failed("not listed: failpoint");
    }
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
        failed("failpoint")
    });
    Ok(())
}
