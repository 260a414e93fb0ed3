//! `doctor`.

use std::process::ExitCode;

use anyhow::{Context, Result};

use kvmc_images::Architecture;

use super::{Scene, remains};
use crate::cli::Flags;
use crate::host::{
    Check, Finding, Needs, basics, binfmt_packages, choose, install, register_binfmt,
};
use crate::model::Accelerator;
use crate::output;
use crate::spec::{AccelChoice, check};

pub(super) async fn run(scene: &Scene, fix: bool, arch: Option<String>) -> Result<ExitCode> {
    Architecture::host().context("kvmc runs on amd64 and arm64 hosts")?;
    // First, since a damaged record is in the way of the settings.
    let remains = remains::look(scene, fix).await?;
    let flags = Flags::of_architecture(arch);
    let architecture = check(&scene.settings(&flags)?)?.architecture;
    let needs = Needs {
        architecture,
        build: true,
    };
    let mut checks = basics(&needs);
    let mut packages = packages(&checks);
    packages.extend(binfmt_packages(architecture));
    if fix && !packages.is_empty() {
        output::talk(&format!("installing {}", packages.join(" ")));
        install(&packages)?;
    }
    if fix && register_binfmt(architecture)? {
        output::talk(&format!(
            "the kernel now runs {architecture} programs with QEMU (binfmt_misc)"
        ));
    }
    if fix {
        checks = basics(&needs);
    }
    let mut rows: Vec<_> = checks.iter().map(row).collect();
    if crate::host::find_program(architecture.platform().qemu.program).is_some() {
        let words = match choose(&scene.state, AccelChoice::Auto, architecture, false)? {
            Accelerator::Kvm => ["ok".to_owned(), "KVM works".to_owned()],
            Accelerator::Tcg { why, .. } => ["slow".to_owned(), format!("TCG: {why}")],
        };
        let [finding, what] = words;
        rows.push(vec!["accelerator".to_owned(), finding, what]);
    }
    let unmended = remains.iter().any(|[_, finding, _]| finding != "mended");
    rows.extend(remains.into_iter().map(Vec::from));
    output::data(&output::table(&["CHECK", "FINDING", ""], &rows));
    let missing = checks
        .iter()
        .any(|c| matches!(c.finding, Finding::Missing { .. }));
    let fine = !missing && !unmended;
    Ok(if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn packages(checks: &[Check]) -> Vec<&'static str> {
    let mut packages: Vec<_> = checks
        .iter()
        .filter_map(|c| match &c.finding {
            Finding::Missing { package, .. } => *package,
            _ => None,
        })
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn row(check: &Check) -> Vec<String> {
    let (finding, what) = match &check.finding {
        Finding::Fine(what) => ("ok", what.clone()),
        Finding::Warning { what, cure } => ("warning", format!("{what}; {cure}")),
        Finding::Missing { what, cure, .. } => ("missing", format!("{what}; {cure}")),
    };
    vec![check.name.to_owned(), finding.to_owned(), what]
}
