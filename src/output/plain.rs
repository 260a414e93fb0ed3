//! Text of a guest without what a terminal would obey.

/// Where in a sequence of ECMA-48 a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    Escape,
    /// After the first byte of an escape sequence with one more.
    OneMore,
    /// A control sequence, which ends with a letter or the like.
    Control,
    /// A string of commands, which ends with BEL or ST.
    Command,
    CommandEscape,
}

/// A line as a screen would show it: without control and escape sequences, and after the last carriage return, as with
/// a progress bar. Bytes that are not UTF-8 become replacement characters.
pub(super) fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\r', '\n']);
    let text = text.rsplit('\r').next().unwrap_or(text);
    let mut place = Place::Text;
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        place = match (place, c) {
            (Place::Text, '\u{1b}') => Place::Escape,
            (Place::Text, '\u{9b}') | (Place::Escape, '[') => Place::Control,
            (Place::Text, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}')
            | (Place::Escape, ']' | 'P' | 'X' | '^' | '_') => Place::Command,
            (Place::Text, c) => {
                if c == '\t' || !(c.is_control() || is_direction(c)) {
                    plain.push(c);
                }
                Place::Text
            }
            (Place::Escape, ' '..='/') => Place::OneMore,
            (Place::Escape | Place::OneMore | Place::Control, '\u{1b}') => Place::Escape,
            (Place::Escape | Place::OneMore, _) | (Place::Control, '@'..='~') => Place::Text,
            (Place::Command, '\u{7}' | '\u{9c}') | (Place::CommandEscape, '\\') => Place::Text,
            (Place::Command, '\u{1b}') => Place::CommandEscape,
            (Place::CommandEscape, _) => Place::Command,
            (Place::Control | Place::Command, _) => place,
        };
    }
    plain
}

/// Whether a character changes the direction of the text after it, or ends a line.
const fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_text_is_left_out() {
        for (line, expected) in [
            (&b"[    0.1] Linux\r"[..], "[    0.1] Linux"),
            (b"\x1b[0;32m  OK  \x1b[0m] Started", "  OK  ] Started"),
            (b"\x1b]0;title\x07a\x1b]2;x\x1b\\b", "ab"),
            (b"\x1bc\x1b(B\x1b[?1049hlogin:", "login:"),
            (b"10%\r20%\r\n", "20%"),
            (b"a\tb\x08\x07\0c", "a\tbc"),
            (b"\xff\xc2\x9b31mred", "\u{fffd}red"),
            (b"\x1b[12", ""),
            ("a\u{202e}b".as_bytes(), "ab"),
            ("größe".as_bytes(), "größe"),
        ] {
            assert_eq!(plain(line), expected, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_control_character_is_left_of_any_bytes(
            line in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(0x1b), Just(b'['), Just(0xc2), Just(0x9b)], 0..64)
        ) {
            let plain = plain(&line);
            prop_assert!(!plain.chars().any(|c| c != '\t' && c.is_control()), "{plain:?}");
        }
    }
}
