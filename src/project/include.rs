//! The line of a cluster in `~/.ssh/config` of the user, by which ssh, rsync and editors know the nodes' names.

use std::collections::BTreeSet;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgroups, setegid, seteuid, setgroups};

use super::common::HEADER;
use super::owner::behind_root;
use crate::failpoint::failpoint;
use crate::hint::{WithHint, command};
use crate::state::{ClusterDir, ClusterRecord, read_json, replace, replace_json_unsynced, sweep};

/// What became of the user's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Made(PathBuf),
    /// It was as it should be.
    None(PathBuf),
}

/// Adds the cluster's line to the file of the user behind sudo, or of the user who runs kvmc.
///
/// # Errors
/// Fails if the file is not the user's own, or cannot be written.
pub(crate) fn install(record: &ClusterRecord, dir: &ClusterDir) -> Result<Change> {
    let source = match record.project.join("ssh_config") {
        path if path.is_file() => path,
        _ => dir.artifact("ssh_config"),
    };
    let lines = lines(&record.spec.name, dir, &source)?;
    let user = user()?;
    let mut users = users(dir)?;
    if users.insert(user.uid.as_raw()) {
        replace_json_unsynced(&dir.ssh_users(), &users, 0o600)?;
    }
    failpoint!("ssh-config.recorded");
    let changed = as_user(&user, || change(&user, |text| with(text, &lines))).hint(|| {
        format!(
            "add these lines to your ssh_config yourself:\n{}",
            lines.join("\n")
        )
    })?;
    failpoint!("ssh-config.written");
    Ok(changed)
}

/// Removes the cluster's line from the file of the same user.
///
/// # Errors
/// Fails if the file is not the user's own, or cannot be written.
pub(crate) fn uninstall(cluster: &str, dir: &ClusterDir) -> Result<Change> {
    let user = user()?;
    let mark = mark(cluster, dir);
    let changed = as_user(&user, || change(&user, |text| without(text, &mark)))?;
    let mut users = users(dir)?;
    if users.remove(&user.uid.as_raw()) {
        replace_json_unsynced(&dir.ssh_users(), &users, 0o600)?;
    }
    Ok(changed)
}

/// Removes the cluster's line from the files of all users who have it. Returns a sentence for each file that keeps it.
pub(crate) fn uninstall_all(cluster: &str, dir: &ClusterDir) -> Vec<String> {
    let mark = mark(cluster, dir);
    let remove = |uid: u32| -> Result<Change> {
        let user = user_of(Uid::from_raw(uid))?;
        as_user(&user, || change(&user, |text| without(text, &mark)))
    };
    let users = match users(dir) {
        Ok(users) => users,
        Err(error) => return vec![format!("lines of ssh's configuration may stay: {error:#}")],
    };
    let kept = users.into_iter().filter_map(|uid| {
        let error = remove(uid).err()?;
        Some(format!("a line of ssh's configuration stays: {error:#}"))
    });
    kept.collect()
}

/// The uids of those who have the cluster's line.
fn users(dir: &ClusterDir) -> Result<BTreeSet<u32>> {
    Ok(read_json(&dir.ssh_users())?.unwrap_or_default())
}

fn user() -> Result<User> {
    match behind_root() {
        Some((uid, _)) => user_of(Uid::from_raw(uid)),
        None => user_of(geteuid()),
    }
}

fn user_of(uid: Uid) -> Result<User> {
    let user =
        User::from_uid(uid).with_context(|| format!("the user {uid} cannot be looked up"))?;
    user.with_context(|| format!("there is no user {uid}"))
}

/// Does something with the rights of a user, so that no link in the user's folders leads to files of others.
fn as_user<T>(user: &User, act: impl FnOnce() -> Result<T>) -> Result<T> {
    if !geteuid().is_root() || user.uid.is_root() {
        return act();
    }
    let _back = Rights::of(user)?;
    act()
}

/// The rights of root, which come back when this is dropped.
struct Rights {
    group: Gid,
    groups: Vec<Gid>,
}

impl Rights {
    fn of(user: &User) -> Result<Self> {
        let context = "the rights of the user cannot be taken";
        let back = Self {
            group: getegid(),
            groups: getgroups().context(context)?,
        };
        setgroups(&[user.gid])
            .and_then(|()| setegid(user.gid))
            .and_then(|()| seteuid(user.uid))
            .context(context)?;
        Ok(back)
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        let root = Uid::from_raw(0);
        let _was_root = seteuid(root)
            .and_then(|()| setegid(self.group))
            .and_then(|()| setgroups(&self.groups));
    }
}

