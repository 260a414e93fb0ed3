//! The build steps in a machine: packages, copies, scripts and playbooks, in this order.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::machine::Machine;
use super::request::BuildSource;
use crate::hint::bail_with_hint;
use crate::ids::hex;
use crate::model::Progress;

/// Folder on the node, below the home of the user admin.
const FOLDER: &str = ".kvmc-build";
/// Installs packages with the package manager of the guest.
const INSTALL: &str = r#"set -e
if command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q; apt-get install -q -y --no-install-recommends "$@"; apt-get clean
elif command -v dnf >/dev/null; then dnf -y install "$@"; dnf clean all
elif command -v zypper >/dev/null; then zypper -n install "$@"; zypper clean
elif command -v apk >/dev/null; then apk add "$@"
else echo "no package manager found; expected apt-get, dnf, zypper or apk" >&2; exit 1
fi"#;

/// Everything to do in the machine.
pub(super) struct Work {
    copies: Vec<(PathBuf, String)>,
    runs: Vec<PathBuf>,
    /// SHA-256 of the scripts and playbooks.
    pub(super) digest: String,
}

impl Work {
    /// Checks the whole request before anything is made.
    pub(super) fn read(how: &BuildSource) -> Result<Self> {
        let mut copies = Vec::new();
        for copy in &how.copy {
            let Some((from, to)) = copy
                .rsplit_once(':')
                .filter(|(f, t)| !f.is_empty() && t.starts_with('/'))
            else {
                bail!("--copy `{copy}` is not FROM:TO with an absolute path TO");
            };
            fs_err::symlink_metadata(from).context("--copy")?;
            copies.push((std::path::absolute(from)?, to.to_owned()));
        }
        let mut digest = Sha256::new();
        let mut runs = Vec::new();
        for path in &how.run {
            digest.update(fs_err::read(path).context("--run")?);
            runs.push(std::path::absolute(path)?);
        }
        let playbooks = runs.iter().any(|r| is_playbook(r));
        if playbooks && crate::host::find_program("ansible-playbook").is_none() {
            bail_with_hint!(
                "install Ansible",
                "--run of a playbook needs `ansible-playbook`, which is not installed on this host"
            );
        }
        Ok(Self {
            copies,
            runs,
            digest: hex(&digest.finalize()),
        })
    }

    /// A name for an image that was given none.
    pub(super) fn name(&self) -> String {
        let last = self.runs.last().and_then(|r| r.file_stem());
        last.map_or_else(|| "built".to_owned(), |s| s.to_string_lossy().into_owned())
    }

    pub(super) async fn carry_out(
        &self,
        node: &Machine<'_>,
        packages: &[String],
        progress: &dyn Progress,
    ) -> Result<()> {
        if !packages.is_empty() {
            progress.say(&format!("installing {}", packages.join(" ")));
            let script = format!(
                "sudo -n sh -c {} sh {}",
                quoted(INSTALL),
                all_quoted(packages)
            );
            node.ssh(&script)
                .await
                .context("the packages cannot be installed")?;
        }
        node.ssh(&format!("mkdir -p {FOLDER}")).await?;
        for (number, (from, to)) in self.copies.iter().enumerate() {
            progress.say(&format!("copying {} to {to}", from.display()));
            let staged = format!("{FOLDER}/copy{number}");
            node.copy(from, &staged).await?;
            let folder = Path::new(to).parent().unwrap_or(Path::new("/"));
            let folder = quoted(&folder.display().to_string());
            node.ssh(&format!(
                "sudo -n sh -ec 'chown -R 0:0 \"$1\"; mkdir -p \"$2\"; cp -a \"$1\" \"$3\"' sh {staged} {folder} {}",
                quoted(to)
            ))
            .await
            .with_context(|| format!("--copy to {to}"))?;
        }
        for (number, script) in self.runs.iter().enumerate() {
            progress.say(&format!("running {}", script.display()));
            if is_playbook(script) {
                node.play(script).await?;
            } else {
                let staged = format!("{FOLDER}/run{number}");
                node.copy(script, &staged).await?;
                node.ssh(&format!("chmod 755 {staged} && sudo -n ./{staged}"))
                    .await
                    .with_context(|| format!("{}", script.display()))?;
            }
        }
        // Sync now, because the machine is stopped next.
        node.ssh(&format!("sudo -n rm -rf {FOLDER} .ansible && sync"))
            .await
    }
}

fn is_playbook(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "yml" || e == "yaml")
}

/// Quotes a word for sh(1).
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn all_quoted(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|w| quoted(w)).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(copy: &str, run: Option<&Path>) -> BuildSource {
        let mut flags = BuildSource::default();
        flags.run.extend(run.map(Path::to_owned));
        flags.copy.push(copy.to_owned());
        flags
    }

    #[test]
    fn a_wrong_request_is_refused_before_there_is_a_machine() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("set up.sh");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        let copy = format!("{}:/opt/x", script.display());
        let work = Work::read(&flags(&copy, Some(&script))).unwrap();
        assert_eq!(work.copies, [(script.clone(), "/opt/x".to_owned())]);
        assert_eq!((work.name().as_str(), work.digest.len()), ("set up", 64));
        for bad in ["x", "/etc/passwd:opt", ":/opt", "/etc/passwd:"] {
            let error = Work::read(&flags(bad, None)).err().unwrap().to_string();
            assert!(error.contains("is not FROM:TO"), "{error}");
        }
        assert!(Work::read(&flags("/none/such:/opt", None)).is_err());
        assert!(Work::read(&flags(&copy, Some(Path::new("/none/such")))).is_err());
        assert!(is_playbook(Path::new("a.yml")) && !is_playbook(Path::new("a.sh")));
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
