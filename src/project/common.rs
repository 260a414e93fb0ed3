//! Constants that the files for Ansible and ssh share.

/// The first line of kvmc's files, so that a file of the user is never overwritten.
pub(super) const HEADER: &str = "# made by kvmc";

/// ssh_config(5): seconds between questions to a silent node, and unanswered questions after which the connection
/// counts as lost. A rebooting node does not close its connections, and ssh would wait forever. An emulated node on a
/// busy host may be silent for long.
pub(super) const ALIVE: (u8, u8) = (15, 8);
