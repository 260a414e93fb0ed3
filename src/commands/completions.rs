//! `completions`, and the requests of the scripts that it prints.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Shells, Zsh};

use super::Session;
use crate::cli::{self, Shell};
use crate::codes::codes;
use crate::engine::Local;
use crate::engine::local::catalogue;
use crate::model::Exit;
use crate::output;

/// The variable by which a script asks for candidates.
const ASKED: &str = "KVMC_COMPLETE";
const SHELLS: Shells<'static> = Shells(&[&Bash, &Zsh, &Fish]);

/// Prints the script for a shell.
pub(super) fn run(shell: Shell) -> Result<Exit> {
    let shell: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    shell
        .write_registration(ASKED, "kvmc", "kvmc", "kvmc", &mut script)
        .context("the script cannot be written")?;
    output::data(&String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}

/// Answers a script's request for candidates, if this run is one. A script shows no errors, so there are none.
pub(crate) fn answer() -> bool {
    if std::env::var_os(ASKED).is_none() {
        return false;
    }
    let here = std::env::current_dir().ok();
    CompleteEnv::with_factory(|| with_names(cli::command()))
        .var(ASKED)
        .shells(SHELLS)
        .try_complete(std::env::args_os(), here.as_deref())
        .unwrap_or(true)
}

/// Gives every argument that names something the names that there are.
fn with_names(command: Command) -> Command {
    let verb = command.get_name().to_owned();
    let named = command.mut_args(|arg| match names_of(&arg, &verb) {
        Some(names) => arg.add(ArgValueCandidates::new(move || candidates(names))),
        None => arg,
    });
    named.mut_subcommands(with_names)
}

/// The source of an argument's names.
type Names = fn(&Local) -> Vec<String>;

fn names_of(arg: &Arg, verb: &str) -> Option<Names> {
    match (arg.get_id().as_str(), verb) {
        ("cluster", _) => Some(Local::folder_names),
        ("node" | "nodes", _) => Some(Local::node_names),
        ("snapshot" | "snapshots", _) => Some(Local::snapshot_names),
        ("code", "explain") => Some(|_| codes().map(|code| code.name.to_owned()).collect()),
        // A node's folder; the paths are the node's.
        ("target", "sync") | ("place", _) => Some(|local| {
            let names = local.node_names().into_iter();
            names.map(|name| format!("{name}:")).collect()
        }),
        ("image", "pull") => Some(|_| of_catalogue()),
        ("from", _) | ("image", "up" | "build") => Some(|local| {
            let names = local.image_names().into_iter();
            names.chain(of_catalogue()).collect()
        }),
        ("image", _) => Some(Local::image_names),
        _ => None,
    }
}

fn of_catalogue() -> Vec<String> {
    let entries = catalogue().unwrap_or_default();
    entries.into_iter().map(|entry| entry.name).collect()
}

fn candidates(names: Names) -> Vec<CompletionCandidate> {
    let words: Vec<_> = std::env::args().skip_while(|a| a != "--").collect();
    let session = Session::new(cluster_of(&words), Duration::ZERO);
    let names = session.host().map(|local| names(&local));
    let names = names.unwrap_or_default().into_iter();
    names.map(CompletionCandidate::new).collect()
}

/// The cluster that the words of an unfinished command line name.
fn cluster_of(words: &[String]) -> Option<String> {
    let after = words.iter().zip(words.iter().skip(1));
    let apart = after
        .filter(|(flag, _)| *flag == "--cluster")
        .map(|(_, name)| name.as_str());
    let joined = words.iter().filter_map(|w| w.strip_prefix("--cluster="));
    apart
        .chain(joined)
        .next_back()
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_so_far_say_which_cluster_is_meant() {
        let of =
            |words: &[&str]| cluster_of(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            of(&["kvmc", "--cluster", "lab", "ssh", ""]),
            Some("lab".to_owned())
        );
        assert_eq!(
            of(&["kvmc", "ssh", "--cluster=lab", ""]),
            Some("lab".to_owned())
        );
        assert_eq!(of(&["kvmc", "--cluster"]), None);
        assert_eq!(of(&["kvmc", "ssh", "m"]), None);
    }

    #[test]
    fn nodes_clusters_images_and_snapshots_are_completed() {
        let command = with_names(cli::command());
        command.clone().debug_assert();
        let has = |verb: &str, id: &str| {
            let verb = command.find_subcommand(verb).unwrap();
            let mut all = verb
                .get_arguments()
                .chain(verb.get_subcommands().flat_map(Command::get_arguments));
            all.any(|arg| arg.get_id() == id && arg.get::<ArgValueCandidates>().is_some())
        };
        assert!(has("sync", "target") && has("mount", "place") && has("unshare", "place"));
        assert!(has("ssh", "node") && has("image", "image") && has("image", "node"));
        for verb in ["rm", "diff", "export", "rollback"] {
            let snapshot = command.find_subcommand("snapshot").unwrap();
            let verb = snapshot.find_subcommand(verb).unwrap();
            let mut all = verb.get_arguments();
            assert!(
                all.any(|arg| arg.get::<ArgValueCandidates>().is_some()),
                "{verb}"
            );
        }
        let mut all = command.get_arguments();
        assert!(
            all.any(|arg| arg.get_id() == "cluster" && arg.get::<ArgValueCandidates>().is_some())
        );
    }
}
