//! YAML as cloud-init's parser takes it: one document, keys that are texts, no tags of other programs.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::fault::Fault;

pub(super) const TWO_DOCUMENTS: &str = "a second YAML document begins here, and cloud-init reads a file with two as none; join them, or make a MIME message of them";
/// Deepest nesting, far above what a person writes and below what a parser can take.
const DEEPEST: usize = 100;
/// The prefix of YAML's own tags, and those that PyYAML's safe loader knows.
const CORE: &str = "tag:yaml.org,2002:";
const TAGS: [&str; 12] = [
    "null",
    "bool",
    "int",
    "float",
    "binary",
    "timestamp",
    "omap",
    "pairs",
    "set",
    "str",
    "seq",
    "map",
];

/// A value with its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    column: usize,
    pub(super) shape: Shape,
    /// A text whose lines are the file's, from its first one on.
    pub(super) is_literal: bool,
}

#[derive(Debug)]
pub(super) enum Shape {
    Text(String),
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
    Alias,
}

impl Node {
    fn new(span: Span, shape: Shape) -> Self {
        Self {
            line: span.start.line(),
            column: span.start.col() + 1,
            shape,
            is_literal: false,
        }
    }

    pub(super) fn fault(&self, what: &str) -> Fault {
        Fault::at_column(self.line, self.column, what)
    }

    pub(super) fn is_text(&self, word: &str) -> bool {
        matches!(&self.shape, Shape::Text(text) if text == word)
    }

    /// Whether it is a list or mapping, or stands for one elsewhere.
    pub(super) const fn is_collection(&self) -> bool {
        !matches!(self.shape, Shape::Text(_))
    }
}

/// A list or mapping whose end has not come. A key waits for its value.
struct Open {
    node: Node,
    key: Option<Node>,
}

/// Reads the one document of a text; `None` if it has no value.
///
/// # Errors
/// The text is not YAML that cloud-init reads.
pub(super) fn read(text: &str) -> Result<Option<Node>, Fault> {
    check_characters(text)?;
    let (mut open, mut root, mut documents) = (Vec::<Open>::new(), None, 0_u32);
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| {
            let at = e.marker();
            Fault::at_column(at.line(), at.col() + 1, e.info())
        })?;
        let done = match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(Fault::at(span.start.line(), TWO_DOCUMENTS));
                }
                continue;
            }
            Event::Scalar(text, style, _, tag) => {
                check_tag(tag.as_deref(), span)?;
                Node {
                    is_literal: style == ScalarStyle::Literal,
                    ..Node::new(span, Shape::Text(text.into_owned()))
                }
            }
            Event::Alias(_) => Node::new(span, Shape::Alias),
            Event::SequenceStart(_, tag) => {
                begin(&mut open, span, tag.as_deref(), Shape::Sequence(Vec::new()))?;
                continue;
            }
            Event::MappingStart(_, tag) => {
                begin(&mut open, span, tag.as_deref(), Shape::Mapping(Vec::new()))?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(done) => done.node,
                None => continue,
            },
            _ => continue,
        };
        match open.last_mut() {
            Some(above) => above.take(done)?,
            None => root = Some(done),
        }
    }
    // An empty document has an empty text.
    Ok(root.filter(|n| !n.is_text("")))
}

fn begin(open: &mut Vec<Open>, span: Span, tag: Option<&Tag>, shape: Shape) -> Result<(), Fault> {
    check_tag(tag, span)?;
    let node = Node::new(span, shape);
    if open.len() >= DEEPEST {
        return Err(node.fault("this is nested too deep"));
    }
    open.push(Open { node, key: None });
    Ok(())
}

impl Open {
    fn take(&mut self, child: Node) -> Result<(), Fault> {
        match &mut self.node.shape {
            Shape::Sequence(all) => all.push(child),
            Shape::Mapping(all) => match self.key.take() {
                Some(key) => all.push((key, child)),
                None if matches!(child.shape, Shape::Sequence(_) | Shape::Mapping(_)) => {
                    return Err(child.fault(
                        "expected a text as key, not a list or mapping; a value that begins with `{` or `[` needs quotes",
                    ));
                }
                None => self.key = Some(child),
            },
            Shape::Text(_) | Shape::Alias => {}
        }
        Ok(())
    }
}

fn check_tag(tag: Option<&Tag>, span: Span) -> Result<(), Fault> {
    let Some(tag) = tag else { return Ok(()) };
    let is_known = tag.handle.is_empty()
        || (tag.handle == CORE && TAGS.contains(&tag.suffix.as_str()))
        || (tag.handle == "!" && tag.suffix.is_empty());
    match is_known {
        true => Ok(()),
        false => {
            let what = format!(
                "cloud-init does not know the tag `{}{}`",
                tag.handle, tag.suffix
            );
            Err(Node::new(span, Shape::Alias).fault(&what))
        }
    }
}

/// Refuses characters that YAML does not allow, of colours in a terminal for instance.
fn check_characters(text: &str) -> Result<(), Fault> {
    let is_allowed = |c: char| match c {
        '\t' | '\n' | '\r' | '\u{85}' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        c => !c.is_control(),
    };
    for (number, line) in text.split('\n').enumerate() {
        if let Some(column) = line.chars().position(|c| !is_allowed(c)) {
            let what = "YAML does not allow this control character";
            return Err(Fault::at_column(number + 1, column + 1, what));
        }
    }
    Ok(())
}
