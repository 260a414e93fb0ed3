//! A node's CPU model, as QEMU's `-cpu` takes it.

use kvmc_images::Architecture;

use crate::host::virtualization;
use crate::model::Accelerator;
use crate::state::NodeRecord;

/// The `-cpu` of a node.
pub(crate) fn node_cpu(
    node: &NodeRecord,
    accelerator: &Accelerator,
    architecture: Architecture,
) -> String {
    let model = match node.cpu.as_str() {
        "" => accelerator.cpu(architecture),
        model => model,
    };
    with_nested(model, node.nested, virtualization())
}

/// A CPU model with the extension for virtual machines switched on or off.
fn with_nested(model: &str, nested: Option<bool>, extension: Option<&str>) -> String {
    match (nested, extension) {
        (Some(on), Some(extension)) => {
            let state = if on { "on" } else { "off" };
            format!("{model},{extension}={state}")
        }
        _ => model.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::record_of_file;

    #[test]
    fn the_extension_is_that_of_the_hosts_maker() {
        let of = |nested, extension| with_nested("host", nested, extension);
        assert_eq!(of(None, Some("vmx")), "host");
        assert_eq!(of(Some(true), Some("vmx")), "host,vmx=on");
        assert_eq!(of(Some(false), Some("svm")), "host,svm=off");
        assert_eq!(of(Some(false), None), "host");
    }

    #[test]
    fn a_role_has_its_own_model() {
        let record = record_of_file("[roles.a]\ncpu = \"Nehalem\"\n[roles.b]\n");
        let cpu = |name: &str| {
            let node = record.node(name).unwrap();
            node_cpu(node, &Accelerator::Kvm, Architecture::Amd64)
        };
        assert_eq!(cpu("a0"), "Nehalem");
        assert_eq!(cpu("b0"), "host");
    }
}
