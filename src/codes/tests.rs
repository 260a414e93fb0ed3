//! Compares the table with the messages in the source, and docs/ERRORS.md with the table. `KVMC_BLESS=1 cargo test
//! --bin kvmc codes` writes the page.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use super::{code, code_of, codes, themes, words};

/// Every string in the sources, with `{}` for its values.
fn strings() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for src in ["src", "netns/src", "images/src", "qmp/src"] {
        read(&root.join(src), &mut all);
    }
    all
}

fn read(folder: &Path, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("codes") {
            read(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            // The tests of a file say what they expect, and are no source of messages.
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            all.extend(kvmc_house::strings(text).iter().map(|s| plain(s)));
        }
    }
}

/// A format string with `{}` for every value.
fn plain(format: &str) -> String {
    let mut text = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('{') {
        text += before;
        text += "{}";
        rest = after.split_once('}').map_or("", |(_, end)| end);
    }
    text + rest
}

#[test]
fn every_message_of_the_table_is_in_the_source() {
    let strings = strings();
    let mut lost = Vec::new();
    for code in codes() {
        for message in code.messages {
            if !strings.iter().any(|s| s.contains(message)) {
                lost.push(format!("{}: {message}", code.name));
            }
        }
    }
    assert!(lost.is_empty(), "no source has\n{}", lost.join("\n"));
}

#[test]
fn every_message_has_its_own_code() {
    let mut wrong = Vec::new();
    for code in codes() {
        for message in code.messages {
            let text = format!("outer: {}: cause", message.replace("{}", "x"));
            let found = code_of(&text).map(|c| c.name);
            if found != Some(code.name) {
                wrong.push(format!("{}: {message} -> {found:?}", code.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_unique_and_every_code_is_explained() {
    let names: BTreeSet<_> = codes().map(|c| c.name).collect();
    assert_eq!(names.len(), codes().count());
    let messages: BTreeSet<_> = codes().flat_map(|c| c.messages).collect();
    assert!(messages.len() >= 80, "{}", messages.len());
    for code in codes() {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(code.name.chars().all(is_name), "{}", code.name);
        for text in [code.means, code.cure] {
            assert!(text.ends_with('.') && text.len() > 10, "{}", code.name);
        }
        assert!(!code.cure().contains('{'), "{}", code.cure());
        // Fewer words would also be in other messages.
        let least = code.messages.iter().map(|m| words(m)).min();
        assert!(least.unwrap() >= 9, "{}", code.name);
    }
    assert_eq!(code("port-in-use").unwrap().name, "port-in-use");
    assert!(code("nothing").is_none());
}

#[test]
fn the_cause_that_says_most_counts() {
    let found = |text: &str| code_of(text).map(|c| c.name);
    let text =
        "the template cannot be built: mmdebstrap could not install the packages (exit status: 1)";
    assert_eq!(found(text), Some("packages-unavailable"));
    let text =
        "the program `nft` is not installed; x\n       the device /dev/net/tun is missing; y";
    assert_eq!(found(text), Some("program-missing"));
    assert_eq!(
        found("kvmc.toml:3: master_ram: `2` has no unit; expected 2M or 2G"),
        Some("size-without-unit")
    );
    assert_eq!(found("something else"), None);
    assert_eq!(found(""), None);
}

/// docs/ERRORS.md
fn page() -> String {
    let mut text = "# Errors by their codes\n\nAn error ends with its code. `kvmc explain CODE` prints what is here, and \
         `kvmc explain` lists all codes.\nThis page is made from `src/codes/`.\n"
        .to_owned();
    for (theme, codes) in themes() {
        write!(text, "\n## {theme}\n").unwrap();
        for code in codes {
            write!(
                text,
                "\n### {}\n\n{}\n\n{}\n\n",
                code.name,
                code.means,
                code.cure()
            )
            .unwrap();
            for message in code.messages() {
                writeln!(text, "    {message}").unwrap();
            }
        }
    }
    text
}

#[test]
fn the_page_of_errors_is_made_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ERRORS.md");
    if std::env::var_os("KVMC_BLESS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        there,
        page(),
        "KVMC_BLESS=1 cargo test --bin kvmc codes writes the page"
    );
}
