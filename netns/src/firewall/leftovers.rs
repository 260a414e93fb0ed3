//! Finds rules of a cluster without a record by their comment.

use serde_json::Value as Json;

use super::backend::Backend;
use super::iptables::{deletions, words};
use crate::{ExecError, exec};

/// Removes rules and tables with this comment whose bridge is not among `links`. A cluster of the same name in another
/// state folder has a bridge, so its rules stay. Returns descriptions of the removed objects.
///
/// # Errors
/// A tool failed; the error holds its output.
pub fn remove_leftovers(mark: &str, links: &[String]) -> Result<Vec<String>, ExecError> {
    let is_there = |link: &str| links.iter().any(|l| l == link);
    let mut removed = Vec::new();
    for (backend, family) in Backend::all() {
        let mut lines = deletions(&backend.save(family)?, mark, None);
        lines.retain(|line| !bridge_of(line).is_some_and(|bridge| is_there(&bridge)));
        if !lines.is_empty() {
            backend.change(family, &lines)?;
            let (number, program) = (lines.len(), backend.program(family));
            removed.push(format!("{number} rules of {program}"));
        }
    }
    let listing = exec::run("nft", &["-j", "list", "ruleset"], "")?;
    let listing: Json = serde_json::from_str(&listing).unwrap_or_default();
    for (table, bridge) in own_tables(&listing, mark) {
        if !is_there(&bridge) {
            exec::run("nft", &["delete", "table", "inet", &table], "")?;
            removed.push(format!("the nft table inet {table}"));
        }
    }
    Ok(removed)
}

fn bridge_of(line: &str) -> Option<String> {
    let words = words(line);
    let mut pairs = words.iter().zip(words.iter().skip(1));
    let (_, link) = pairs.find(|(option, _)| *option == "-i" || *option == "-o")?;
    Some(link.clone())
}

/// Our tables with this comment, each with its bridge, which the rule with the comment matches.
fn own_tables(listing: &Json, mark: &str) -> Vec<(String, String)> {
    let objects = listing.get("nftables").and_then(Json::as_array);
    let rules = objects.into_iter().flatten().filter_map(|o| o.get("rule"));
    let text = |rule: &Json, at: &str| rule.pointer(at).and_then(Json::as_str).map(str::to_owned);
    rules
        .filter(|rule| text(rule, "/comment").as_deref() == Some(mark))
        .filter_map(|rule| Some((text(rule, "/table")?, text(rule, "/expr/0/match/right")?)))
        .filter(|(table, _)| table.starts_with("kvmc_"))
        .collect()
}
