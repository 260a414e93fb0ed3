//! The text of iptables-save(8) and ip6tables-save(8), read, and changed in one transaction.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::chains::{Base, Chains, Condition, Field, Rule, Value, Verdict};
use super::packet::Hook;
use crate::{Change, ExecError, exec};

/// Which half of the kernel iptables' rules are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// x_tables, iptables' own.
    Legacy,
    /// nftables.
    Nft,
}

impl Backend {
    pub(super) const ALL: [Self; 2] = [Self::Legacy, Self::Nft];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Nft => "nft",
        }
    }

    /// Its program, as its users call it; with `-save` and `-restore` behind it, those.
    pub(super) fn program(self, family: Family) -> String {
        let tables = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        format!("{tables}-{}", self.name())
    }

    /// All rules of the backend; none where it, or its program, is not there.
    pub(super) fn save(self, family: Family) -> Result<String, ExecError> {
        if self == Self::Legacy && !legacy_is_there(family) {
            return Ok(String::new());
        }
        match exec::run(&format!("{}-save", self.program(family)), &[], "") {
            Err(error) if error.is_missing() => Ok(String::new()),
            saved => saved,
        }
    }

    /// Carries out lines such as `-I FORWARD 1 -i k80 -j ACCEPT` on the filter table, all or none.
    pub(super) fn change(self, family: Family, lines: &[String]) -> Result<(), ExecError> {
        let text = format!("*filter\n{}\nCOMMIT\n", lines.join("\n"));
        let program = format!("{}-restore", self.program(family));
        // Others hold the lock for moments only.
        exec::run(&program, &["--noflush", "--wait", "5"], &text).map(drop)
    }

    /// Removes every rule of this comment from the filter table.
    pub(super) fn withdraw(self, family: Family, mark: &str) -> Result<Change, ExecError> {
        let lines = deletions(&self.save(family)?, mark, None);
        if lines.is_empty() {
            return Ok(Change::Unchanged);
        }
        self.change(family, &lines)?;
        Ok(Change::Removed)
    }

    /// Each of them, of each family.
    pub(super) fn all() -> impl Iterator<Item = (Self, Family)> {
        let families = [Family::V4, Family::V6].into_iter();
        families.flat_map(|family| Self::ALL.map(|backend| (backend, family)))
    }
}

/// Which of the two a rule or packet is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// nft's word for it.
    pub(super) fn nft(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
}

/// Whether the legacy backend has tables. Asking it for them loads its modules, and they are there from then on.
pub(super) fn legacy_is_there(family: Family) -> bool {
    let tables = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    fs_err::read_to_string(Path::new(tables)).is_ok_and(|t| !t.trim().is_empty())
}

/// A digest of all rules of the legacy backend, without what only counts: it tells nobody of a change. Where there are
/// none, no program is run to find that out.
///
/// # Errors
/// The tool's, with its words.
pub fn legacy_digest() -> Result<u64, ExecError> {
    let mut digest = DefaultHasher::new();
    for family in [Family::V4, Family::V6] {
        let saved = Backend::Legacy.save(family)?;
        for line in saved.lines().filter(|line| !line.starts_with('#')) {
            // A chain's line ends in its counters.
            line.split(" [").next().hash(&mut digest);
        }
    }
    Ok(digest.finish())
}

/// The lines that take the rules of this comment out of the filter table, or of one of its chains.
pub(super) fn deletions(saved: &str, mark: &str, chain: Option<&str>) -> Vec<String> {
    filter_lines(saved)
        .filter(|line| is_marked(line, mark))
        .filter_map(|line| line.strip_prefix("-A "))
        .filter(|rest| chain.is_none_or(|c| rest.split(' ').next() == Some(c)))
        .map(|rest| format!("-D {rest}"))
        .collect()
}

/// How many rules a chain has that are not of this comment.
pub(super) fn others_in(saved: &str, mark: &str, chain: &str) -> usize {
    filter_lines(saved)
        .filter_map(|line| line.strip_prefix("-A "))
        .filter(|rest| rest.split(' ').next() == Some(chain) && !is_marked(rest, mark))
        .count()
}

pub(super) fn is_marked(line: &str, mark: &str) -> bool {
    let words = words(line);
    words
        .iter()
        .zip(words.iter().skip(1))
        .any(|(option, value)| option == "--comment" && value == mark)
}

/// Whether the text holds a filter table at all.
pub(super) fn has_filter(saved: &str) -> bool {
    saved.lines().any(|line| line == "*filter")
}

