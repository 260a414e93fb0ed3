//! Checks a content by its form.

use super::fault::Fault;
use super::form::Form;
use super::yaml::{self, Node, Shape};

/// Checks a user's data that is no message.
///
/// # Errors
/// Fails at the first part that cloud-init would leave out.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    match Form::of(text) {
        Some(form) => check_form(form, text),
        None => Err(unknown(text)),
    }
}

/// # Errors
/// As [`check`].
pub(super) fn check_form(form: Form, text: &str) -> Result<(), Fault> {
    match form {
        Form::Config => check_config(text),
        Form::Archive => check_archive(text),
        Form::Patch => check_patch(text),
        Form::Script => check_script(text),
        Form::Boothook => {
            let (_, rest) = first_line(text);
            match rest.trim_start().starts_with("#!") {
                true => below_first(rest, check_script),
                false => Ok(()),
            }
        }
        Form::Include => check_include(text),
        Form::Template => {
            let (_, rest) = first_line(text);
            below_first(rest, check_template)
        }
        // It is a program in Python.
        Form::PartHandler => Ok(()),
    }
}

/// Why cloud-init does not know a content.
fn unknown(text: &str) -> Fault {
    const BYTE_ORDER_MARK: char = '\u{feff}';
    if text.starts_with(BYTE_ORDER_MARK) {
        return Fault::at(
            1,
            "cloud-init does not read a file with a byte order mark; save it as UTF-8 without one",
        );
    }
    let is_coded = |c: char| c.is_ascii_alphanumeric() || "+/=\r\n".contains(c);
    if text.len() >= 16 && text.trim_end().chars().all(is_coded) {
        return Fault::at(
            1,
            "this is base64, which cloud-init does not decode; `base64 -d` does",
        );
    }
    Fault::at(
        1,
        "cloud-init does not know this first line; write `#cloud-config` there, or `#!/bin/sh` for a script",
    )
}

/// Checks a text that stands below the first line.
fn below_first(rest: &str, check: fn(&str) -> Result<(), Fault>) -> Result<(), Fault> {
    let content = rest.trim_start();
    let blank = rest.get(..rest.len() - content.len()).unwrap_or_default();
    check(content).map_err(|fault| fault.after_lines(1 + blank.matches('\n').count()))
}

fn first_line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

fn check_script(text: &str) -> Result<(), Fault> {
    let blank = text.len() - text.trim_start().len();
    let at = 1 + text.get(..blank).unwrap_or_default().matches('\n').count();
    let (first, _) = first_line(text.trim_start());
    if !first.starts_with("#!") {
        return Err(Fault::at(
            at,
            "a script begins with `#!`, such as `#!/bin/sh`",
        ));
    }
    if blank > 0 {
        return Err(Fault::at(
            1,
            "a script begins with `#!`, without blanks before it",
        ));
    }
    if first.contains('\r') {
        return Err(Fault::at(
            1,
            "the lines of this script end with CR LF, and the kernel would look for an interpreter with CR in its name; `sed -i 's/\\r$//'` or dos2unix mends that",
        ));
    }
    Ok(())
}

/// Checks a cloud-config.
fn check_config(text: &str) -> Result<(), Fault> {
    let Some(root) = yaml::read(text)? else {
        return Ok(());
    };
    let Shape::Mapping(entries) = &root.shape else {
        return Err(root.fault("expected a mapping, `key: value`"));
    };
    let users = entries.iter().find(|(key, _)| key.is_text("users"));
    match users {
        Some((key, users)) if !users.is_collection() => Err(key.fault(
            "`users` holds no list, so cloud-init would leave out kvmc's user; write a list, such as `users: [default]`, or leave the key out",
        )),
        _ => Ok(()),
    }
}

/// Checks an archive: a list of contents, or of mappings with `content` and perhaps `type`.
fn check_archive(text: &str) -> Result<(), Fault> {
    let Some(root) = yaml::read(text)? else {
        return Err(Fault::at(
            1,
            "the archive has no parts; expected a list of them",
        ));
    };
    let Shape::Sequence(parts) = &root.shape else {
        return Err(root.fault("expected a list of parts, `- content: …`"));
    };
    for part in parts {
        check_part(part)?;
    }
    Ok(())
}

