//! Compares README's table of settings with the table in the code. `KVMC_BLESS=1 cargo test --bin kvmc readme` writes
//! it.

use std::path::Path;

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
    let keys: Vec<_> = own.into_iter().chain(roles).collect();
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
