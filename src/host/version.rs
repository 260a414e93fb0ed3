//! The versions that programs name.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A program that does not answer is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two looks at the program.
const LOOK: Duration = Duration::from_millis(5);

/// The version in a program's answer to an option such as `--version`; none if it gives none soon.
pub(crate) fn version(program: &Path, option: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "any program, for its version")]
    let mut child = Command::new(program)
        .arg(option)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let until = Instant::now() + PATIENCE;
    while child.try_wait().ok()?.is_none() {
        if Instant::now() > until {
            let _ended_meanwhile = child.kill();
            let _reaped = child.wait();
            return None;
        }
        std::thread::sleep(LOOK);
    }
    let output = child.wait_with_output().ok()?;
    // ssh writes it to stderr.
    let said = [output.stdout, output.stderr].concat();
    first_number(&String::from_utf8_lossy(&said))
}

/// The first number with a dot.
fn first_number(text: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let words = text.split(|c| !is_part(c)).map(|w| w.trim_matches('.'));
    let mut numbers = words.filter(|w| w.contains('.'));
    numbers.next().map(str::to_owned)
}

/// Whether a version is an earlier one than another.
pub(crate) fn is_before(version: &str, other: &str) -> bool {
    let numbers = |v: &str| -> Vec<u32> { v.split('.').filter_map(|n| n.parse().ok()).collect() };
    numbers(version) < numbers(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_first_number_with_a_dot() {
        for (text, expected) in [
            (
                "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)",
                Some("7.2.22"),
            ),
            ("OpenSSH_9.2p1 Debian-2, OpenSSL 3.0.17", Some("9.2")),
            ("nftables v1.0.6 (Lester Gooch #5)", Some("1.0.6")),
            ("version 3.", None),
            ("", None),
        ] {
            assert_eq!(first_number(text).as_deref(), expected, "{text}");
        }
        assert!(is_before("7.1.9", "7.2") && is_before("6", "7.2"));
        assert!(!is_before("7.2", "7.2") && !is_before("10.0", "7.2"));
    }

    #[test]
    fn a_program_is_asked_for_its_version() {
        assert!(
            version(Path::new("/bin/bash"), "--version")
                .unwrap()
                .contains('.')
        );
        assert_eq!(version(Path::new("/nonexistent"), "--version"), None);
        assert_eq!(version(Path::new("/bin/cat"), "/dev/null"), None);
    }
}
