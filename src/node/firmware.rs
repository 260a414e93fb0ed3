//! UEFI firmware: code that all nodes share, and variables that each node has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kvmc_images::Architecture;
use serde::Deserialize;

/// Folders of firmware descriptors (QEMU's docs/interop/firmware.json). A file hides those of its name in earlier folders.
const DESCRIPTORS: [&str; 2] = ["/usr/share/qemu/firmware", "/etc/qemu/firmware"];

/// The host's UEFI firmware for an architecture: its code and the template of its variables. Known paths come first, since
/// existing nodes have variables of that firmware, then what the distribution's descriptors name.
///
/// # Errors
/// Fails if it is not installed, with the package to install.
pub(crate) fn uefi(architecture: Architecture) -> Result<(PathBuf, PathBuf)> {
    let uefi = &architecture.platform().uefi;
    let known = uefi.images.iter();
    let known = known.map(|(code, variables)| (PathBuf::from(code), PathBuf::from(variables)));
    known
        .chain(described(architecture, &DESCRIPTORS.map(Path::new)))
        .find(|(code, variables)| code.exists() && variables.exists())
        .with_context(|| {
            format!(
                "the UEFI firmware for {architecture} is not installed; install {} or a similar package, or choose --firmware bios on amd64",
                crate::host::package_name(uefi.package)
            )
        })
}

/// A firmware's descriptor, as far as it is of use here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Descriptor {
    interface_types: Vec<String>,
    mapping: Mapping,
    targets: Vec<Target>,
    #[serde(default)]
    features: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mapping {
    device: String,
    executable: Option<FlashFile>,
    nvram_template: Option<FlashFile>,
}

#[derive(Debug, Deserialize)]
struct FlashFile {
    filename: PathBuf,
    format: String,
}

#[derive(Debug, Deserialize)]
struct Target {
    architecture: String,
    machines: Vec<String>,
}

impl Descriptor {
    /// Code and variables, if a machine of ours can have them.
    fn files(self, architecture: Architecture) -> Option<(PathBuf, PathBuf)> {
        let platform = architecture.platform();
        let kind = platform.qemu.machine.split(',').next().unwrap_or_default();
        let is_ours = |pattern: &String| {
            let pattern = pattern.trim_start_matches("pc-").trim_end_matches('*');
            pattern.trim_end_matches('-') == kind
        };
        let fits =
            |t: &Target| t.architecture == platform.machine && t.machines.iter().any(is_ours);
        // Our machines have no system management mode, and no keys that an image would have to be signed by.
        let is_strict = |f: &String| f == "requires-smm" || f == "enrolled-keys";
        let is_uefi = self.interface_types.iter().any(|t| t == "uefi");
        let is_flash = self.mapping.device == "flash";
        if !is_uefi || !is_flash || self.features.iter().any(is_strict) {
            return None;
        }
        if !self.targets.iter().any(fits) {
            return None;
        }
        let raw = |file: FlashFile| (file.format == "raw").then_some(file.filename);
        let (code, variables) = (self.mapping.executable?, self.mapping.nvram_template?);
        Some((raw(code)?, raw(variables)?))
    }
}

/// The firmware that descriptors name, in the order of their files' names, which is that of preference.
fn described(architecture: Architecture, folders: &[&Path]) -> Vec<(PathBuf, PathBuf)> {
    let mut files = BTreeMap::new();
    for folder in folders {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries.filter(|e| e.path().extension().is_some_and(|x| x == "json")) {
            files.insert(entry.file_name(), entry.path());
        }
    }
    let read = |path: &PathBuf| -> Option<Descriptor> {
        // An empty file hides one of its name.
        serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
    };
    let all = files.values().filter_map(read);
    all.filter_map(|d| d.files(architecture)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(code: &str, format: &str, machines: &str, features: &str) -> String {
        format!(
            r#"{{"description": "x", "interface-types": ["uefi"], "mapping": {{"device": "flash",
            "executable": {{"filename": "/f/{code}", "format": "{format}"}},
            "nvram-template": {{"filename": "/f/vars", "format": "{format}"}}}},
            "targets": [{{"architecture": "x86_64", "machines": [{machines}]}}], "features": [{features}], "tags": []}}"#
        )
    }

    #[test]
    fn firmware_is_found_by_its_descriptors_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let (shared, own) = (dir.path().join("share"), dir.path().join("etc"));
        std::fs::create_dir_all(&shared).unwrap();
        std::fs::create_dir_all(&own).unwrap();
        let q35 = r#""pc-i440fx-*", "pc-q35-*""#;
        let memory = r#"{"interface-types": ["uefi"], "mapping": {"device": "memory", "filename": "/f/m"}, "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}], "features": []}"#;
        for (name, text) in [
            ("10-qcow2.json", descriptor("qcow2", "qcow2", q35, "")),
            (
                "20-smm.json",
                descriptor("smm", "raw", q35, r#""requires-smm""#),
            ),
            (
                "30-keys.json",
                descriptor("keys", "raw", q35, r#""enrolled-keys""#),
            ),
            (
                "40-i440fx.json",
                descriptor("i440fx", "raw", r#""pc-i440fx-*""#, ""),
            ),
            ("45-memory.json", memory.to_owned()),
            (
                "50-plain.json",
                descriptor("plain", "raw", q35, r#""acpi-s3""#),
            ),
            ("60-q35.json", descriptor("q35", "raw", r#""q35""#, "")),
            ("70-broken.json", "{".to_owned()),
            ("README", descriptor("readme", "raw", q35, "")),
        ] {
            std::fs::write(shared.join(name), text).unwrap();
        }
        let codes = || -> Vec<_> {
            let all = described(Architecture::Amd64, &[&shared, &own]).into_iter();
            all.map(|(code, variables)| {
                assert_eq!(variables, Path::new("/f/vars"));
                code.display().to_string()
            })
            .collect()
        };
        assert_eq!(codes(), ["/f/plain", "/f/q35"]);
        assert!(described(Architecture::Arm64, &[&shared]).is_empty());
        // The administrator's folder hides files, and has its own.
        std::fs::write(own.join("50-plain.json"), "").unwrap();
        std::fs::write(own.join("05-own.json"), descriptor("own", "raw", q35, "")).unwrap();
        assert_eq!(codes(), ["/f/own", "/f/q35"]);
    }

    #[test]
    fn this_hosts_descriptors_name_files_that_are_there() {
        let folders = DESCRIPTORS.map(Path::new);
        for (code, variables) in described(Architecture::Amd64, &folders) {
            assert!(code.exists() && variables.exists(), "{}", code.display());
        }
    }
}
