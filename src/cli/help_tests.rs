//! The help of every verb, compared with the agreed snapshots.
//!
//! After an intended change, write the snapshots again and read their diff:
//!
//!     INSTA_UPDATE=always cargo test --workspace --bins help_of_every_verb

use std::collections::BTreeSet;
use std::path::Path;

use clap::Command;

/// The widest terminal, in columns, that the help makes use of.
const WIDTH: usize = 100;

/// The help of a verb and of all its subverbs, each with the words that call it.
fn helps(verb: &mut Command, words: &str, all: &mut Vec<(String, String)>) {
    all.push((words.to_owned(), verb.render_long_help().to_string()));
    for below in verb.get_subcommands_mut() {
        if !below.is_hide_set() && below.get_name() != "help" {
            let words = format!("{words}-{}", below.get_name());
            helps(below, &words, all);
        }
    }
}

#[test]
fn help_of_every_verb_matches_its_snapshot() {
    let mut kvmc = super::command().term_width(WIDTH);
    kvmc.build();
    let mut all = Vec::new();
    helps(&mut kvmc, "kvmc", &mut all);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots/help");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (words, help) in &all {
            insta::assert_snapshot!(words.as_str(), help);
        }
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/snapshots/help");
    let kept: BTreeSet<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".snap"))
        .collect();
    let wanted: BTreeSet<_> = all
        .iter()
        .map(|(words, _)| format!("{words}.snap"))
        .collect();
    assert_eq!(kept, wanted, "snapshots of verbs that no longer exist");
}
