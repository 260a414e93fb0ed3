//! The shape: everything that a frozen machine depends on.

use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use kvmc_images::{Architecture, Image, kernel_command_line};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::host::qemu_program;
use crate::ids::hex;
use crate::model::Accelerator;
use crate::node::NicKind;
use crate::spec::Bytes;

/// Goes up when a node's devices or the way of freezing change, which makes older states unusable.
const REVISION: u32 = 3;

/// Nodes of one shape can wake from the same frozen machine. A change in any field makes another shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    revision: u32,
    /// Digest of the image.
    pub(crate) image: String,
    architecture: String,
    /// The QEMU binary's path, size and modification time, because a state fits only the QEMU that wrote it.
    qemu: String,
    accelerator: String,
    machine: String,
    pub(crate) cpu: String,
    /// The CPU model was requested, so it is not the accelerator's default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_cpu_asked: bool,
    /// The processor that `-cpu host` or `max` selects here.
    processor: String,
    pub(crate) vcpus: u32,
    pub(crate) ram: Bytes,
    kernel_line: String,
    /// One kind for each network. Older shapes had one NIC.
    #[serde(
        default = "NicKind::one",
        rename = "cards",
        skip_serializing_if = "is_one"
    )]
    pub(crate) nics: Vec<NicKind>,
    /// The number of extra disks.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(crate) extra_disks: usize,
}

/// What the shape of a node depends on beside its image and the host.
#[derive(Debug, Clone)]
pub(crate) struct Hardware {
    pub(crate) vcpus: u32,
    pub(crate) ram: Bytes,
    /// QEMU's `-cpu`, if it is not the accelerator's default.
    pub(crate) cpu: Option<String>,
    pub(crate) nics: Vec<NicKind>,
    pub(crate) extra_disks: usize,
}

/// Keeps the names of machines that were frozen before nodes could have extra disks.
const fn is_none(extra_disks: &usize) -> bool {
    *extra_disks == 0
}

/// Keeps the names of machines that were frozen before nodes could have several NICs.
fn is_one(nics: &[NicKind]) -> bool {
    nics == NicKind::one()
}

impl Shape {
    /// The shape of a node on this host.
    ///
    /// # Errors
    /// Fails if QEMU is missing.
    pub(crate) fn new(
        image: &Image,
        accelerator: &Accelerator,
        hardware: Hardware,
    ) -> Result<Self> {
        let Hardware {
            vcpus,
            ram,
            cpu,
            nics,
            extra_disks,
        } = hardware;
        let architecture = image.architecture;
        let platform = &architecture.platform().qemu;
        Ok(Self {
            revision: REVISION,
            image: image.id.clone(),
            architecture: architecture.to_string(),
            qemu: qemu(architecture)?,
            accelerator: accelerator.name().to_owned(),
            machine: platform.machine.to_owned(),
            is_cpu_asked: cpu.is_some(),
            cpu: cpu.unwrap_or_else(|| accelerator.cpu(architecture).to_owned()),
            processor: processor(),
            vcpus,
            ram,
            kernel_line: kernel_command_line(architecture, !accelerator.is_kvm()),
            nics,
            extra_disks,
        })
    }

    /// Whether a node on this host could still have this shape.
    pub(crate) fn is_current(&self, image: &Image) -> bool {
        let accelerators = [
            Accelerator::Kvm,
            Accelerator::Tcg {
                why: String::new(),
                said: String::new(),
            },
        ];
        accelerators.iter().any(|accelerator| {
            let hardware = Hardware {
                vcpus: self.vcpus,
                ram: self.ram,
                cpu: self.is_cpu_asked.then(|| self.cpu.clone()),
                nics: self.nics.clone(),
                extra_disks: self.extra_disks,
            };
            Self::new(image, accelerator, hardware).is_ok_and(|shape| shape == *self)
        })
    }

    /// The QEMU binary that it needs.
    pub(crate) fn qemu(&self) -> &str {
        &self.qemu
    }

    /// Its machine apart from QEMU and image, as digits of a digest.
    pub(crate) fn machine_key(&self) -> String {
        let alone = Self {
            qemu: String::new(),
            image: String::new(),
            ..self.clone()
        };
        alone.key()
    }

    /// The name of the shape, digits of a digest of all its fields.
    pub(crate) fn key(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        hex(Sha256::digest(text).get(..8).unwrap_or_default())
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let vcpus = if self.vcpus == 1 { "vcpu" } else { "vcpus" };
        write!(f, "{}, {} {vcpus}", self.ram, self.vcpus)?;
        match self.nics.len() {
            1 => {}
            more => write!(f, ", {more} NICs")?,
        }
        if self.is_cpu_asked {
            write!(f, ", CPU {}", self.cpu)?;
        }
        match self.extra_disks {
            0 => Ok(()),
            1 => f.write_str(", 1 extra disk"),
            more => write!(f, ", {more} extra disks"),
        }
    }
}

fn qemu(architecture: Architecture) -> Result<String> {
    let path = qemu_program(architecture);
    let meta =
        fs_err::metadata(&path).with_context(|| format!("{} cannot be found", path.display()))?;
    Ok(format!(
        "{} {} {}",
        path.display(),
        meta.len(),
        meta.mtime()
    ))
}

/// Model and features. A state with features that the host has lost would not load, or worse, would load.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut lines: Vec<_> = text
        .lines()
        .take_while(|l| !l.is_empty())
        .filter(|l| {
            ["vendor_id", "model", "flags", "CPU part", "Features"]
                .iter()
                .any(|k| l.starts_with(k))
        })
        .collect();
    lines.sort_unstable();
    hex(Sha256::digest(lines.join("\n"))
        .get(..8)
        .unwrap_or_default())
}
