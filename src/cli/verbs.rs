//! Verbs of other tools, and what kvmc has instead.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ColorChoice, Error, FromArgMatches};

use super::{Cli, command};
use crate::hint::host_command;

/// Parses the command line. Ends the process on an error, and with the help.
pub(crate) fn parse() -> Cli {
    let words: Vec<_> = std::env::args_os().collect();
    parse_words(&words).unwrap_or_else(|error| with_tip(error).exit())
}

fn parse_words(words: &[OsString]) -> Result<Cli, Error> {
    let mut command = command().color(color(words));
    let matches = command.try_get_matches_from_mut(words)?;
    Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut command))
}

/// The colours of help and usage errors, which are printed before `--color` is parsed.
fn color(words: &[OsString]) -> ColorChoice {
    let words: Vec<_> = words.iter().map(|w| w.to_string_lossy()).collect();
    let mut words = words.iter().take_while(|w| *w != "--").map(|w| &**w);
    while let Some(word) = words.next() {
        let when = match word.strip_prefix("--color") {
            Some("") => words.next(),
            Some(joined) => joined.strip_prefix('='),
            None => continue,
        };
        match when {
            Some("always") => return ColorChoice::Always,
            Some("never") => return ColorChoice::Never,
            _ => {}
        }
    }
    ColorChoice::Auto
}

/// Replaces clap's suggestion, which goes by letters, where it is known what is meant.
fn with_tip(mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(ContextValue::String(verb)) = error.get(ContextKind::InvalidSubcommand)
        && let Some(tip) = tip(verb)
    {
        error.remove(ContextKind::SuggestedSubcommand);
        let tips = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tips);
    } else if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
        && let Some(tip) = tip_of_up(flag)
    {
        remove_flag(&mut error);
        let tips = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tips);
    } else if !has_near(&error) {
        error.remove(ContextKind::SuggestedSubcommand);
        remove_flag(&mut error);
    }
    error
}

/// Removes a suggested flag, which the usage has too.
fn remove_flag(error: &mut clap::Error) {
    if error.remove(ContextKind::SuggestedArg).is_some() {
        error.remove(ContextKind::Usage);
    }
}

/// Where a setting is set that is no flag of this verb.
fn tip_of_up(flag: &str) -> Option<String> {
    let name = flag.strip_prefix("--")?;
    let command = command();
    let mut flags = command.find_subcommand("up")?.get_arguments();
    let setting = flags.find(|flag| flag.get_long() == Some(name))?;
    let value = setting.get_value_names()?.first()?;
    let up = host_command(&format!("up --{name} {value}"));
    Some(format!("{up} sets that, and so does kvmc.toml"))
}

/// Whether a verb or flag that clap suggests is near the one that was typed, and not only a part of it.
fn has_near(error: &clap::Error) -> bool {
    let of = |typed, suggested| match (error.get(typed), error.get(suggested)) {
        (Some(ContextValue::String(typed)), Some(ContextValue::Strings(near))) => {
            Some((typed, near.clone()))
        }
        (Some(ContextValue::String(typed)), Some(ContextValue::String(near))) => {
            Some((typed, vec![near.clone()]))
        }
        _ => None,
    };
    let verb = of(
        ContextKind::InvalidSubcommand,
        ContextKind::SuggestedSubcommand,
    );
    let flag = || of(ContextKind::InvalidArg, ContextKind::SuggestedArg);
    let Some((typed, near)) = verb.or_else(flag) else {
        return true;
    };
    let typed = typed.trim_start_matches('-');
    near.iter().any(|near| {
        let near = near.trim_start_matches('-');
        strsim::damerau_levenshtein(typed, near) <= (typed.len().max(near.len()) / 3).max(1)
    })
}

