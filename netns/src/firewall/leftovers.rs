//! Finds rules of a cluster without a record by their comment.

use serde_json::Value as Json;

use super::backend::Backend;
use super::family::Family;
use super::iptables::{deletions, words};
use super::table::Table;
use crate::{ExecError, exec};

/// Rules and tables with one comment whose bridge is gone.
#[derive(Debug, Default)]
struct Leftovers {
    /// Lines for iptables-restore(8) that delete the rules.
    rules: Vec<(Backend, Family, Vec<String>)>,
    tables: Vec<String>,
}

impl Leftovers {
    fn find(mark: &str, links: &[String]) -> Result<Self, ExecError> {
        let is_there = |link: &str| links.iter().any(|l| l == link);
        let mut found = Self::default();
        for (backend, family) in Backend::all() {
            let mut lines = deletions(&backend.save(family)?, mark, None);
            lines.retain(|line| !bridge_of(line).is_some_and(|bridge| is_there(&bridge)));
            if !lines.is_empty() {
                found.rules.push((backend, family, lines));
            }
        }
        let listing = exec::run("nft", &["-j", "list", "ruleset"], "")?;
        let listing: Json = serde_json::from_str(&listing).unwrap_or_default();
        let tables = own_tables(&listing, mark).into_iter();
        let tables = tables.filter(|(_, bridge)| !is_there(bridge));
        found.tables = tables.map(|(table, _)| table).collect();
        Ok(found)
    }

    fn words(&self) -> Vec<String> {
        let rules = self.rules.iter().map(|(backend, family, lines)| {
            format!("{} rules of {}", lines.len(), backend.program(*family))
        });
        let tables = self.tables.iter();
        rules
            .chain(tables.map(|table| format!("the nft table inet {table}")))
            .collect()
    }
}

/// Descriptions of the rules and tables that [`remove_leftovers`] would remove.
///
/// # Errors
/// A tool failed; the error holds its output.
pub fn leftovers(mark: &str, links: &[String]) -> Result<Vec<String>, ExecError> {
    Ok(Leftovers::find(mark, links)?.words())
}

/// Removes rules and tables with this comment whose bridge is not among `links`. A cluster of the same name in another
/// state folder has a bridge, so its rules stay. Returns descriptions of the removed objects.
///
/// # Errors
/// A tool failed; the error holds its output.
pub fn remove_leftovers(mark: &str, links: &[String]) -> Result<Vec<String>, ExecError> {
    let found = Leftovers::find(mark, links)?;
    for (backend, family, lines) in &found.rules {
        backend.change(*family, lines)?;
    }
    for table in &found.tables {
        Table::remove_named(table)?;
    }
    Ok(found.words())
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