fn check_part(part: &Node) -> Result<(), Fault> {
    let (content, kind) = match &part.shape {
        Shape::Text(text) => ((part, text.as_str()), None),
        Shape::Mapping(entries) => {
            let find = |name: &str| {
                let mut found = entries.iter().filter(|(key, _)| key.is_text(name));
                found.find_map(|(_, value)| match &value.shape {
                    Shape::Text(text) => Some((value, text.as_str())),
                    _ => None,
                })
            };
            match find("content") {
                Some(content) => (content, find("type").map(|(_, text)| text)),
                None => return Err(part.fault("this part has no text as its `content`")),
            }
        }
        Shape::Alias => return Ok(()),
        _ => return Err(part.fault("expected a part: a text, or a mapping with `content`")),
    };
    let (node, text) = content;
    let form = match kind {
        Some(kind) => Form::of_type(kind),
        // A part without a type and without a known first line is a cloud-config.
        None => Some(Form::of(text).unwrap_or(Form::Config)),
    };
    match form {
        Some(form) => check_form(form, text).map_err(|fault| match node.is_literal {
            true => fault.after_lines(node.line - 1),
            false => fault.in_part(node.line, "in this part"),
        }),
        None => Ok(()),
    }
}

/// Checks a JSON patch of the cloud-config, RFC 6902.
fn check_patch(text: &str) -> Result<(), Fault> {
    const PREFIX: usize = "#cloud-config-jsonp".len();
    let (first, _) = first_line(text);
    let json = match first.starts_with('#') {
        true => text.get(PREFIX..).unwrap_or_default(),
        false => text,
    };
    match serde_json::from_str::<Vec<serde_json::Value>>(json) {
        Ok(_) => Ok(()),
        Err(e) => Err(Fault::at(
            e.line().max(1),
            format!("expected a list of patches in JSON: {e}"),
        )),
    }
}

/// Checks that a list of addresses has one.
fn check_include(text: &str) -> Result<(), Fault> {
    let address = |line: &str| {
        let lower = line.to_ascii_lowercase();
        let word = ["#include-once", "#include"]
            .into_iter()
            .find(|w| lower.starts_with(w));
        let rest = line.get(word.map_or(0, str::len)..).unwrap_or_default();
        rest.trim().to_owned()
    };
    let mut named = false;
    for (number, line) in text.lines().enumerate() {
        let address = address(line);
        if address.is_empty() || address.starts_with('#') {
            continue;
        }
        if !address.contains("://") && !address.starts_with('/') {
            let what = format!(
                "`{}` is no address; expected one a line",
                address.escape_debug()
            );
            return Err(Fault::at(number + 1, what));
        }
        named = true;
    }
    match named {
        true => Ok(()),
        false => Err(Fault::at(
            1,
            "it includes nothing; expected one address a line",
        )),
    }
}

/// Checks what can be known of a template before cloud-init fills it in.
fn check_template(text: &str) -> Result<(), Fault> {
    let is_plain = !text.contains("{{") && !text.contains("{%") && !text.contains("{#");
    match Form::of(text) {
        Some(form) if is_plain => check_form(form, text),
        Some(Form::Script) => check_script(text),
        Some(Form::Config) => check_one_document(text),
        // A statement may choose the form.
        None if text.starts_with('{') => Ok(()),
        None => Err(unknown(text)),
        Some(_) => Ok(()),
    }
}

/// Refuses a second document in a template.
fn check_one_document(text: &str) -> Result<(), Fault> {
    let mut has_content = false;
    for (number, line) in text.lines().enumerate() {
        let is_marker = line == "---" || line.starts_with("--- ");
        if is_marker && has_content {
            return Err(Fault::at(number + 1, yaml::TWO_DOCUMENTS));
        }
        let line = line.trim();
        has_content |=
            is_marker || !(line.is_empty() || line.starts_with('#') || line.starts_with("{%"));
    }
    Ok(())
}
