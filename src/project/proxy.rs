//! The command by which ssh reaches the nodes of a fork, which are in a network namespace of their own.

use crate::state::{ClusterRecord, State};

use super::quote;

/// ssh's `ProxyCommand` for a cluster; none if its nodes are reached directly.
pub(super) fn command(record: &ClusterRecord) -> Option<String> {
    record.host.fork.as_ref()?;
    let is_root = nix::unistd::geteuid().is_root();
    let state = State::locate(|name| std::env::var(name).ok(), is_root).ok()?;
    let program = std::env::current_exe().unwrap_or_else(|_| "kvmc".into());
    Some(text(&record.spec.name, &program, &state))
}

fn text(cluster: &str, program: &std::path::Path, state: &State) -> String {
    let variable = format!("KVMC_STATE_DIR={}", state.root().display());
    // ssh replaces letters behind a percent sign.
    let quoted = |word: &str| quote::word(&word.replace('%', "%%"));
    let (variable, program) = (quoted(&variable), quoted(&program.display().to_string()));
    format!("env {variable} {program} --cluster {cluster} proxy %h %p")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn any_path_is_one_word_for_the_shell_that_ssh_runs() {
        let state = State::at(Path::new("/my state/10%"));
        assert_eq!(
            text("x", Path::new("/usr/bin/kvmc"), &state),
            "env 'KVMC_STATE_DIR=/my state/10%%' '/usr/bin/kvmc' --cluster x proxy %h %p"
        );
    }
}
