//! What `doctor --fix` did to the host, written down so that `--undo` takes it back.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::super::Local;
use crate::hint::{bail_with_hint, host_command};
use crate::host::{installed_packages, remove_binfmt, remove_packages};
use crate::model::{Finding, NothingThere, Verdict};
use crate::state::{State, private_dir, read_json, remove_file, replace_json};

/// The file's contents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Fixes {
    /// Packages that were not installed before, by their names on this host, in the order of their installation.
    packages: Vec<String>,
    /// Rules of binfmt_misc.
    rules: Vec<String>,
}

impl Fixes {
    fn load(state: &State) -> Result<Self> {
        Ok(read_json(&state.fixes())?.unwrap_or_default())
    }

    fn save(&self, state: &State) -> Result<()> {
        let path = state.fixes();
        if *self == Self::default() {
            return remove_file(&path);
        }
        replace_json(&path, self, 0o600)
    }

    /// Notes packages that `--fix` has installed, with those that came with them.
    ///
    /// # Errors
    /// Fails if the file cannot be read or written.
    pub(super) fn note_packages(
        state: &State,
        packages: impl Iterator<Item = String>,
    ) -> Result<()> {
        let mut fixes = Self::load(state)?;
        add(&mut fixes.packages, packages);
        fixes.keep(state)
    }

    /// Notes a rule of binfmt_misc that `--fix` has registered.
    ///
    /// # Errors
    /// Fails if the file cannot be read or written.
    pub(super) fn note_rule(state: &State, rule: &str) -> Result<()> {
        let mut fixes = Self::load(state)?;
        add(&mut fixes.rules, std::iter::once(rule.to_owned()));
        fixes.keep(state)
    }

    fn keep(&self, state: &State) -> Result<()> {
        if *self == Self::default() {
            return Ok(());
        }
        private_dir(state.root())?;
        self.save(state)
    }
}

fn add(to: &mut Vec<String>, new: impl Iterator<Item = String>) {
    for one in new {
        if !to.contains(&one) {
            to.push(one);
        }
    }
}

impl Local {
    /// Takes back what `--fix` did. Removed remains and restored records stay as they are.
    ///
    /// # Errors
    /// Fails if nothing is noted, or if the note cannot be read or written.
    pub(crate) fn undo_fixes(&self) -> Result<Vec<Finding>> {
        let remove = |packages: &[String]| {
            // A package that the user has removed meanwhile would make the whole removal fail.
            let there = installed_packages();
            let is_there = |p: &&String| there.is_empty() || there.contains(*p);
            let packages: Vec<_> = packages.iter().filter(is_there).cloned().collect();
            match packages.is_empty() {
                true => Ok(()),
                false => remove_packages(&packages),
            }
        };
        undo(&self.state, &remove, &remove_binfmt)
    }

    /// The packages and rules that [`Self::undo_fixes`] would remove.
    ///
    /// # Errors
    /// Fails if clusters are there, which need them, and if the note cannot be read.
    pub(crate) fn noted_fixes(&self) -> Result<Vec<String>> {
        let clusters = self.state.cluster_names();
        if !clusters.is_empty() {
            let down = host_command("down --all");
            bail_with_hint!(
                format!("{down} removes all clusters"),
                "clusters need what --fix has installed: {}",
                clusters.join(", ")
            );
        }
        let fixes = Fixes::load(&self.state)?;
        Ok(fixes.packages.into_iter().chain(fixes.rules).collect())
    }
}

/// What is not taken back stays noted.
fn undo(
    state: &State,
    remove_packages: &dyn Fn(&[String]) -> Result<()>,
    remove_rule: &dyn Fn(&str) -> Result<()>,
) -> Result<Vec<Finding>> {
    let mut fixes = Fixes::load(state)?;
    if fixes == Fixes::default() {
        let fix = host_command("doctor --fix");
        let text = format!("{fix} has done nothing on this host that could be taken back");
        return Err(NothingThere(text).into());
    }
    let mut findings = Vec::new();
    let mut tell = |check: &str, what: &str, result: Result<()>| {
        let is_done = result.is_ok();
        findings.push(match result {
            Ok(()) => Finding::of(check, Verdict::Mended, format!("removed {what}")),
            Err(e) => Finding::of(check, Verdict::Remains, format!("{what}: {e:#}")),
        });
        is_done
    };
    fixes
        .rules
        .retain(|rule| !tell("binfmt_misc", rule, remove_rule(rule)));
    fixes.save(state)?;
    if !fixes.packages.is_empty() {
        let names = fixes.packages.join(" ");
        if tell("packages", &names, remove_packages(&fixes.packages)) {
            fixes.packages.clear();
        }
    }
    fixes.save(state)?;
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use anyhow::bail;

    use super::*;

    #[test]
    fn what_was_done_is_taken_back_once_and_what_fails_stays_noted() {
        let root = tempfile::tempdir().unwrap();
        let state = State::at(&root.path().join("state"));
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        Fixes::note_packages(&state, std::iter::empty()).unwrap();
        assert!(!state.fixes().exists(), "nothing was done");
        Fixes::note_packages(&state, names(&["nftables"]).into_iter()).unwrap();
        Fixes::note_packages(&state, names(&["nftables", "libx"]).into_iter()).unwrap();
        Fixes::note_rule(&state, "qemu-aarch64").unwrap();
        let asked = RefCell::new(Vec::new());
        let refuses = |packages: &[String]| -> Result<()> {
            asked.borrow_mut().push(packages.to_vec());
            bail!("needed by x")
        };
        let found = undo(&state, &refuses, &|_| Ok(())).unwrap();
        let verdicts: Vec<_> = found.iter().map(|f| f.verdict).collect();
        assert_eq!(verdicts, [Verdict::Mended, Verdict::Remains]);
        assert!(found[1].what.contains("needed by x"), "{found:?}");
        // Only the packages are left to be taken back.
        let accepts = |packages: &[String]| -> Result<()> {
            asked.borrow_mut().push(packages.to_vec());
            Ok(())
        };
        let found = undo(&state, &accepts, &|_| bail!("no rule is left")).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(*asked.borrow(), vec![names(&["nftables", "libx"]); 2]);
        assert!(!state.fixes().exists());
        let nothing = undo(&state, &accepts, &|_| Ok(())).unwrap_err();
        assert!(nothing.is::<NothingThere>());
    }
}
