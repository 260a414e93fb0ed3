//! What a download reports while it runs.

/// One report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A line for the user.
    Say(String),
    /// The transfer's progress.
    Bytes {
        /// Bytes of the file that are on the disk.
        done: u64,
        /// The file's length, where the server says it.
        total: Option<u64>,
    },
}
