//! Looks at the place on a node where a copy goes, before and after it.

use super::Ssh;
use super::place::{Copy, Target};
use super::ssh::{Said, start};
use crate::project::shell_word;
use crate::spec::approximate;

/// A copy of so many bytes is made only after a look at what is free on the node. A look costs as much as a connection,
/// a thirtieth of the processors' time that scp takes for so much.
const LARGE: u64 = 1 << 30;
/// A file system counts as full below this number of free KiB, which scp needs for a block.
const FULL: u64 = 64;

/// The sources of a copy on this host.
#[derive(Debug, Clone, Default)]
pub(super) struct Load {
    /// Bytes of all files.
    pub(super) bytes: u64,
    pub(super) has_folder: bool,
    pub(super) number: usize,
    /// The last part of the only source's path.
    pub(super) name: Option<String>,
}

/// What is at a path of a node, and its file system.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    what: What,
    /// Free KiB.
    free: u64,
    /// KiB of what a copy replaces.
    replaced: u64,
    mount: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Folder,
    File,
    Nothing,
    /// Nothing, and no folder for it.
    NoParent,
}

/// Why a large copy to a node cannot be made, as far as a look there shows it.
pub(super) async fn obstacle(ssh: &Ssh, copy: &Copy, load: &Load) -> Option<String> {
    let Target::Node(path) = &copy.target else {
        return None;
    };
    if load.bytes < LARGE {
        return None;
    }
    let seen = look(ssh, copy.node(), path, load).await.ok()?;
    judge(&seen, path, load)
}

/// Why a copy to a node has failed, where a look there explains it better than scp does. scp itself begins no copy to a
/// place that does not fit.
pub(super) async fn explain(ssh: &Ssh, copy: &Copy, load: &Load) -> Option<String> {
    let Target::Node(path) = &copy.target else {
        return None;
    };
    let seen = look(ssh, copy.node(), path, load).await.ok()?;
    let is_full = seen.free < FULL && load.bytes > 0;
    match is_full && seen.what != What::NoParent {
        true => Some(format!(
            "no space is left on {}; the copy is incomplete",
            seen.mount
        )),
        false => judge(
            &seen,
            path,
            &Load {
                bytes: 0,
                ..load.clone()
            },
        ),
    }
}

fn judge(seen: &Seen, path: &str, load: &Load) -> Option<String> {
    let free = seen.free.saturating_add(seen.replaced);
    match seen.what {
        What::File if load.has_folder => {
            Some(format!("`{path}` is a file, which a folder cannot replace"))
        }
        What::File if load.number > 1 => {
            Some(format!("`{path}` is a file; several sources need a folder"))
        }
        What::Nothing | What::NoParent if load.number > 1 => Some(format!(
            "there is no folder `{path}`; several sources need one"
        )),
        What::NoParent => Some(format!("there is no folder for `{path}`")),
        _ if load.bytes.div_ceil(1024) > free => Some(format!(
            "{} is free on {}, and the copy needs {}",
            approximate(free.saturating_mul(1024)),
            seen.mount,
            approximate(load.bytes)
        )),
        _ => None,
    }
}

async fn look(ssh: &Ssh, node: &str, path: &str, load: &Load) -> anyhow::Result<Seen> {
    let said = Said::new()?;
    let command = ssh.command(node, &[script(path, load)], &said);
    let output = start(command, true)?.wait_with_output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    read(&text).ok_or_else(|| anyhow::anyhow!("no answer"))
}

/// Prints what the path is, the free and the replaced KiB, and where the file system is mounted.
fn script(path: &str, load: &Load) -> String {
    let name = shell_word(load.name.as_deref().unwrap_or("."));
    let path = match path {
        "" => shell_word("."),
        // The shell reads a `~` at the beginning, as sftp-server does.
        path => match path.strip_prefix("~/") {
            Some(rest) => format!("\"$HOME\"/{}", shell_word(rest)),
            None if path.starts_with('/') => shell_word(path),
            None => shell_word(&format!("./{path}")),
        },
    };
    format!(
        "p={path}; t=$p; d=$p
while ! test -e \"$d\"; do d=$(dirname -- \"$d\"); done
if test -d \"$p\"; then echo folder; t=$p/{name}
elif test -e \"$p\"; then echo file
elif test -d \"$(dirname -- \"$p\")\"; then echo nothing
else echo no-parent; fi
df -Pk -- \"$d\" | tail -n 1
if test -f \"$t\"; then du -k -- \"$t\"; else echo 0; fi"
    )
}

fn read(text: &str) -> Option<Seen> {
    let mut lines = text.lines();
    let what = match lines.next()? {
        "folder" => What::Folder,
        "file" => What::File,
        "nothing" => What::Nothing,
        "no-parent" => What::NoParent,
        _ => return None,
    };
    // POSIX's df: device, size, used, available, capacity, mount point.
    let mut df = lines.next()?.split_whitespace();
    let free = df.nth(3)?.parse().ok()?;
    // A guest says what it likes, and this is shown.
    let mount = df.nth(1)?.chars().filter(|c| !c.is_control()).collect();
    let replaced = lines.next()?.split_whitespace().next()?.parse().ok()?;
    Some(Seen {
        what,
        free,
        replaced,
        mount,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(path: &str, name: Option<&str>) -> Seen {
        let load = Load {
            name: name.map(str::to_owned),
            ..Load::default()
        };
        #[expect(clippy::disallowed_methods, reason = "the node's shell")]
        let output = std::process::Command::new("sh")
            .args(["-c", &script(path, &load)])
            .output()
            .unwrap();
        read(&String::from_utf8_lossy(&output.stdout)).unwrap()
    }

    #[test]
    fn a_shell_tells_what_is_at_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("it's $HOME");
        std::fs::create_dir(&odd).unwrap();
        std::fs::write(odd.join("file"), [b'x'; 9000]).unwrap();
        let path = |rest: &str| format!("{}{rest}", odd.display());
        assert_eq!(run(&path(""), None).what, What::Folder);
        assert!(run(&path(""), Some("file")).replaced >= 8);
        let file = run(&path("/file"), Some("other"));
        assert!(file.what == What::File && file.replaced >= 8 && file.free > 0);
        assert_eq!(run(&path("/new"), None).what, What::Nothing);
        assert_eq!(run(&path("/no/new"), None).what, What::NoParent);
        assert_eq!(run("", None).what, What::Folder);
        assert_eq!(run("-x", None).what, What::Nothing);
    }

    #[test]
    fn a_copy_that_cannot_succeed_is_refused() {
        let load = |number, has_folder, bytes| Load {
            bytes,
            has_folder,
            number,
            name: None,
        };
        let said = |what, load: &Load| {
            let seen = Seen {
                what,
                free: 1000,
                replaced: 24,
                mount: "/".to_owned(),
            };
            judge(&seen, "/x", load).unwrap_or_default()
        };
        assert!(said(What::File, &load(1, true, 0)).contains("a folder cannot replace"));
        assert!(said(What::File, &load(2, false, 0)).contains("several sources need a folder"));
        assert!(said(What::Nothing, &load(2, false, 0)).contains("no folder `/x`;"));
        assert!(said(What::NoParent, &load(1, true, 0)).contains("no folder for `/x`"));
        assert_eq!(said(What::Folder, &load(2, true, 1 << 20)), "");
        let full = said(What::Folder, &load(1, false, (1 << 20) + 1));
        assert_eq!(full, "1M is free on /, and the copy needs 1M");
    }
}
