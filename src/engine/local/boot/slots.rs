//! Limits how many nodes start at once.

use tokio::sync::Semaphore;

use crate::model::Accelerator;

/// Emulated nodes that wake at once, for each core. One for each core leaves cores idle while the last nodes wake;
/// with many, no node is ready for long.
const WAKING_PER_CORE: usize = 4;

/// Permits for nodes that start at once.
pub(super) struct Slots {
    pub(super) booting: Semaphore,
    pub(super) waking: Semaphore,
}

impl Slots {
    pub(super) fn of(cores: u32, accelerator: &Accelerator) -> Self {
        let waking = match accelerator.is_kvm() {
            true => Semaphore::MAX_PERMITS,
            false => count(cores).saturating_mul(WAKING_PER_CORE),
        };
        Self {
            booting: Semaphore::new(count(cores)),
            waking: Semaphore::new(waking),
        }
    }
}

fn count(cores: u32) -> usize {
    usize::try_from(cores).unwrap_or(1).max(1)
}
