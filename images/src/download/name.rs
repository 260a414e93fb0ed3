//! Checks what a file's name says about the image in it.

use crate::architecture::Architecture;
use crate::error::ImageError;

/// Refuses a file whose name says that it is for another architecture, or that it has no cloud-init.
///
/// # Errors
/// The name says so; the error names an alternative.
pub fn check_name(file: &str, architecture: Architecture) -> Result<(), ImageError> {
    const OTHERS: [&str; 8] = [
        "ppc64le", "ppc64el", "s390x", "riscv64", "loong64", "armhf", "armv7", "i386",
    ];
    let file = file.to_ascii_lowercase();
    let is =
        |a: Architecture| file.contains(a.platform().name) || file.contains(a.platform().machine);
    let known = Architecture::ALL.into_iter().find(|a| is(*a));
    let other = OTHERS.into_iter().find(|o| file.contains(o));
    let refuse = |what: String| Err(ImageError::Recipe { what });
    match (known, other) {
        (Some(_), _) if is(architecture) => {}
        (Some(known), _) => {
            return refuse(format!(
                "image: the name of `{file}` says {known}, but the architecture is {architecture}; pass --arch {known}, or use another image"
            ));
        }
        (None, Some(other)) => {
            return refuse(format!(
                "image: the name of `{file}` says {other}, but the architecture is {architecture}"
            ));
        }
        (None, None) => {}
    }
    if file.contains("debian") && file.contains("-nocloud-") {
        return refuse(format!(
            "image: `{file}` has no cloud-init and lets root in without a password; use genericcloud"
        ));
    }
    Ok(())
}

/// The last part of an address, without its query.
pub(super) fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(file: &str) -> String {
        check_name(file, Architecture::Amd64)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn bad_input_21_another_architecture_is_seen_by_the_name() {
        let error = say("debian-13-genericcloud-arm64.qcow2");
        assert!(
            error.contains("says arm64") && error.contains("--arch arm64"),
            "{error}"
        );
        assert!(say("x.s390x.qcow2").contains("s390x"));
        for fine in ["a.x86_64.qcow2", "a-amd64.img", "mine.qcow2"] {
            check_name(fine, Architecture::Amd64).unwrap();
        }
        check_name("a.aarch64.img", Architecture::Arm64).unwrap();
    }

    #[test]
    fn bad_input_22_debians_nocloud_is_refused_and_alpines_is_not() {
        let error = say("debian-13-nocloud-amd64.qcow2");
        assert!(
            error.contains("no cloud-init") && error.contains("use genericcloud"),
            "{error}"
        );
        check_name(
            "nocloud_alpine-3.23.4-x86_64-bios-cloudinit-r0.qcow2",
            Architecture::Amd64,
        )
        .unwrap();
    }

    #[test]
    fn the_file_is_the_last_part_of_the_address() {
        assert_eq!(file_name("https://h/a/b.img?x=/y"), "b.img");
    }
}
