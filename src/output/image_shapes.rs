//! Samples of images, for the snapshots of [`super::shape_tests`].

use kvmc_images::{Architecture, Boot, Guest, Origin};

use crate::model::{FrozenReport, ImageReport};

pub(super) fn image(id: &str, origin: Origin) -> ImageReport {
    ImageReport {
        id: id.to_owned(),
        name: "debian-13-amd64".to_owned(),
        tags: vec!["base".to_owned()],
        architecture: Architecture::Amd64,
        boot: Boot::Direct,
        guest: Guest::Agent,
        origin,
        parent: None,
        created: 1000,
        virtual_size: 3 << 30,
        size: 700 << 20,
        outdated: true,
        digest: "sha256:00ff".to_owned(),
        used_by: vec!["k80".to_owned()],
        frozen: vec![FrozenReport {
            id: "89abcdef".to_owned(),
            size: 120 << 20,
            clusters: vec!["k80".to_owned()],
            shape: "2G of RAM, 2 vcpus".to_owned(),
        }],
    }
}

pub(super) fn pulled() -> ImageReport {
    ImageReport {
        tags: Vec::new(),
        boot: Boot::Uefi,
        guest: Guest::CloudInit,
        parent: Some("0123456789abcdef".to_owned()),
        outdated: false,
        used_by: Vec::new(),
        frozen: Vec::new(),
        ..image(
            "fedcba9876543210",
            Origin::Pulled {
                url: "https://images.example/debian.qcow2".to_owned(),
                checksum: None,
                keyring: None,
            },
        )
    }
}
