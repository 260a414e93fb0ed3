//! What the files for Ansible and ssh have in common.

/// First line of what is ours, so that a file of the user's own is never overwritten.
pub(super) const HEADER: &str = "# made by kvmc";

/// ssh_config(5): seconds between questions to a node that says nothing, and how many stay without answer
/// before the connection counts as lost. A node that reboots under a connection takes no leave of it, and ssh
/// would wait for ever; one that is emulated on a busy host may be silent for long.
pub(super) const ALIVE: (u8, u8) = (15, 8);
