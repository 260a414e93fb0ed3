//! Evaluates the plain expressions of a Vagrantfile: texts, numbers, names, lists and sums.

use std::collections::BTreeMap;

use super::words::{bare, split};

const DEEPEST: usize = 16;
/// Longest text and list that an expression may give.
const LONGEST: usize = 4096;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Number(i64),
    Text(String),
    List(Vec<Self>),
    Switch(bool),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
            Self::Switch(on) => write!(f, "{on}"),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(ToString::to_string).collect();
                f.write_str(&items.join(", "))
            }
        }
    }
}

impl Value {
    /// Bytes of text, and one for each other value.
    fn weight(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(items) => items.iter().map(|item| 1 + item.weight()).sum(),
            Self::Number(_) | Self::Switch(_) => 1,
        }
    }

    /// A number, also one that is written as a text.
    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            Self::List(_) | Self::Switch(_) => None,
        }
    }
}

/// The names that have a value.
pub(super) type Names = BTreeMap<String, Value>;

/// The value of an expression; `None` if it is not plain.
pub(super) fn evaluate(text: &str, names: &Names) -> Option<Value> {
    // A text that doubles in each round of a loop would take all memory.
    value(text, names, 0).filter(|value| value.weight() <= LONGEST)
}

fn value(text: &str, names: &Names, depth: usize) -> Option<Value> {
    if depth > DEEPEST || text.len() > LONGEST {
        return None;
    }
    let next = |text: &str| value(text, names, depth + 1);
    let text = bare(text);
    // The environment of Vagrant is not known here, so the default counts.
    if let Some((left, right)) = text.split_once("||") {
        let left = left.trim();
        return match left.starts_with("ENV") {
            true => next(right),
            false => next(left),
        };
    }
    if let Some(rest) = text.strip_prefix("ENV.fetch(") {
        return next(split(rest.strip_suffix(')')?, ',').get(1)?);
    }
    if let Some(sum) = sum(text, &next) {
        return sum;
    }
    for (suffix, convert) in [
        (
            ".to_s",
            (|v| Some(Value::Text(v.to_string()))) as fn(Value) -> Option<Value>,
        ),
        (".to_i", |v| v.number().map(Value::Number)),
        (".freeze", Some),
        (".length", length),
        (".size", length),
        (".count", length),
    ] {
        if let Some(rest) = text.strip_suffix(suffix) {
            return next(rest).and_then(convert);
        }
    }
    literal(text, names, &next)
}

fn length(value: Value) -> Option<Value> {
    match value {
        Value::List(items) => i64::try_from(items.len()).ok().map(Value::Number),
        Value::Text(text) => i64::try_from(text.len()).ok().map(Value::Number),
        Value::Number(_) | Value::Switch(_) => None,
    }
}

/// The value of a sum, difference or product, `None` in it if it is not plain; `None` if the text is no sum.
fn sum(text: &str, next: &dyn Fn(&str) -> Option<Value>) -> Option<Option<Value>> {
    for operator in ['+', '-', '*'] {
        let parts = split(text, operator);
        if parts.len() < 2 || parts.first().is_some_and(|p| p.trim().is_empty()) {
            continue;
        }
        let values: Option<Vec<_>> = parts.iter().map(|p| next(p)).collect();
        let Some(mut values) = values.map(Vec::into_iter) else {
            return Some(None);
        };
        let first = values.next()?;
        return Some(values.try_fold(first, |a, b| combine(operator, a, b)));
    }
    None
}

fn combine(operator: char, a: Value, b: Value) -> Option<Value> {
    match (operator, a, b) {
        ('+', Value::Number(a), Value::Number(b)) => a.checked_add(b).map(Value::Number),
        ('-', Value::Number(a), Value::Number(b)) => a.checked_sub(b).map(Value::Number),
        ('*', Value::Number(a), Value::Number(b)) => a.checked_mul(b).map(Value::Number),
        ('+', Value::Text(a), Value::Text(b)) => Some(Value::Text(a + &b)),
        _ => None,
    }
}

fn literal(text: &str, names: &Names, next: &dyn Fn(&str) -> Option<Value>) -> Option<Value> {
    let inside = |open: &str, close: &str| {
        let inner = text.strip_prefix(open)?.strip_suffix(close)?;
        (text.len() >= open.len() + close.len()).then_some(inner)
    };
    if let Some(inner) = inside("'", "'").filter(|t| !t.contains('\'')) {
        return Some(Value::Text(inner.to_owned()));
    }
    if let Some(inner) = inside("\"", "\"") {
        return interpolated(inner, next).map(Value::Text);
    }
    for (open, close) in [("%w(", ")"), ("%w[", "]"), ("%w{", "}")] {
        if let Some(inner) = inside(open, close) {
            let words = inner.split_whitespace().map(|w| Value::Text(w.to_owned()));
            return Some(Value::List(words.collect()));
        }
    }
    if let Some(inner) = inside("[", "]") {
        let items = split(inner, ',')
            .into_iter()
            .filter(|i| !i.trim().is_empty());
        return items.map(next).collect::<Option<_>>().map(Value::List);
    }
    match text {
        "true" => return Some(Value::Switch(true)),
        "false" => return Some(Value::Switch(false)),
        _ => {}
    }
    if let Some(symbol) = text.strip_prefix(':') {
        let is_word = symbol
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_');
        return (is_word && !symbol.is_empty()).then(|| Value::Text(symbol.to_owned()));
    }
    if let Ok(number) = text.replace('_', "").parse() {
        return Some(Value::Number(number));
    }
    names.get(text).cloned()
}

