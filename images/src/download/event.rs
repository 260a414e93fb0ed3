//! The reports of a running download.

/// One report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A line for the user.
    Say(String),
    /// The transfer's progress.
    Bytes {
        /// Bytes of the file that are on the disk.
        done: u64,
        /// The file's length, if the server sends it.
        total: Option<u64>,
    },
}
