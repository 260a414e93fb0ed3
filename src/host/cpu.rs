//! The host's processor and QEMU's CPU models.

use std::path::Path;
use std::process::{Command, Stdio};

/// KVM's modules for amd64, each with the CPU flag that it needs.
const MODULES: [(&str, &str); 2] = [("vmx", "kvm_intel"), ("svm", "kvm_amd")];

/// The CPU flag of this host for virtual machines; `None` on arm64, which has no flag.
pub(crate) fn virtualization() -> Option<&'static str> {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    extension(&text)
}

fn extension(cpuinfo: &str) -> Option<&'static str> {
    let flags = cpuinfo.lines().find(|l| l.starts_with("flags"))?;
    let has = |flag: &str| flags.split_whitespace().any(|f| f == flag);
    let flags = MODULES.into_iter().map(|(flag, _)| flag);
    flags.into_iter().find(|flag| has(flag))
}

/// Why guests of this host cannot run KVM guests themselves, with the cure; `None` if they can.
pub(crate) fn no_nested() -> Option<(String, String)> {
    let extension = virtualization();
    let module = MODULES
        .into_iter()
        .find(|(flag, _)| Some(*flag) == extension);
    let Some((_, module)) = module else {
        return Some((
            "this host's processor has neither vmx nor svm".to_owned(),
            "leave `nested` out".to_owned(),
        ));
    };
    let path = format!("/sys/module/{module}/parameters/nested");
    let value = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
    if matches!(value.trim(), "Y" | "1") {
        return None;
    }
    Some((
        format!("{path} of this host is not Y"),
        format!(
            "`modprobe -r {module} && modprobe {module} nested=1` switches it on while no KVM guest runs"
        ),
    ))
}

/// The CPU models that a QEMU names; empty if it names none.
pub(crate) fn cpu_models(qemu: &Path) -> Vec<String> {
    #[expect(clippy::disallowed_methods, reason = "QEMU, for its CPU models")]
    let output = Command::new(qemu)
        .args(["-cpu", "help"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let text = output.map(|o| o.stdout).unwrap_or_default();
    models(&String::from_utf8_lossy(&text))
}

/// Reads the output of `-cpu help`, in which each line of amd64 begins with `x86`.
fn models(text: &str) -> Vec<String> {
    let lines = text.lines().take_while(|l| !l.starts_with("Recognized"));
    let model = |line: &str| {
        let mut words = line.split_whitespace();
        let first = words.next()?;
        let name = if first == "x86" { words.next()? } else { first };
        (!line.ends_with(':')).then(|| name.to_owned())
    };
    lines.filter_map(model).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_of_both_architectures_are_read() {
        let amd64 = "Available CPUs:\nx86 486                   (alias configured by machine type)\nx86 Skylake-Server-v4     Intel Xeon\nx86 max                   Enables all\n\nRecognized CPUID flags:\n  3dnow abm\n";
        assert_eq!(models(amd64), ["486", "Skylake-Server-v4", "max"]);
        let arm64 = "Available CPUs:\n  a64fx\n  cortex-a72\n  max\n";
        assert_eq!(models(arm64), ["a64fx", "cortex-a72", "max"]);
        assert!(models("").is_empty());
    }

    #[test]
    fn the_flag_is_read_from_the_first_processor() {
        let flags = |flags: &str| format!("processor : 0\nflags\t\t: fpu {flags} sse\n");
        assert_eq!(extension(&flags("vmx")), Some("vmx"));
        assert_eq!(extension(&flags("svm")), Some("svm"));
        assert_eq!(extension(&flags("vmx_none")), None);
        assert_eq!(extension("Features : fp asimd\n"), None);
    }
}
