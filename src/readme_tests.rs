//! Compares README's table of settings with the table in the code. `KVMC_BLESS=1 cargo test --bin kvmc readme` writes
//! it. Also checks the verbs and flags that the user's guide names in its prose.

use std::path::Path;

use crate::cli;
use crate::model::Exit;
use crate::spec::{ALIASES, Alias, Change, SETTINGS, Setting};

const BEGIN: &str = "<!-- settings: made by src/readme_tests.rs -->\n";
const END: &str = "<!-- end of settings -->\n";

fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

fn row(cells: [String; 5]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn setting(setting: &Setting) -> String {
    let own = (!setting.key.is_empty()).then(|| code(setting.key));
    let roles = setting
        .role_key
        .map(|key| code(&format!("roles.NAME.{key}")));
    let nodes = setting
        .node_key
        .map(|key| code(&format!("nodes.NAME.{key}")));
    let keys: Vec<_> = own.into_iter().chain(roles).chain(nodes).collect();
    let default = match setting.default {
        _ if setting.key == "architecture" => "the host's".to_owned(),
        "" => String::new(),
        default => code(default),
    };
    let change = match setting.change {
        Change::Live => "; live",
        Change::NextStart => "; at the next start",
        Change::Never => "",
    };
    let help = setting.help.replace('|', "\\|");
    row([
        keys.join(", "),
        setting.variable.map(code).unwrap_or_default(),
        setting.flag.map(|f| code(f.name)).unwrap_or_default(),
        default,
        format!("{help}{change}"),
    ])
}

fn aliases(field: &str) -> String {
    let of = |part: &dyn Fn(&Alias) -> String| {
        let all = ALIASES.iter().filter(|a| a.field == field);
        all.map(part).collect::<Vec<_>>().join(", ")
    };
    let default = |a: &Alias| match a.default {
        "" => "as above".to_owned(),
        default => code(default),
    };
    row([
        of(&|a| code(a.key)),
        of(&|a| code(a.variable)),
        of(&|a| code(a.flag.name)),
        of(&default),
        format!("short for `roles.ROLE.{field}` of the default roles"),
    ])
}

fn table() -> String {
    let mut text = BEGIN.to_owned();
    text += "| `kvmc.toml` | environment | flag | default | what |\n|---|---|---|---|---|\n";
    for one in SETTINGS {
        text += &setting(one);
        let field = one.role_key.unwrap_or_default();
        if ALIASES.iter().any(|a| a.field == field) {
            text += &aliases(field);
        }
    }
    text + END
}

#[test]
fn readme_has_the_table_of_settings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let begin = text
        .find(BEGIN)
        .expect("README has no mark where the settings begin");
    let end = text
        .find(END)
        .expect("README has no mark where the settings end")
        + END.len();
    if std::env::var_os("KVMC_BLESS").is_some() {
        let blessed = format!("{}{}{}", &text[..begin], table(), &text[end..]);
        std::fs::write(&path, blessed).unwrap();
        return;
    }
    assert_eq!(
        text[begin..end],
        table(),
        "KVMC_BLESS=1 cargo test --bin kvmc readme writes the new table"
    );
}

#[test]
fn readme_names_every_exit_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(path).unwrap();
    for exit in [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::SomeNodes,
        Exit::NothingThere,
        Exit::Interrupted,
    ] {
        let row = format!("| {} | ", exit.code());
        assert!(text.contains(&row), "no `{row}`");
    }
}

/// Whether the words after `kvmc` are a verb with flags that it has.
fn is_known(words: &str) -> bool {
    let root = cli::plain_command();
    let (mut command, mut within) = (&root, true);
    for word in words.split(' ') {
        if let Some(flag) = word.strip_prefix("--") {
            let flag = flag.split('=').next();
            let has = |c: &clap::Command| c.get_arguments().any(|a| a.get_long() == flag);
            if !has(command) && !has(&root) {
                return false;
            }
        }
        within &= command.has_subcommands() && !word.starts_with('-');
        if within {
            match command.find_subcommand(word) {
                Some(verb) => command = verb,
                None => return false,
            }
        }
    }
    true
}

#[test]
fn every_verb_and_flag_that_the_guide_names_is_there() {
    assert!(is_known("image ls --catalogue") && is_known("up --cluster lab"));
    assert!(!is_known("image list") && !is_known("up --nope") && !is_known("dwn"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/src");
    let mut seen = 0;
    for page in std::fs::read_dir(folder).unwrap() {
        let page = page.unwrap().path();
        let text = std::fs::read_to_string(&page).unwrap();
        for line in text.lines() {
            for code in line.split('`').skip(1).step_by(2) {
                let words = code.strip_prefix("kvmc ");
                if let Some(words) = words {
                    seen += 1;
                    let is_there = is_known(words.split(" -- ").next().unwrap_or(words));
                    assert!(is_there, "{}: `{code}`", page.display());
                }
            }
        }
    }
    assert!(seen > 30, "{seen} commands");
}