/// A text with the values of `#{…}` in it.
fn interpolated(text: &str, next: &dyn Fn(&str) -> Option<Value>) -> Option<String> {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("#{") {
        let (inner, behind) = after.split_once('}')?;
        whole.push_str(before);
        whole.push_str(&next(inner)?.to_string());
        if whole.len() > LONGEST {
            return None;
        }
        rest = behind;
    }
    if rest.contains('"') {
        return None;
    }
    whole.push_str(rest);
    Some(whole.replace("\\n", "\n").replace("\\t", "\t"))
}

/// What a loop goes over: `(1..3).each`, `1.upto(3)`, `3.times`, `%w(a b).each`, `LIST.each_with_index`. Each turn has
/// the values of the loop's names.
pub(super) fn turns(head: &str, names: &Names) -> Option<Vec<Vec<Value>>> {
    const MOST: i64 = 1000;
    let numbers = |from: i64, to: i64| {
        (to.checked_sub(from)? <= MOST)
            .then(|| (from..to).map(|n| vec![Value::Number(n)]).collect())
    };
    let number = |text: &str| evaluate(text, names)?.number();
    if let Some(count) = head.strip_suffix(".times") {
        return numbers(0, number(count)?);
    }
    if let Some((from, to)) = head.split_once(".upto") {
        return numbers(number(from)?, number(to)?.checked_add(1)?);
    }
    let (list, has_index) = match head.strip_suffix(".each") {
        Some(list) => (list, false),
        None => (head.strip_suffix(".each_with_index")?, true),
    };
    if let Some((from, to)) = bare(list).split_once("..") {
        return match to.strip_prefix('.') {
            Some(to) => numbers(number(from)?, number(to)?),
            None => numbers(number(from)?, number(to)?.checked_add(1)?),
        };
    }
    let Value::List(items) = evaluate(list, names)? else {
        return None;
    };
    let turn = |(n, item): (i64, Value)| match has_index {
        true => vec![item, Value::Number(n)],
        false => vec![item],
    };
    Some((0..).zip(items).map(turn).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        let names = [
            ("i".to_owned(), Value::Number(2)),
            ("NET".to_owned(), Value::Text("10.0.0".to_owned())),
        ];
        evaluate(text, &names.into()).map(|v| v.to_string())
    }

    #[test]
    fn plain_expressions_have_values() {
        for (text, expected) in [
            ("2048", "2048"),
            ("2 * 1024", "2048"),
            ("\"node#{i}\"", "node2"),
            ("\"#{NET}.#{i + 10}\"", "10.0.0.12"),
            ("\"10.0.0.1#{i}\"", "10.0.0.12"),
            ("NET + '.5'", "10.0.0.5"),
            ("(8080 + i)", "8082"),
            ("ENV['X'] || 4", "4"),
            ("ENV.fetch(\"X\", \"b\")", "b"),
            (":udp", "udp"),
            ("%w(a b)", "a, b"),
            ("[1, 'x']", "1, x"),
            ("i.to_s", "2"),
            ("2_048", "2048"),
            ("'a-b'", "a-b"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
        for other in [
            "x",
            "File.read('a')",
            "i == 2 ? 1 : 2",
            "\"#{x}\"",
            "",
            "`id`",
            "9223372036854775807 + 1",
        ] {
            assert_eq!(shown(other), None, "{other}");
        }
    }

    #[test]
    fn loops_are_short_and_plain() {
        let count = |head: &str| turns(head, &Names::new()).map(|t| t.len());
        assert_eq!(count("(1..3).each"), Some(3));
        assert_eq!(count("(1...3).each"), Some(2));
        assert_eq!(count("1.upto(4)"), Some(4));
        assert_eq!(count("5.times"), Some(5));
        assert_eq!(count("%w[a b].each_with_index"), Some(2));
        for other in [
            "(1..99999999999).each",
            "x.each",
            "loop",
            "1.step(2)",
            "(9..1)",
        ] {
            assert_eq!(count(other), None, "{other}");
        }
        assert_eq!(count("(9..1).each"), Some(0));
    }
}