fn filter_lines(saved: &str) -> impl Iterator<Item = &str> {
    saved
        .lines()
        .skip_while(|line| *line != "*filter")
        .take_while(|line| *line != "COMMIT")
}

/// The filter table, without the rules of `mark` when it is given.
pub(super) fn parse(saved: &str, family: Family, without: Option<&str>) -> Chains {
    let mut chains = Chains {
        family: Some(family),
        ..Chains::default()
    };
    for line in filter_lines(saved) {
        if let Some(declared) = line.strip_prefix(':') {
            let mut parts = declared.split(' ');
            let (Some(name), Some(policy)) = (parts.next(), parts.next()) else {
                continue;
            };
            chains.rules.entry(name.to_owned()).or_default();
            let hook = [Hook::Input, Hook::Forward, Hook::Output]
                .into_iter()
                .find(|h| h.chain() == name);
            if let Some(hook) = hook {
                chains.bases.push(Base {
                    chain: name.to_owned(),
                    hook,
                    drops: policy == "DROP",
                });
            }
        }
    }
    let known: Vec<String> = chains.rules.keys().cloned().collect();
    for line in filter_lines(saved) {
        let Some(rest) = line.strip_prefix("-A ") else {
            continue;
        };
        if without.is_some_and(|mark| is_marked(line, mark)) {
            continue;
        }
        let words = words(rest);
        let Some((chain, arguments)) = words.split_first() else {
            continue;
        };
        let rule = read_rule(arguments, line, &known);
        chains.rules.entry(chain.clone()).or_default().push(rule);
    }
    chains
}

fn read_rule(arguments: &[String], line: &str, chains: &[String]) -> Rule {
    let mut conditions = Vec::new();
    let mut verdict = Verdict::Continue;
    let mut rest = arguments;
    let mut not = false;
    while let Some((option, after)) = rest.split_first() {
        let count = after
            .iter()
            .take_while(|w| !w.starts_with('-') && *w != "!")
            .count();
        let (values, next) = after.split_at(count);
        rest = next;
        let value = values.first().map_or("", String::as_str);
        match option.as_str() {
            "!" => {
                not = true;
                // What follows is the option that is negated.
                continue;
            }
            "-m" | "--comment" => {}
            "-j" | "-g" => {
                // All else is the target's.
                verdict = read_target(value, option == "-g", chains);
                break;
            }
            option => conditions.push(condition(option, value, not)),
        }
        not = false;
    }
    Rule {
        conditions,
        verdict,
        text: line.to_owned(),
    }
}

fn read_target(target: &str, goes: bool, chains: &[String]) -> Verdict {
    match target {
        "ACCEPT" => Verdict::Accept,
        "DROP" | "REJECT" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        chain if chains.iter().any(|c| c == chain) => {
            if goes {
                Verdict::Goto(chain.to_owned())
            } else {
                Verdict::Jump(chain.to_owned())
            }
        }
        _ => Verdict::Continue,
    }
}

fn condition(option: &str, value: &str, not: bool) -> Condition {
    let items = || value.split(',');
    let lower = || {
        items()
            .map(|w| Value::Word(w.to_ascii_lowercase()))
            .collect()
    };
    let is = |field, values: Option<Vec<Value>>| match values {
        Some(values) => Condition::Is { field, not, values },
        None => Condition::Unknown,
    };
    // `+` is iptables' asterisk.
    let link = || Some(vec![Value::Word(value.replace('+', "*"))]);
    let net = || Some(vec![Value::Net(value.parse().ok()?)]);
    let ports = || items().map(ports).collect::<Option<Vec<_>>>();
    match option {
        "-i" => is(Field::Iif, link()),
        "-o" => is(Field::Oif, link()),
        "-s" => is(Field::Saddr, net()),
        "-d" => is(Field::Daddr, net()),
        "-p" => is(Field::Protocol, Some(lower())),
        "--sport" | "--sports" => is(Field::Sport, ports()),
        "--dport" | "--dports" => is(Field::Dport, ports()),
        "--ctstate" | "--state" => is(Field::State, Some(lower())),
        "--dst-type" => is(Field::Cast, Some(lower())),
        _ => Condition::Unknown,
    }
}

fn ports(text: &str) -> Option<Value> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    Some(Value::Ports(first.parse().ok()?, last.parse().ok()?))
}

/// The words of a line; one in quotes may hold blanks, and quotes behind a backslash.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(letters.next()),
            ' ' if !quoted => all.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    all.extend(word);
    all
}
