//! What the rules of other programs require of kvmc.

use std::fmt;

use super::accept::Accept;

/// What to add to the rules of other programs, and what nothing can be added to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Rules that are not there yet.
    pub accepts: Vec<Accept>,
    /// Drops that no rule of ours undoes.
    pub obstacles: Vec<Obstacle>,
}

/// A chain of another program that drops packets which a cluster needs, and that kvmc does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Whose chain it is, and what in it drops: table, chain, policy or rule.
    pub place: String,
    /// Which packets it drops.
    pub packets: Vec<&'static str>,
    /// How the host's owner lets them through.
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
