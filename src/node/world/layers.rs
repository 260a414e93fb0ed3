//! The layers of a QEMU's confinement that a host may lack.

use std::fmt;

/// One layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// A mount namespace of its own.
    Mounts,
    /// A root with nothing but what its program reads, until it has started.
    Root,
    /// A PID namespace of its own.
    Pids,
    /// An IPC namespace of its own.
    Ipc,
    /// A UTS namespace of its own.
    Uts,
    /// A network namespace of its own, without an interface.
    Net,
    /// Landlock's rules, landlock(7).
    Landlock,
    /// kvmc's own filter of system calls.
    Filter,
    /// A session keyring of its own.
    Keyring,
}

impl Layer {
    pub(crate) const ALL: [Self; 9] = [
        Self::Mounts,
        Self::Root,
        Self::Pids,
        Self::Ipc,
        Self::Uts,
        Self::Net,
        Self::Landlock,
        Self::Filter,
        Self::Keyring,
    ];

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mounts => "mount namespace",
            Self::Root => "empty root",
            Self::Pids => "PID namespace",
            Self::Ipc => "IPC namespace",
            Self::Uts => "UTS namespace",
            Self::Net => "network namespace",
            Self::Landlock => "Landlock",
            Self::Filter => "seccomp filter",
            Self::Keyring => "session keyring",
        })
    }
}

/// A set of layers. The child sends it to its parent as one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Layers(u16);

impl Layers {
    #[cfg(test)]
    fn all() -> Self {
        let mut all = Self::default();
        for layer in Layer::ALL {
            all.add(layer);
        }
        all
    }

    pub(crate) const fn add(&mut self, layer: Layer) {
        self.0 |= layer.bit();
    }

    pub(crate) const fn has(self, layer: Layer) -> bool {
        self.0 & layer.bit() != 0
    }

    /// The layers that are not in the set, in words.
    pub(crate) fn lacking(self) -> Vec<String> {
        let lacking = Layer::ALL.into_iter().filter(|layer| !self.has(*layer));
        lacking.map(|layer| layer.to_string()).collect()
    }

    pub(super) const fn to_bytes(self) -> [u8; 2] {
        self.0.to_le_bytes()
    }

    pub(super) const fn from_bytes(bytes: [u8; 2]) -> Self {
        Self(u16::from_le_bytes(bytes))
    }
}

/// The namespaces of a running process that are the host's, in words.
pub(crate) fn seen(pid: i32) -> Vec<String> {
    let shared = NAMESPACES.into_iter();
    let shared = shared.filter(|(name, _)| shares(pid, name) == Some(true));
    shared.map(|(_, layer)| layer.to_string()).collect()
}

/// Names of namespaces in `/proc/PID/ns`, namespaces(7).
const NAMESPACES: [(&str, Layer); 5] = [
    ("mnt", Layer::Mounts),
    ("pid", Layer::Pids),
    ("ipc", Layer::Ipc),
    ("uts", Layer::Uts),
    ("net", Layer::Net),
];

/// Whether a process is in the same namespace as this one. `None` if that cannot be seen.
pub(in crate::node) fn shares(pid: i32, namespace: &str) -> Option<bool> {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/{namespace}")).ok();
    // A verb for a fork moves its thread alone into the fork's network namespace.
    Some(of(&pid.to_string())? == of("thread-self")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_shares_its_own_namespaces() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(seen(own).len(), NAMESPACES.len());
        assert!(seen(-1).is_empty());
    }

    #[test]
    fn layers_survive_the_way_to_the_parent() {
        let mut some = Layers::default();
        assert_eq!(some.lacking().len(), Layer::ALL.len());
        some.add(Layer::Net);
        some.add(Layer::Keyring);
        assert_eq!(Layers::from_bytes(some.to_bytes()), some);
        assert!(some.has(Layer::Net) && !some.has(Layer::Root));
        assert!(Layers::all().lacking().is_empty());
        assert_eq!(
            some.lacking(),
            [
                "mount namespace",
                "empty root",
                "PID namespace",
                "IPC namespace",
                "UTS namespace",
                "Landlock",
                "seccomp filter"
            ]
        );
    }
}
