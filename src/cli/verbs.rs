//! Verbs of other tools, and what kvmc has instead.

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Cli;
use crate::hint::host_command;

/// Parses the command line. Ends the process on an error, and with the help.
pub(crate) fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| with_tip(error).exit())
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
    }
    error
}

fn tip(verb: &str) -> Option<String> {
    let does = |verb: &str, what: &str| Some(format!("{} {what}", host_command(verb)));
    match verb {
        "scp" | "cp" | "copy" | "rsync" => Some(
            "`scp -F ssh_config FILE NODE:` copies a file, with the ssh_config that `up` wrote"
                .to_owned(),
        ),
        "restart" | "reboot" | "reload" => Some(format!(
            "{} and then {} restart the nodes; {} restarts one",
            host_command("stop"),
            host_command("start"),
            host_command("ssh NODE sudo reboot")
        )),
        "logs" | "log" | "journal" => Some(format!(
            "{} shows a node's log, {} shows each node's state",
            host_command("ssh NODE sudo journalctl"),
            host_command("status")
        )),
        "exec" | "shell" | "login" | "connect" | "run" => {
            does("ssh NODE COMMAND", "runs a command on a node")
        }
        "ls" | "list" | "ps" | "info" | "show" => does("status", "shows the cluster"),
        "rm" | "remove" | "delete" | "destroy" => {
            does("down", "removes the cluster with its nodes' data")
        }
        "create" | "new" | "init" | "launch" | "apply" => does("up", "creates the cluster"),
        "halt" | "shutdown" | "poweroff" => does("stop", "shuts the nodes down"),
        "scale" => does("up --role NAME=N", "changes how many nodes a role has"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &[&str]) -> String {
        let words = ["kvmc"].iter().chain(words);
        with_tip(Cli::try_parse_from(words).unwrap_err()).to_string()
    }

    #[test]
    fn verbs_of_other_tools_lead_to_the_right_one() {
        for (verb, expected) in [
            ("scp", "`scp -F ssh_config FILE NODE:`"),
            ("restart", " stop` and then "),
            ("logs", " ssh NODE sudo journalctl`"),
            ("destroy", " down` removes the cluster with its nodes' data"),
        ] {
            let text = said(&[verb]);
            assert!(text.contains(expected), "{text}");
            assert!(!text.contains("similar"), "{text}");
        }
        assert!(said(&["statu"]).contains("'status'"));
        assert!(!said(&["zzzzz"]).contains("tip"));
    }

    #[test]
    fn a_command_for_a_node_needs_no_dashes() {
        let command = |words: &[&str]| {
            let words = ["kvmc", "ssh", "worker0"].iter().chain(words);
            match Cli::try_parse_from(words).unwrap().command {
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
