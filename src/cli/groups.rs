//! The help of all verbs, in groups.

use std::fmt::Write;

use clap::{Command, CommandFactory};

use super::Cli;

/// Groups of verbs, in the order of the help. A verb that no group names is in the last one.
const GROUPS: [(&str, &[&str]); 8] = [
    (
        "Cluster",
        &[
            "init", "plan", "up", "start", "stop", "restart", "scale", "snapshot", "fork", "try",
            "down",
        ],
    ),
    (
        "Nodes",
        &[
            "ssh",
            "exec",
            "cp",
            "sync",
            "mount",
            "umount",
            "share",
            "unshare",
            "console",
            "logs",
            "ip",
            "rm",
            "forward",
            "ssh-config",
        ],
    ),
    (
        "Seeing",
        &["ls", "status", "top", "events", "timeline", "df"],
    ),
    ("Ansible", &["inventory", "ansible", "playbook"]),
    ("Images", &["image"]),
    (
        "Host",
        &[
            "doctor",
            "explain",
            "support",
            "version",
            "service",
            "config",
            "schema",
            "completions",
        ],
    ),
    ("Programs", &["mcp", "serve"]),
    ("Other", &["help"]),
];

/// The command line with its help in groups.
pub(crate) fn command() -> Command {
    let command = Cli::command();
    let template = template(&command);
    command.help_template(template)
}

/// The same, without groups.
pub(crate) fn plain_command() -> Command {
    Cli::command()
}

fn template(command: &Command) -> String {
    let head = command.get_styles().get_header();
    let verb = command.get_styles().get_literal();
    let shown: Vec<_> = command
        .get_subcommands()
        .filter(|c| !c.is_hide_set())
        .map(|c| (c.get_name(), c.get_about().map(ToString::to_string)))
        // clap makes it later.
        .chain([(
            "help",
            Some("Print the help of kvmc or of a verb".to_owned()),
        )])
        .collect();
    let width = shown.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let is_grouped = |name: &str| GROUPS.iter().any(|(_, verbs)| verbs.contains(&name));
    let mut text = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (heading, verbs) in GROUPS {
        let is_last = heading == "Other";
        let mut of_group: Vec<_> = shown
            .iter()
            .filter(|(name, _)| verbs.contains(name) || (is_last && !is_grouped(name)))
            .collect();
        let place = |name: &str| verbs.iter().position(|v| *v == name);
        of_group.sort_by_key(|(name, _)| place(name));
        if of_group.is_empty() {
            continue;
        }
        let _infallible = writeln!(text, "\n{head}{heading}:{head:#}");
        for (name, about) in of_group {
            let about = about.as_deref().unwrap_or_default();
            let _infallible = writeln!(text, "  {verb}{name:<width$}{verb:#}  {about}");
        }
    }
    text + &format!("\n{head}Options of every verb:{head:#}\n{{options}}{{after-help}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_in_one_group_and_no_verb_is_lost() {
        let help = command().render_help().to_string();
        for verb in Cli::command()
            .get_subcommands()
            .filter(|c| !c.is_hide_set())
        {
            let row = format!("\n  {}  ", verb.get_name());
            assert_eq!(help.matches(&row).count(), 1, "{row} in {help}");
        }
        assert!(!help.contains("\n  keeper "), "{help}");
    }
}
