//! Finds processes by their arguments, if no file names them.

use std::os::unix::fs::MetadataExt;

use super::Identity;
use super::process::{STANDBY, identify};
use crate::state::{namespace_in, namespace_word};

/// Finds processes of this network namespace by their arguments. `is_it` returns what a process is, and the argument
/// that shows it. A QEMU is of the namespace that its taps are in.
///
/// A process in another namespace may have the same arguments for the same cluster there.
pub(crate) fn scan<T>(is_it: impl Fn(&[String]) -> Option<(T, String)>) -> Vec<(T, Identity)> {
    let own = std::process::id().to_string();
    let namespace = |pid: &str| {
        std::fs::metadata(format!("/proc/{pid}/ns/net"))
            .ok()
            .map(|m| m.ino())
    };
    let here = namespace("thread-self");
    let names = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| *name != own && name.bytes().all(|b| b.is_ascii_digit()))
        .filter_map(|name| {
            let line = std::fs::read(format!("/proc/{name}/cmdline")).ok()?;
            let arguments: Vec<_> = line
                .split(|b| *b == 0)
                .map(|a| String::from_utf8_lossy(a).into_owned())
                .collect();
            let (what, mark) = is_it(&arguments)?;
            let named = arguments.iter().find_map(|a| namespace_in(a));
            if named.or_else(|| namespace(&name)) != here {
                return None;
            }
            Some((what, identify(name.parse().ok()?, &mark).ok()?))
        })
        .collect()
}

/// Whether a program's name is one of QEMU's; Enterprise Linux has the second.
fn is_qemu(program: &str) -> bool {
    program.starts_with("qemu-system-") || program == "qemu-kvm"
}

/// The cluster and node that a QEMU's arguments name, if it is of the state folder `tag`, and the argument that says
/// so.
pub(crate) fn qemu_of(arguments: &[String], tag: &str) -> Option<((String, String), String)> {
    let program = arguments.first()?.rsplit('/').next()?;
    if !is_qemu(program) {
        return None;
    }
    let at = arguments.iter().position(|a| a == "-name")?;
    let name = arguments.get(at + 1)?;
    let guest = name.strip_prefix("guest=kvmc-")?.split(',').next()?;
    let (guest, there) = guest.split_once('@')?;
    let (cluster, node) = guest.rsplit_once('-')?;
    let there = match namespace_in(name) {
        Some(inode) => there.strip_suffix(&namespace_word(inode))?,
        None => there,
    };
    (there == tag).then(|| ((cluster.to_owned(), node.to_owned()), name.clone()))
}

/// Finds the QEMU with this uuid. One that was started to stand by is not the node's, unless a file says so.
pub(crate) fn find_qemu(uuid: &str) -> Option<Identity> {
    let mut all = qemus_of(&[uuid]).into_iter();
    all.find(|qemu| !is_standby(qemu.pid))
}

/// All QEMUs with one of these uuids.
pub(crate) fn qemus_of(uuids: &[&str]) -> Vec<Identity> {
    let is_it = |arguments: &[String]| {
        let program = arguments.first()?.rsplit('/').next()?;
        let at = arguments.iter().position(|a| a == "-uuid")?;
        let uuid = arguments.get(at + 1)?;
        let is_it = is_qemu(program) && uuids.contains(&uuid.as_str());
        is_it.then(|| ((), uuid.clone()))
    };
    let found = scan(is_it).into_iter();
    found.map(|(_, identity)| identity).collect()
}

/// Whether a QEMU was started to stand by. It stays so when it takes the place of another.
fn is_standby(pid: i32) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mut variables = environment.split(|b| *b == 0);
    variables.any(|v| v.strip_prefix(STANDBY.as_bytes()) == Some(b"=1"))
}

/// The vcpus and the MiB of RAM that a running QEMU was started with.
pub(crate) fn machine_of(pid: i32) -> Option<(u32, u64)> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = line
        .split(|b| *b == 0)
        .map(String::from_utf8_lossy)
        .collect();
    machine(&words)
}

