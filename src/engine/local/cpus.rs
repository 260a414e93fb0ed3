//! Checks that the host and its QEMU have the CPUs that nodes are to have.

use anyhow::{Result, anyhow};
use kvmc_images::Architecture;

use crate::hint::{add_hint, bail_with_hint};
use crate::host::{cpu_models, no_nested, qemu_program};
use crate::model::Accelerator;
use crate::spec::nearest;
use crate::state::ClusterRecord;

/// Refuses CPU models and nested virtualization that the nodes cannot have.
///
/// # Errors
/// Fails at the first such node.
pub(super) fn check_cpus(record: &ClusterRecord) -> Result<()> {
    let architecture = record.spec.architecture;
    let mut models: Option<Vec<String>> = None;
    for node in &record.nodes {
        let name = &node.name;
        match (node.cpu.as_str(), &record.accelerator) {
            ("host", Accelerator::Tcg { why, .. }) => bail_with_hint!(
                "choose --cpu max, or a model of QEMU's",
                "cpu: `host` for {name} needs KVM, but the nodes are emulated ({why})"
            ),
            ("" | "host" | "max", _) => {}
            (model, _) => {
                // An empty list says nothing.
                let qemu = qemu_program(architecture);
                let known = models.get_or_insert_with(|| cpu_models(&qemu));
                if !known.is_empty() && !known.iter().any(|k| k == model) {
                    return Err(unknown_model(
                        model,
                        name,
                        known,
                        &qemu.display().to_string(),
                    ));
                }
            }
        }
        if node.nested == Some(true) {
            check_nested(record, architecture).map_err(|(why, cure)| {
                add_hint(anyhow!("nested: {name} cannot run KVM guests: {why}"), cure)
            })?;
        }
    }
    Ok(())
}

fn unknown_model(model: &str, node: &str, known: &[String], qemu: &str) -> anyhow::Error {
    let list = format!("`{qemu} -cpu help` lists all models");
    let names: Vec<_> = known.iter().map(String::as_str).collect();
    let error = match nearest(model, &names) {
        Some(near) => anyhow!(
            "cpu: this QEMU has no model `{model}`, which {node} is to have; did you mean `{near}`?"
        ),
        None => anyhow!("cpu: this QEMU has no model `{model}`, which {node} is to have"),
    };
    add_hint(error, list)
}

/// Fails with the reason and the cure.
fn check_nested(
    record: &ClusterRecord,
    architecture: Architecture,
) -> Result<(), (String, String)> {
    let leave_out = || "leave `nested` out".to_owned();
    match &record.accelerator {
        Accelerator::Tcg { why, .. } => {
            let why = format!("that needs KVM on this host, but the nodes are emulated ({why})");
            Err((why, leave_out()))
        }
        Accelerator::Kvm if architecture != Architecture::Amd64 => {
            let why = format!("QEMU's KVM guests of {architecture} cannot");
            Err((why, leave_out()))
        }
        Accelerator::Kvm => no_nested().map_or(Ok(()), Err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::hints;
    use crate::samples::record_of_file;

    fn refused(record: &ClusterRecord) -> String {
        let error = check_cpus(record).unwrap_err();
        format!("{error:#} / {}", hints(&error).join("; "))
    }

    #[test]
    fn what_emulated_nodes_cannot_have_is_refused_with_the_reason() {
        let host = record_of_file("cpu = \"host\"\n");
        assert_eq!(
            refused(&host),
            "cpu: `host` for master0 needs KVM, but the nodes are emulated (test) / choose --cpu max, or a model of QEMU's"
        );
        let nested = record_of_file("[roles.workers]\nnested = true\n");
        let said = refused(&nested);
        assert!(said.starts_with("nested: worker0 cannot run KVM guests: that needs KVM on this host, but the nodes are emulated (test)"), "{said}");
        for fine in ["", "cpu = \"max\"\n", "nested = false\n"] {
            check_cpus(&record_of_file(fine)).unwrap();
        }
    }

    #[test]
    fn kvm_guests_of_arm64_have_no_guests() {
        let mut record = record_of_file("architecture = \"arm64\"\nnested = true\n");
        record.accelerator = Accelerator::Kvm;
        assert!(refused(&record).contains("KVM guests of arm64 cannot"));
    }

    #[test]
    fn a_model_that_qemu_does_not_name_is_refused_with_the_nearest() {
        let known = ["Nehalem".to_owned(), "max".to_owned()];
        let error = unknown_model("Nehalm", "a0", &known, "/q").to_string();
        assert!(
            error.ends_with("has no model `Nehalm`, which a0 is to have; did you mean `Nehalem`?"),
            "{error}"
        );
    }
}
