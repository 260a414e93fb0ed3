//! Quoting of paths for those who read them: ssh, Ansible's shell-like splitting, Jinja, and Ansible's INI reader.

use std::path::Path;

use anyhow::{Result, anyhow};

/// Refuses a folder whose name cannot be quoted. ssh_config(5) has no escape for a line break, nor for `${NAME}`, which
/// ssh expands in paths.
///
/// # Errors
/// Names what cannot be quoted.
pub(super) fn check(folder: &Path) -> Result<()> {
    let shown = folder.display().to_string();
    let refuse = |what: &str| {
        anyhow!(
            "the folder's name `{}` has {what}, which ssh cannot be given",
            shown.escape_debug()
        )
    };
    match folder.to_str() {
        None => Err(refuse("bytes that are no UTF-8 text")),
        Some(text) if text.contains('\n') => Err(refuse("a line break")),
        Some(text) if text.contains("${") => Err(refuse("`${`")),
        Some(_) => Ok(()),
    }
}

/// A path as ssh_config(5) and `ssh -o` take it: quotes and backslashes by OpenSSH's `argv_split`, `%` by its
/// expansion of tokens.
pub(super) fn ssh(path: &Path) -> String {
    format!("\"{}\"", ssh_inner(path))
}

/// Like [`ssh`], without the quotes: Ansible adds them to the key's path.
pub(super) fn ssh_inner(path: &Path) -> String {
    let text = path.display().to_string();
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%")
}

/// One word for a shell, and for Python's shlex, by which Ansible splits ssh's arguments and a host's line.
pub(crate) fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r#"'"'"'"#))
}

/// A template of Jinja that gives `text`.
pub(super) fn template(text: &str) -> String {
    // Each of Jinja's marks begins with a brace.
    text.replace('{', "{{ '{' }}")
}

/// A text as Python's literal, for a variable below `[all:vars]`.
pub(super) fn literal(text: &str) -> String {
    let mut literal = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => literal.extend(['\\', c]),
            // Python splits lines at these.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                literal.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => literal.push(c),
        }
    }
    literal.push('"');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_quotes_carry_is_refused_by_name() {
        use std::os::unix::ffi::OsStrExt;
        for (name, expected) in [
            (&b"/a\nb"[..], "`/a\\nb` has a line break"),
            (b"/${HOME}", "has `${`"),
            (b"/\xff", "no UTF-8"),
        ] {
            let error = check(Path::new(std::ffi::OsStr::from_bytes(name))).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        for fine in ["/a b", "/$HOME", "/{x}", "/100%h", "/\"'\\", "/ü\t#;"] {
            check(Path::new(fine)).unwrap();
        }
    }

    #[test]
    fn each_layer_is_quoted_for_the_one_that_reads_it() {
        let path = Path::new("/a \"b\" \\ 100%h");
        assert_eq!(ssh(path), r#""/a \"b\" \\ 100%%h""#);
        assert_eq!(word("it's"), r#"'it'"'"'s'"#);
        assert_eq!(template("a{{b"), "a{{ '{' }}{{ '{' }}b");
        assert_eq!(literal("\t\u{2028}\\\""), r#""\u0009\u2028\\\"""#);
    }
}
