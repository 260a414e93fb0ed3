//! Finds what the host lacks, and what removed clusters have left.

use anyhow::Result;
use kvmc_images::Architecture;

use super::Local;
use crate::host::{
    Check, Finding as HostFinding, Needs, basics, binfmt_packages, choose, find_program, install,
    register_binfmt, sshpass,
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
        let look = || -> Vec<Check> { basics(&needs).into_iter().chain(sshpass()).collect() };
        let mut checks = look();
        if fix {
            self.fix(architecture, &checks)?;
            checks = look();
        }
        let mut findings: Vec<_> = checks.iter().map(finding).collect();
        if find_program(architecture.platform().qemu.program).is_some() {
            let accelerator = choose(&self.state, AccelChoice::Auto, architecture, false)?;
            let (verdict, what) = match accelerator {
                Accelerator::Kvm => (Verdict::Ok, "KVM works".to_owned()),
                Accelerator::Tcg { why, .. } => (Verdict::Slow, format!("TCG: {why}")),
            };
            findings.push(Finding {
                check: "accelerator".to_owned(),
                verdict,
                what,
            });
        }
        Ok(findings)
    }

    fn fix(&self, architecture: Architecture, checks: &[Check]) -> Result<()> {
        let mut packages = packages(checks);
        packages.extend(binfmt_packages(architecture));
        if !packages.is_empty() {
            let text = format!("installing {}", packages.join(" "));
            self.progress.say(&text);
            install(&packages)?;
        }
        if register_binfmt(architecture)? {
            self.progress.say(&format!(
                "the kernel now runs {architecture} programs with QEMU (binfmt_misc)"
            ));
        }
        Ok(())
    }
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
    let (verdict, what) = match &check.finding {
        HostFinding::Fine(what) => (Verdict::Ok, what.clone()),
        HostFinding::Warning { what, cure, .. } => (Verdict::Warning, format!("{what}; {cure}")),
        HostFinding::Missing { what, cure, .. } => (Verdict::Missing, format!("{what}; {cure}")),
    };
    Finding {
        check: check.name.to_owned(),
        verdict,
        what,
    }
}
