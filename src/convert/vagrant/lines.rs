//! Splits Ruby into statements and blocks, as far as a Vagrantfile needs it.

use super::words::split;

/// Deepest nesting of blocks.
const DEEPEST: usize = 32;
/// Words that begin a block at the beginning of a line.
const OPENING: [&str; 9] = [
    "if", "unless", "case", "begin", "def", "while", "until", "class", "module",
];

/// A statement on one line, without its comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) text: String,
}

/// A statement, or a block with the statements in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Statement(Line),
    Block {
        /// What stands before `do`.
        head: Line,
        /// The names between bars.
        names: Vec<String>,
        body: Vec<Item>,
    },
}

/// Reads all statements.
///
/// # Errors
/// Fails with line and reason if a block is not closed, or too deep.
pub(super) fn blocks(text: &str) -> Result<Vec<Item>, String> {
    let mut open: Vec<(Line, Vec<String>, Vec<Item>)> = Vec::new();
    let mut top = Vec::new();
    for line in statements(text) {
        let is_end =
            line.text == "end" || line.text.starts_with("end.") || line.text.starts_with("end ");
        if is_end || line.text == "}" {
            let Some((head, names, body)) = open.pop() else {
                return Err(format!("{}: this `end` ends no block", line.number));
            };
            let block = Item::Block { head, names, body };
            open.last_mut()
                .map_or(&mut top, |(_, _, body)| body)
                .push(block);
            continue;
        }
        match opened(&line) {
            Some(_) if open.len() >= DEEPEST => {
                return Err(format!(
                    "{}: more than {DEEPEST} blocks in each other",
                    line.number
                ));
            }
            Some((head, names)) => open.push((head, names, Vec::new())),
            None => {
                let body = open.last_mut().map_or(&mut top, |(_, _, body)| body);
                body.push(one_line(&line).unwrap_or(Item::Statement(line)));
            }
        }
    }
    match open.pop() {
        Some((head, ..)) => Err(format!("{}: this block has no `end`", head.number)),
        None => Ok(top),
    }
}

/// The head and the names of a line that begins a block.
fn opened(line: &Line) -> Option<(Line, Vec<String>)> {
    let text = line.text.as_str();
    let (before, names) = match text.strip_suffix('|') {
        Some(rest) => {
            let (before, names) = rest.rsplit_once('|')?;
            let names = names
                .split(',')
                .map(|n| n.trim_matches(['(', ')', ' ']).to_owned());
            (before.trim_end(), names.collect())
        }
        None => (text, Vec::new()),
    };
    let brace = before
        .strip_suffix('{')
        .filter(|_| !names.is_empty() || !is_hash(before));
    let head = match before.strip_suffix("do").or(brace) {
        Some(head) if head.ends_with(|c: char| c.is_whitespace() || c == ')') => head.trim_end(),
        _ => {
            let first = text.split([' ', '(']).next().unwrap_or_default();
            let begins =
                OPENING.contains(&first) || text.contains("= if ") || text.contains("= case ");
            if !begins || text.ends_with(" end") {
                return None;
            }
            text
        }
    };
    let head = Line {
        number: line.number,
        text: head.to_owned(),
    };
    Some((head, names))
}

/// Longest statement in bytes that is joined from lines. Each line looks at all before it.
const LONGEST: usize = 1 << 14;

/// Statements without comments. One that goes on in the next line is joined, and the text of a here-document is left
/// out.
fn statements(text: &str) -> Vec<Line> {
    let mut all = Vec::new();
    let mut lines = (1..).zip(text.lines());
    let mut whole: Option<Line> = None;
    while let Some((number, line)) = lines.next() {
        if line.trim_end() == "__END__" {
            break;
        }
        if line.starts_with("=begin") {
            let _rest = lines.by_ref().find(|(_, l)| l.starts_with("=end"));
            continue;
        }
        let code = without_comment(line).trim();
        if code.is_empty() {
            continue;
        }
        for end in here_documents(code) {
            let _text = lines.by_ref().find(|(_, l)| l.trim() == end);
        }
        let mut line = match whole.take() {
            Some(mut line) => {
                line.text.push(' ');
                line.text.push_str(code);
                line
            }
            None => Line {
                number,
                text: code.to_owned(),
            },
        };
        if let Some(rest) = line.text.strip_suffix('\\') {
            line.text = rest.trim_end().to_owned();
            whole = Some(line);
        } else if line.text.len() < LONGEST && (line.text.ends_with(',') || depth(&line.text) > 0) {
            whole = Some(line);
        } else {
            all.push(line);
        }
    }
    all.extend(whole);
    all
}

/// A line up to its comment. A `#` inside of quotes, or one that begins `#{`, is none.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match quote {
            Some(q) if c == q && before != '\\' => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '#' && before.is_whitespace() => return line.get(..at).unwrap_or(line),
            None => {}
        }
        before = c;
    }
    line
}