/// Changes `~/.ssh/config` of a user. A link is followed to a file of the same user.
fn change(user: &User, change: impl FnOnce(&str) -> String) -> Result<Change> {
    let folder = user.dir.join(".ssh");
    let path = folder.join("config");
    let (path, mode, text) = match std::fs::symlink_metadata(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => (path, 0o600, String::new()),
        Err(e) => return Err(e).with_context(|| format!("{} cannot be read", path.display())),
        Ok(_) => {
            let real = path
                .canonicalize()
                .with_context(|| format!("{} is a link that leads nowhere", path.display()))?;
            let meta = fs_err::metadata(&real)?;
            let shown = real.display();
            if !meta.is_file() {
                bail!("{shown} is not a file");
            }
            if meta.uid() != user.uid.as_raw() {
                bail!("{shown} belongs to another user than {}", user.name);
            }
            let text = String::from_utf8(fs_err::read(&real)?);
            let text = text
                .ok()
                .with_context(|| format!("{shown} is not UTF-8 text"))?;
            (real, meta.mode() & 0o7777, text)
        }
    };
    let changed = change(&text);
    if changed == text {
        return Ok(Change::None(path));
    }
    if !folder.exists() {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    sweep(&path);
    replace(&path, changed.as_bytes(), mode)?;
    Ok(Change::Made(path))
}

/// The beginning of the comment above a cluster's line.
fn mark(cluster: &str, dir: &ClusterDir) -> String {
    let state = dir.state();
    let state = state.root().display().to_string();
    format!(
        "{HEADER} for cluster {cluster} in {};",
        state.escape_debug()
    )
}

/// The comment and the Include line of a cluster.
fn lines(cluster: &str, dir: &ClusterDir, source: &Path) -> Result<[String; 2]> {
    let text = source
        .to_str()
        .context("the folder's name is not UTF-8 text")?;
    // ssh reads the path as a pattern of glob(7). A question mark stands for what it would take as a special character.
    let special = |c: char| c.is_control() || r#"*?[]{}\"'%$~"#.contains(c);
    let pattern = text.replace(special, "?");
    let remove = command(cluster, "ssh-config remove");
    Ok([
        format!(
            "{} {remove} removes it and the next line",
            mark(cluster, dir)
        ),
        format!("Include \"{pattern}\""),
    ])
}

/// A text with a cluster's lines: in the place where they are, else at the top, where no Host is before them.
fn with(text: &str, lines: &[String; 2]) -> String {
    let mark = lines[0].split_inclusive(';').next().unwrap_or_default();
    let ours = format!("{}\n{}\n", lines[0], lines[1]);
    match find(text, mark) {
        Some((before, after)) => format!("{before}{ours}{after}"),
        None => format!("{ours}{text}"),
    }
}

/// A text without the lines of a mark.
fn without(text: &str, mark: &str) -> String {
    match find(text, mark) {
        Some((before, after)) => format!("{before}{after}"),
        None => text.to_owned(),
    }
}

/// What is before and after the marked comment and the Include line below it. Another line below it is the user's.
fn find<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with(mark) {
            let (before, rest) = text.split_at(offset);
            let after = rest.get(line.len()..).unwrap_or_default();
            let after = match after.starts_with("Include ") {
                true => after.split_once('\n').map_or("", |(_, after)| after),
                false => after,
            };
            return Some((before, after));
        }
        offset += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    fn lines_of(cluster: &str, source: &str) -> [String; 2] {
        let dir = State::at(Path::new("/s")).cluster(cluster);
        lines(cluster, &dir, Path::new(source)).unwrap()
    }

    #[test]
    fn the_lines_come_to_the_top_once_and_go_without_a_trace() {
        let user = "Host mine\n  User me";
        let (a, b) = (
            lines_of("a", "/p/ssh_config"),
            lines_of("b", "/q/ssh_config"),
        );
        let one = with(user, &a);
        assert!(
            one.starts_with("# made by kvmc for cluster a in /s; "),
            "{one}"
        );
        assert!(one.ends_with(&format!("\nInclude \"/p/ssh_config\"\n{user}")));
        assert_eq!(with(&one, &a), one);
        let two = with(&one, &b);
        assert_eq!(with(&two, &a), two, "the order stays");
        let moved = with(&two, &lines_of("a", "/new/ssh_config"));
        assert!(moved.contains("/new/") && !moved.contains("/p/") && moved.contains("/q/"));
        let mark = |cluster| super::mark(cluster, &State::at(Path::new("/s")).cluster(cluster));
        assert_eq!(without(&two, &mark("b")), one);
        assert_eq!(without(&one, &mark("a")), user);
        assert_eq!(without(user, &mark("a")), user);
        // The user has put something in between.
        let own = one.replace("Include", "Host x\nInclude");
        assert!(without(&own, &mark("a")).starts_with("Host x\nInclude"));
    }

    #[test]
    fn a_path_is_a_pattern_that_means_itself() {
        let [_, line] = lines_of("a", "/p/it's [1] 100%h/${x}/ssh_config");
        assert_eq!(line, r#"Include "/p/it?s ?1? 100?h/??x?/ssh_config""#);
    }
}