fn tip(verb: &str) -> Option<String> {
    let does = |verb: &str, what: &str| Some(format!("{} {what}", host_command(verb)));
    match verb {
        "scp" | "copy" | "transfer" | "push" | "pull" => {
            does("cp FILE NODE:PATH", "copies files and folders")
        }
        "rsync" | "watch" | "rsync-auto" => {
            does("sync FOLDER NODE:PATH", "copies what differs in a folder")
        }
        "sshfs" => does("mount NODE:PATH FOLDER", "shows a node's folder here"),
        "unmount" => does("umount FOLDER", "ends a mount"),
        "reboot" | "reload" => does("restart NODE", "shuts a node down and starts it again"),
        "log" | "journal" | "journalctl" => does("logs", "shows the logs of nodes"),
        "shell" | "login" | "connect" => does("ssh NODE", "opens a shell on a node"),
        "run" | "execute" | "pssh" => does("exec NODE -- COMMAND", "runs a command on nodes"),
        "serial" | "attach" | "screen" => does("console NODE", "shows the console of a node"),
        "address" | "addresses" | "addr" => does("ip", "shows the addresses of nodes"),
        "list" | "ps" => does("ls", "lists all clusters"),
        "htop" | "stats" | "stat" => does("top", "shows what the nodes use"),
        "info" | "show" => does("status", "shows the cluster"),
        "destroy" => does("down", "removes the cluster with its nodes' data"),
        "remove" | "delete" => does("rm NODE", "removes a node with its data"),
        "create" | "new" | "launch" | "apply" => does("up", "creates the cluster"),
        "halt" | "shutdown" | "poweroff" => does("stop", "shuts the nodes down"),
        "nodes" | "describe" | "get" => does("status", "shows each node"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Cli, Error> {
        let words = ["kvmc"].iter().chain(words);
        parse_words(&words.map(OsString::from).collect::<Vec<_>>())
    }

    fn said(words: &[&str]) -> String {
        with_tip(parse(words).unwrap_err()).to_string()
    }

    #[test]
    fn usage_errors_and_help_obey_color() {
        let help = |words: &[&str]| parse(words).unwrap_err().render().ansi().to_string();
        assert!(help(&["--help"]).contains("Cluster:"));
        for (words, expected) in [
            (&["--color", "always", "up"][..], ColorChoice::Always),
            (&["up", "--color=never"], ColorChoice::Never),
            (
                &["ssh", "a", "--", "ls", "--color=always"],
                ColorChoice::Auto,
            ),
            (&["--color"], ColorChoice::Auto),
        ] {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            assert_eq!(color(&words), expected, "{words:?}");
        }
    }

    #[test]
    fn verbs_of_other_tools_lead_to_the_right_one() {
        for (verb, expected) in [
            ("scp", " cp FILE NODE:PATH` copies files and folders"),
            ("reboot", " restart NODE` shuts a node down"),
            ("journal", " logs` shows the logs of nodes"),
            ("shell", " ssh NODE` opens a shell on a node"),
            ("destroy", " down` removes the cluster with its nodes' data"),
        ] {
            let text = said(&[verb]);
            assert!(text.contains(expected), "{text}");
            assert!(!text.contains("similar"), "{text}");
        }
        assert!(said(&["statu"]).contains("'status'"));
        assert!(said(&["dwn"]).contains("'down'"));
        for far in ["zzzzz", "suspend", "snapshot"] {
            assert!(!said(&[far]).contains("similar"), "{far}");
        }
    }

    #[test]
    fn a_flag_of_up_is_told_where_another_verb_has_none() {
        let text = said(&["init", "--masters", "3"]);
        assert!(
            text.contains(" up --masters N` sets that, and so does kvmc.toml"),
            "{text}"
        );
        assert!(!text.contains("--cluster"), "{text}");
        let text = said(&["init", "--clutser", "a"]);
        assert!(text.contains("'--cluster'"), "{text}");
        let text = said(&["init", "--clemens", "a"]);
        assert!(!text.contains("similar"), "{text}");
    }

    #[test]
    fn a_command_for_a_node_needs_no_dashes() {
        let command = |words: &[&str]| {
            let words: Vec<_> = ["ssh", "worker0"].iter().chain(words).copied().collect();
            match parse(&words).unwrap().command {
                super::super::Command::Ssh { command, .. } => command,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(command(&["hostname"]), ["hostname"]);
        assert_eq!(
            command(&["ls", "-l", "--cluster"]),
            ["ls", "-l", "--cluster"]
        );
        assert_eq!(command(&["--", "-x"]), ["-x"]);
        assert!(command(&["--cluster", "lab"]).is_empty());
    }
}