/// How many brackets are open at the end of a statement, outside of quotes. A brace before names begins a block.
fn depth(text: &str) -> i64 {
    let mut quote = None;
    let (mut depth, mut before) = (0_i64, ' ');
    for c in text.chars() {
        match quote {
            Some(q) if c == q && before != '\\' => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if "([{".contains(c) => depth += 1,
            None if ")]}".contains(c) => depth -= 1,
            None => {}
        }
        before = c;
    }
    let begins_block = text.ends_with('|') || text.ends_with('{') && !is_hash(text);
    if begins_block && depth > 0 {
        depth - 1
    } else {
        depth
    }
}

/// Whether the brace at the end of a text begins a hash, and no block.
fn is_hash(text: &str) -> bool {
    let before = text.trim_end_matches('{').trim_end();
    before.is_empty() || before.ends_with(['=', '>', '(', '[', ',', ':', '{'])
}

/// A whole block on one line: `HEAD { |NAMES| BODY }` or `HEAD do |NAMES| BODY end`.
fn one_line(line: &Line) -> Option<Item> {
    let text = line.text.as_str();
    let braces = text.strip_suffix('}').and_then(|t| t.split_once(" { |"));
    let words = || {
        text.strip_suffix(" end")
            .and_then(|t| t.split_once(" do |"))
    };
    let (head, rest) = braces.or_else(words)?;
    let (names, body) = rest.split_once('|')?;
    let at = |text: &str| Line {
        number: line.number,
        text: text.trim().to_owned(),
    };
    let body = split(body, ';')
        .into_iter()
        .filter(|t| !t.trim().is_empty());
    Some(Item::Block {
        head: at(head),
        names: names.split(',').map(|n| n.trim().to_owned()).collect(),
        body: body.map(|t| Item::Statement(at(t))).collect(),
    })
}

/// The words that end the here-documents of a line.
fn here_documents(code: &str) -> Vec<&str> {
    let starts = code.split("<<").skip(1).filter_map(|rest| {
        let rest = rest
            .trim_start_matches(['-', '~'])
            .trim_start_matches(['"', '\'']);
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let word = rest.get(..end.unwrap_or(rest.len()))?;
        word.starts_with(|c: char| c.is_ascii_uppercase())
            .then_some(word)
    });
    starts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(usize, String)> {
        statements(text)
            .into_iter()
            .map(|l| (l.number, l.text))
            .collect()
    }

    #[test]
    fn statements_are_joined_and_comments_and_here_documents_left_out() {
        let text = "# a\na = 1 # one\nb = [\n  1,\n  2\n]\nc = \"#{a} # no\"\n$s = <<~SH\n  if x # not read\nSH\nd \\\n  e\n=begin\nx do\n=end\nf g,\n  h: 1\n__END__\nz\n";
        assert_eq!(
            texts(text),
            [
                (2, "a = 1".to_owned()),
                (3, "b = [ 1, 2 ]".to_owned()),
                (7, "c = \"#{a} # no\"".to_owned()),
                (8, "$s = <<~SH".to_owned()),
                (11, "d e".to_owned()),
                (16, "f g, h: 1".to_owned()),
            ]
        );
    }

    #[test]
    fn blocks_have_heads_and_names() {
        let items = blocks("a.each do |i|\n  if x\n    y\n  end\nend\nz if q\n").unwrap();
        let [Item::Block { head, names, body }, Item::Statement(last)] = &items[..] else {
            panic!("{items:?}");
        };
        assert_eq!((head.text.as_str(), names[0].as_str()), ("a.each", "i"));
        assert!(matches!(&body[..], [Item::Block { head, .. }] if head.text == "if x"));
        assert_eq!(last.text, "z if q");
        let hash = blocks("a = {\n  b: {\n c: 1 },\n}\n").unwrap();
        assert!(matches!(&hash[..], [Item::Statement(l)] if l.text == "a = { b: { c: 1 }, }"));
        for whole in [
            "p(:x) { |v| v.a = 1; v.b = 2 }",
            "p(:x) do |v| v.a = 1; v.b = 2 end",
        ] {
            let block = blocks(whole).unwrap();
            assert!(
                matches!(&block[..], [Item::Block { head, body, .. }] if head.text == "p(:x)" && body.len() == 2),
                "{block:?}"
            );
        }
        let braces = blocks("a.each { |x, y|\n b\n}\n").unwrap();
        assert!(matches!(&braces[..], [Item::Block { names, .. }] if names.len() == 2));
    }

    #[test]
    fn blocks_that_are_not_whole_are_named() {
        assert_eq!(
            blocks("x\nend\n"),
            Err("2: this `end` ends no block".to_owned())
        );
        assert_eq!(
            blocks("\nx do\n"),
            Err("2: this block has no `end`".to_owned())
        );
        let deep = "x do\n".repeat(40);
        assert!(blocks(&deep).unwrap_err().contains("more than 32 blocks"));
    }
}
