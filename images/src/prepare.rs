//! Prepared cloud images: kvmc boots an image once, with a seed that installs the agent.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::error::ImageError;
use crate::guest_files::{AGENT, CLOUD_AGENT, TEMPLATE};
use crate::image::{Guest, Image, Origin};
use crate::layer::Commit;
use crate::store::Store;

/// The script that adapts the image to the agent, after cloud-init has done everything else.
const SCRIPT: &str = "/usr/lib/kvmc/prepare";
/// Files that only a cloud image gets, by path.
const FILES: [(&str, &str); 7] = [
    ("/usr/lib/kvmc/grow", include_str!("../guest/grow")),
    (
        "/usr/lib/kvmc/user-data",
        include_str!("../guest/user-data"),
    ),
    (SCRIPT, include_str!("../guest/prepare")),
    (
        "/etc/systemd/system/kvmc-agent.service",
        include_str!("../guest/cloud-agent.service"),
    ),
    (
        "/etc/cloud/cloud.cfg.d/99-kvmc.cfg",
        "datasource_list: [NoCloud, None]\nnetwork: {config: disabled}\n",
    ),
    // Only the agent names the NICs.
    (
        "/etc/systemd/network/10-kvmc.link",
        "[Match]\nDriver=virtio_net\n\n[Link]\nNamePolicy=keep\n",
    ),
    (
        "/etc/sysctl.d/10-ping.conf",
        "net.ipv4.ping_group_range = 0 2147483647\n",
    ),
];
/// The template's files that a cloud image also gets, in addition to the agent.
const SHARED: [&str; 5] = [
    "etc/ssh/sshd_config.d/kvmc.conf",
    "usr/lib/kvmc/start.py",
    "usr/lib/kvmc/settle",
    "etc/systemd/network/10-eth0.network",
    "etc/systemd/system/systemd-networkd-wait-online.service.d/kvmc.conf",
];

fn files() -> impl Iterator<Item = (String, &'static str)> {
    let shared = TEMPLATE.iter().filter(|(path, _)| SHARED.contains(path));
    let agent = AGENT.iter().chain(&CLOUD_AGENT);
    shared
        .chain(agent)
        .map(|(path, text)| (format!("/{path}"), *text))
        .chain(FILES.map(|(path, text)| (path.to_owned(), text)))
}

/// The `user-data` of the boot that prepares an image: kvmc's user and files, and the script at its end.
///
/// The script sends `prepared` or `unfit` by the agent's port, and powers the machine off.
#[must_use]
pub fn user_data(admin: &str) -> Value {
    let write: Vec<_> = files()
        .map(|(path, text)| json!({ "path": path, "content": text, "permissions": "0644" }))
        .collect();
    json!({
        "users": [{
            "name": admin,
            "gecos": admin,
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "lock_passwd": true,
        }],
        "ssh_pwauth": true,
        "growpart": { "mode": "off" },
        "resize_rootfs": false,
        "write_files": write,
        "runcmd": [["sh", SCRIPT]],
    })
}

/// The store's pointer from an image to its prepared image.
fn pointer(parent: &Image) -> String {
    let mut hash = Sha256::new();
    for (path, text) in files() {
        hash.update(path);
        hash.update([0]);
        hash.update(text);
    }
    let key = hex(&hash.finalize());
    format!("prepared:{}:{}", parent.id, key.get(..16).unwrap_or(&key))
}

impl Store {
    /// The image that was prepared from `parent` with this version's files.
    ///
    /// # Errors
    /// The image cannot be read.
    pub fn prepared(&self, parent: &Image) -> Result<Option<Image>, ImageError> {
        self.pointed(&pointer(parent), parent.architecture)
    }

    /// Stores the disk of a prepared machine as an image on its parent.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn keep_prepared(
        &self,
        parent: &Image,
        disk: &std::path::Path,
    ) -> Result<Image, ImageError> {
        let mut disks = vec![disk.to_owned()];
        disks.extend(parent.layers.clone());
        let commit = Commit {
            disks,
            parent,
            name: format!("{} (prepared)", parent.name),
            origin: Origin::Prepared,
            guest: Guest::Agent,
        };
        let image = self.commit(&commit, &mut |_| {})?;
        self.point(&pointer(parent), &image)?;
        Ok(image)
    }

    /// Whether an image has cloud-init; a prepared one keeps it.
    #[must_use]
    pub fn has_cloud_init(&self, image: &Image) -> bool {
        if image.guest == Guest::CloudInit {
            return true;
        }
        let parent = image.parent.as_deref().map(|id| self.get(id));
        matches!(parent, Some(Ok(parent)) if self.has_cloud_init(&parent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_brings_all_that_the_agent_is_made_of() {
        let data = user_data("admin");
        let paths: Vec<_> = data["write_files"].as_array().unwrap().iter().collect();
        assert_eq!(
            paths.len(),
            FILES.len() + SHARED.len() + AGENT.len() + CLOUD_AGENT.len()
        );
        for path in ["start.py", "agent/agent.py", "agent/cloud.py", "prepare"] {
            let path = format!("/usr/lib/kvmc/{path}");
            assert!(paths.iter().any(|f| f["path"] == path), "{path}");
        }
        assert_eq!(data["users"][0]["name"], "admin");
    }
}
