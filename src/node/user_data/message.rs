//! User data as a MIME message, RFC 2045 and 2046.

use mailparse::ParsedMail;

use super::content::check_form;
use super::fault::Fault;
use super::form::{Form, is_packed, is_untyped};
use super::gzip::{self, gunzip};

/// Where cloud-init looks for the header that makes a MIME message, in bytes.
const LOOKED_AT: usize = 4096;
const HEADER: &[u8] = b"mime-version:";

/// Whether a text is a MIME message. A script may hold the header's name too, but does not begin as a message does.
pub(in crate::node) fn is_message(text: &str) -> bool {
    let head = text.as_bytes();
    let head = head.get(..LOOKED_AT).unwrap_or(head);
    let has_header = head
        .windows(HEADER.len())
        .any(|w| w.eq_ignore_ascii_case(HEADER));
    let first = text.lines().next().unwrap_or_default();
    let name = first.split_once(':').map_or("", |(name, _)| name);
    let begins = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
    // kvmc passes it on inside a message, which needs no second header.
    let is_multipart = first
        .to_ascii_lowercase()
        .starts_with("content-type: multipart/");
    (begins || first.starts_with("From ")) && (has_header || is_multipart)
}

/// Checks each part of a message.
///
/// # Errors
/// The message cannot be read, has no parts, or has a part that cloud-init would leave out.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    // A mail box's line before the headers is none of them.
    let (envelope, mail) = match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("From ") => (1, rest),
        _ => (0, text),
    };
    let message = mailparse::parse_mail(mail.as_bytes())
        .map_err(|e| Fault::at(1, format!("this MIME message cannot be read: {e}")))?;
    let mut leaves = Vec::new();
    collect(&message, &mut leaves);
    if leaves.is_empty() {
        return Err(Fault::at(
            1,
            "this MIME message has no parts; expected lines with its boundary before each",
        ));
    }
    let start = mail.as_ptr().addr();
    let lines_before = |part: &[u8]| {
        let at = part.as_ptr().addr().saturating_sub(start);
        let before = mail.as_bytes().get(..at).unwrap_or_default();
        before.iter().filter(|b| **b == b'\n').count()
    };
    // A handler that comes in one part may be for the types of others.
    let has_handler = leaves.iter().any(|leaf| {
        let body = leaf.get_body_raw().unwrap_or_default();
        form(leaf, &String::from_utf8_lossy(&body)) == Some(Form::PartHandler)
    });
    for (number, leaf) in leaves.iter().enumerate() {
        let line = lines_before(leaf.raw_bytes) + 1;
        let part = format!("in part {} of the message", number + 1);
        check_leaf(leaf, line, &part, has_handler).map_err(|fault| fault.after_lines(envelope))?;
    }
    Ok(())
}

/// The parts that hold something, in their order.
fn collect<'a>(mail: &'a ParsedMail<'a>, all: &mut Vec<&'a ParsedMail<'a>>) {
    for part in &mail.subparts {
        collect(part, all);
    }
    if !mail.ctype.mimetype.starts_with("multipart/") {
        all.push(mail);
    }
}

/// The form of a part: by its type, or by its content where the type says nothing.
fn form(leaf: &ParsedMail<'_>, body: &str) -> Option<Form> {
    let kind = leaf.ctype.mimetype.as_str();
    if is_untyped(kind) || is_packed(kind) {
        return Form::of(body);
    }
    let named = Form::of_type(kind);
    match named {
        Some(Form::Script) => Form::of(body).or(named),
        named => named,
    }
}

fn check_leaf(
    leaf: &ParsedMail<'_>,
    line: usize,
    part: &str,
    has_handler: bool,
) -> Result<(), Fault> {
    let kind = leaf.ctype.mimetype.as_str();
    let unreadable = |why: String| Fault::at(line, format!("{part}: {why}"));
    let coded = leaf
        .get_body_raw()
        .map_err(|e| unreadable(format!("its content cannot be decoded: {e}")))?;
    let is_packed = is_packed(kind);
    let bytes = match is_packed && coded.starts_with(gzip::MAGIC) {
        true => gunzip(&coded).map_err(|why| unreadable(format!("it {why}")))?,
        false => coded,
    };
    let Ok(body) = String::from_utf8(bytes) else {
        // Other handlers than cloud-init's own may take it.
        return match Form::of_type(kind) {
            Some(_) => Err(unreadable("it is not text in UTF-8".to_owned())),
            None => Ok(()),
        };
    };
    let Some(form) = form(leaf, &body) else {
        let is_empty = body.trim().is_empty();
        return match (is_untyped(kind) || is_packed) && !is_empty && !has_handler {
            true => Err(unreadable(format!(
                "its type is {kind}, and cloud-init does not know its first line; expected one such as `#cloud-config`"
            ))),
            false => Ok(()),
        };
    };
    let raw = String::from_utf8_lossy(leaf.raw_bytes);
    let at = raw.find(body.as_str());
    // Lines of a message may end with CR LF. Of a part that is not coded they are the message's, not the script's.
    let first = raw.split_inclusive('\n').next().unwrap_or_default();
    let body = match at.is_some() && first.ends_with("\r\n") {
        true => body.replace("\r\n", "\n"),
        false => body,
    };
    check_form(form, &body).map_err(|fault| match at {
        // The part is not coded, so its lines are the file's.
        Some(at) => {
            let headers = raw.get(..at).unwrap_or_default().matches('\n').count();
            fault.after_lines(line - 1 + headers)
        }
        None => fault.in_part(line, part),
    })
}