fn machine<W: AsRef<str>>(words: &[W]) -> Option<(u32, u64)> {
    let value = |switch: &str| {
        let at = words.iter().position(|w| w.as_ref() == switch)?;
        words.get(at + 1).map(AsRef::as_ref)
    };
    let vcpus = value("-smp")?.strip_prefix("cpus=")?.parse().ok()?;
    let ram = value("-m")?.strip_prefix("size=")?.strip_suffix('M')?;
    Some((vcpus, ram.parse().ok()?))
}

/// The name that QEMU gives to a node, which [`qemu_of`] recognizes.
pub(crate) fn qemu_name(cluster: &str, node: &str, tag: &str, namespace: u64) -> String {
    format!("kvmc-{cluster}-{node}@{tag}{}", namespace_word(namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(program: &str, name: &str) -> Vec<String> {
        [program, "-name", name].map(str::to_owned).to_vec()
    }

    #[test]
    fn p1_only_a_qemu_with_our_name_and_folder_counts_as_ours() {
        let name = format!(
            "guest={},debug-threads=on",
            qemu_name("a-b", "master0", "0123abcd", 4_026_531_840)
        );
        let found = qemu_of(&line("/usr/bin/qemu-system-x86_64", &name), "0123abcd");
        let expected = ("a-b".to_owned(), "master0".to_owned());
        assert_eq!(found, Some((expected, name.clone())));
        // An earlier version did not name the namespace.
        let earlier = name.replace(&namespace_word(4_026_531_840), "");
        assert!(qemu_of(&line("/usr/bin/qemu-system-x86_64", &earlier), "0123abcd").is_some());
        // Enterprise Linux's QEMU has another name.
        assert!(qemu_of(&line("/usr/libexec/qemu-kvm", &name), "0123abcd").is_some());
        for (program, name, tag) in [
            ("/usr/bin/qemu-system-x86_64", name.as_str(), "ffffffff"),
            ("/usr/bin/vi", name.as_str(), "0123abcd"),
            ("qemu-system-x86_64", "guest=other", "0123abcd"),
            ("qemu-system-x86_64", "guest=kvmc-freeze", "0123abcd"),
        ] {
            assert_eq!(qemu_of(&line(program, name), tag), None, "{program} {name}");
        }
        assert_eq!(qemu_of(&[], "0123abcd"), None);
    }

    #[test]
    fn a_machines_size_is_read_from_the_command_line_that_kvmc_writes() {
        use crate::node::cmdline::{CommandLine, Memory, Smp};
        let mut line = CommandLine::new("n", "u");
        line.add(&Smp { cpus: 3 });
        line.add(&Memory { size: 512 });
        assert_eq!(machine(&line.build()), Some((3, 512)));
        assert_eq!(machine(&["-smp", "cpus=x", "-m", "size=1M"]), None);
        assert_eq!(machine::<&str>(&[]), None);
    }

    /// A test's process can have no QEMU's name, so this looks at the environment alone.
    #[test]
    fn a_machine_that_stands_by_is_known_by_its_environment() {
        for (value, expected) in [("1", true), ("2", false), ("11", false)] {
            #[expect(clippy::disallowed_methods, reason = "a process to look at")]
            let mut child = std::process::Command::new("sleep")
                .arg("50")
                .env(STANDBY, value)
                .spawn()
                .unwrap();
            let pid = i32::try_from(child.id()).unwrap();
            // Until exec, the environment is that of this test.
            let comm = || std::fs::read_to_string(format!("/proc/{pid}/comm"));
            while !comm().unwrap().starts_with("sleep") {
                std::thread::yield_now();
            }
            let found = is_standby(pid);
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(found, expected, "{value}");
        }
        assert!(!is_standby(i32::try_from(std::process::id()).unwrap()));
    }

    #[test]
    fn a_process_is_found_by_its_arguments() {
        #[expect(clippy::disallowed_methods, reason = "a process to look for")]
        let mut child = std::process::Command::new("sleep")
            .arg("50.771")
            .spawn()
            .unwrap();
        let is_it = |a: &[String]| a.get(1).filter(|a| *a == "50.771").map(|a| ((), a.clone()));
        let mut found = Vec::new();
        for _ in 0..100 {
            found = scan(is_it);
            if !found.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let pid = i32::try_from(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.iter().map(|(_, i)| i.pid).collect::<Vec<_>>(), [pid]);
        assert!(scan(is_it).is_empty());
    }
}
