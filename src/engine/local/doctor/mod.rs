//! Finds what the host lacks, and what removed clusters have left; mends it, and takes that back.

mod confinement;
mod fixes;
mod network;

use anyhow::Result;
use kvmc_images::Architecture;

use self::confinement::{confinement, limits};
use self::fixes::Fixes;
use super::Local;
use crate::host::{
    Check, Finding as HostFinding, Installed, Needs, add_versions, advice, ansible, basics,
    binfmt_packages, binfmt_rule, choose, find_qemu_program, install, installed_packages,
    package_name, register_binfmt, sshpass,
};
use crate::model::{Accelerator, Finding, Verdict};
use crate::spec::AccelChoice;

impl Local {
    /// Checks the host for guests of an architecture. With `fix`, installs what is missing.
    ///
    /// # Errors
    /// Fails if something cannot be installed.
    pub(crate) fn doctor(&self, architecture: Architecture, fix: bool) -> Result<Vec<Finding>> {
        let needs = Needs {
            architecture,
            build: true,
        };
        let look = || -> Vec<Check> {
            let all = basics(&needs).into_iter().chain([ansible()]);
            all.chain(sshpass()).collect()
        };
        let mut checks = look();
        if fix {
            let installed = self.fix(architecture, &checks)?;
            checks = look();
            for check in &mut checks {
                after_fix(check, &installed);
            }
        }
        add_versions(&mut checks, architecture);
        checks.extend(advice(self.state.root()));
        let mut findings: Vec<_> = checks.iter().map(finding).collect();
        if let Some(program) = find_qemu_program(architecture) {
            findings.extend(confinement(&program));
            findings.push(limits());
            let accelerator = choose(&self.state, AccelChoice::Auto, architecture, false)?;
            let (verdict, what) = match accelerator {
                Accelerator::Kvm => (Verdict::Ok, "KVM works".to_owned()),
                Accelerator::Tcg { why, .. } => (Verdict::Slow, format!("TCG: {why}")),
            };
            findings.push(Finding::of("accelerator", verdict, what));
        }
        Ok(findings)
    }

    fn fix(&self, architecture: Architecture, checks: &[Check]) -> Result<Installed> {
        let mut installed = Installed::default();
        let mut packages = packages(checks);
        packages.extend(binfmt_packages(architecture));
        if !packages.is_empty() {
            let text = format!("installing {}", packages.join(" "));
            self.progress.say(&text);
            let before = installed_packages();
            let result = install(&packages);
            // Also what came with a failed one is to be taken back.
            let new = installed_packages();
            Fixes::note_packages(&self.state, new.difference(&before).cloned())?;
            installed = result?;
        }
        if register_binfmt(architecture)? {
            Fixes::note_rule(&self.state, &binfmt_rule(architecture))?;
            self.progress.say(&format!(
                "the kernel now runs {architecture} programs with QEMU (binfmt_misc)"
            ));
        }
        Ok(installed)
    }
}

/// Replaces the cure of a check that still fails: `doctor --fix` was just tried.
fn after_fix(check: &mut Check, installed: &Installed) {
    let HostFinding::Missing { cure, package, .. } = &mut check.finding else {
        return;
    };
    let Some(package) = *package else {
        return;
    };
    let failed = installed.failed.iter().find(|(p, _)| *p == package);
    let package = package_name(package);
    *cure = match failed {
        Some((_, why)) => format!("{why}; install {package} or its like by hand"),
        None => format!(
            "{package} was installed and has it not; install it by hand, into a folder of PATH"
        ),
    };
}

fn packages(checks: &[Check]) -> Vec<&'static str> {
    let mut packages: Vec<_> = checks
        .iter()
        .filter_map(|c| match &c.finding {
            HostFinding::Missing { package, .. } | HostFinding::Warning { package, .. } => *package,
            _ => None,
        })
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn finding(check: &Check) -> Finding {
    let (verdict, what, cure) = match &check.finding {
        HostFinding::Fine(what) => (Verdict::Ok, what, None),
        HostFinding::Warning { what, cure, .. } => (Verdict::Warning, what, Some(cure)),
        HostFinding::Missing { what, cure, .. } => (Verdict::Missing, what, Some(cure)),
    };
    Finding {
        cure: cure.cloned(),
        ..Finding::of(check.name, verdict, what.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::host_command;

    #[test]
    fn a_fix_that_failed_is_not_advised_again() {
        let missing = |package| Check {
            name: "x",
            finding: HostFinding::Missing {
                what: "the program `x` is not installed".to_owned(),
                cure: format!("{} installs it", host_command("doctor --fix")),
                package,
            },
        };
        let installed = Installed {
            failed: vec![("mmdebstrap", "`dnf install mmdebstrap` failed".to_owned())],
        };
        let told = |package| {
            let mut check = missing(package);
            after_fix(&mut check, &installed);
            let Finding { what, cure, .. } = finding(&check);
            format!("{what}; {}", cure.unwrap_or_default())
        };
        assert_eq!(
            told(Some("mmdebstrap")),
            "the program `x` is not installed; `dnf install mmdebstrap` failed; install mmdebstrap or its like by hand"
        );
        for package in [Some("mmdebstrap"), Some("nftables")] {
            assert!(!told(package).contains("--fix"));
        }
    }
}
