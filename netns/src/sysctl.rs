//! Kernel parameters below `/proc/sys`; those of networks belong to the network namespace.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use crate::Change;

/// A kernel parameter could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} the kernel parameter `{name}`")]
pub struct SysctlError {
    verb: &'static str,
    name: String,
    #[source]
    source: io::Error,
}

/// Reads a parameter, without the newline; `None` when the kernel does not have it.
///
/// Names are those of sysctl(8): `net.ipv4.ip_forward`, or with slashes for a link's name with a dot:
/// `net/ipv6/conf/eth0.100/disable_ipv6`.
pub fn read(name: &str) -> Result<Option<String>, SysctlError> {
    let failed = |source| SysctlError {
        verb: "read",
        name: name.to_owned(),
        source,
    };
    let path = path_of(name).map_err(failed)?;
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Sets a parameter. Writes nothing when it has the value, so that `/proc/sys` may be read-only.
pub fn write(name: &str, value: &str) -> Result<Change, SysctlError> {
    if read(name)?.as_deref() == Some(value) {
        return Ok(Change::Unchanged);
    }
    let failed = |source| SysctlError {
        verb: "write",
        name: name.to_owned(),
        source,
    };
    let path = path_of(name).map_err(failed)?;
    fs_err::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
        .map_err(failed)?;
    Ok(Change::Changed)
}

/// The file of a parameter. As in sysctl(8), the first dot or slash is the separator, and the other one a letter.
fn path_of(name: &str) -> io::Result<PathBuf> {
    let relative = match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('.') => name
            .chars()
            .map(|letter| {
                if letter == '.' {
                    '/'
                } else if letter == '/' {
                    '.'
                } else {
                    letter
                }
            })
            .collect(),
        _ => name.to_owned(),
    };
    let relative = Path::new(&relative);
    let plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !plain || relative.as_os_str().is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not the name of a parameter",
        ));
    }
    Ok(Path::new("/proc/sys").join(relative))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths_as_sysctl_does_it() {
        for (name, path) in [
            ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            (
                "net.ipv4.conf.eth0/100.forwarding",
                "/proc/sys/net/ipv4/conf/eth0.100/forwarding",
            ),
            (
                "net/ipv4/conf/eth0.100/forwarding",
                "/proc/sys/net/ipv4/conf/eth0.100/forwarding",
            ),
        ] {
            assert_eq!(path_of(name).unwrap(), Path::new(path));
        }
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        for name in ["", "/etc/passwd", "net/../../etc/passwd", ".."] {
            assert!(path_of(name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_none_and_cannot_be_written() {
        assert_eq!(read("net.ipv4.no_such_parameter").unwrap(), None);
        let error = write("net.ipv4.no_such_parameter", "1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot write the kernel parameter `net.ipv4.no_such_parameter`"
        );
    }
}
