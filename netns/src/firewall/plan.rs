//! The additions that the rules of other programs require.

use std::fmt;

use super::accept::Accept;

/// The rules to add for other programs, and the drops that no rule undoes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Additions that are missing.
    pub accepts: Vec<Accept>,
    /// Drops that no rule of ours undoes.
    pub obstacles: Vec<Obstacle>,
}

/// A chain of another program that drops packets which a cluster needs. kvmc does not change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The table, the chain, and the policy or rule that drops.
    pub place: String,
    /// Which packets it drops.
    pub packets: Vec<&'static str>,
    /// The command by which the host's owner lets them through.
    pub cure: String,
    /// False when a rule that kvmc does not understand may let them through.
    pub certain: bool,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            packets,
            cure,
            certain,
        } = self;
        let drops = if *certain { "drops" } else { "seems to drop" };
        write!(
            f,
            "{place} {drops} packets {}, and a rule elsewhere cannot undo that; {cure}",
            packets.join(", ")
        )
    }
}
