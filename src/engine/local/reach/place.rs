//! The two sides of `cp`: paths of this host and of nodes, and the copies that they ask for.

use anyhow::{Result, bail};

use crate::hint::{WithHint, bail_with_hint};
use crate::model::Usage;
use crate::spec::Selector;

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place<'a> {
    Here(&'a str),
    /// A node or group, and a path there.
    There(&'a str, &'a str),
}

/// One run of scp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    /// The nodes that it needs, the one that it is about first.
    pub(super) nodes: Vec<String>,
    /// The paths of this host among its sources.
    pub(super) local: Vec<String>,
    /// All sources, as scp takes them.
    pub(super) sources: Vec<String>,
    pub(super) target: Target,
}

/// Where a copy goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A path of the first node.
    Node(String),
    Here(String),
    /// A folder with the node's name in this folder.
    Under(String),
}

impl Copy {
    pub(super) fn node(&self) -> &str {
        self.nodes.first().map_or("", String::as_str)
    }
}

/// The copies from sources to a target. `exists` tells whether a path of this host exists.
///
/// # Errors
/// Fails if a name is unknown, or if the sides do not fit together.
pub(super) fn copies(
    sources: &[String],
    target: &str,
    selector: &Selector<'_>,
    exists: impl Fn(&str) -> bool,
) -> Result<Vec<Copy>> {
    let parse = |text| parse(text, selector, &exists);
    let sources = sources
        .iter()
        .map(|text| parse(text))
        .collect::<Result<Vec<_>>>()?;
    let copies = match parse(target)? {
        Place::There(name, path) => to_nodes(&sources, name, path, selector),
        Place::Here(path) => to_here(&sources, path, selector),
    }?;
    check_names(&copies)?;
    Ok(copies)
}

/// Checks that no two sources get the same name in the same folder: the second would replace the first.
fn check_names(copies: &[Copy]) -> Result<()> {
    let mut seen: Vec<(&Target, &str, &str)> = Vec::new();
    for copy in copies {
        // Copies to other nodes, or to a folder for each node, do not meet.
        if !matches!(copy.target, Target::Here(_)) {
            seen.clear();
        }
        for source in &copy.sources {
            let Some(name) = name_of(source) else {
                continue;
            };
            let same = |(target, known, _): &&(&Target, &str, &str)| {
                **target == copy.target && *known == name
            };
            if let Some((_, _, first)) = seen.iter().find(same) {
                let folder = match &copy.target {
                    Target::Node(path) => format!("{}:{path}", copy.node()),
                    Target::Here(path) | Target::Under(path) => path.clone(),
                };
                bail_with_hint!(
                    "copy them to two folders, or name a group of nodes: each of its nodes gets a folder",
                    Usage(format!(
                        "`{first}` and `{source}` would both become `{name}` in `{folder}`"
                    ))
                );
            }
            seen.push((&copy.target, name, source));
        }
    }
    Ok(())
}

/// The name that scp gives a source in a folder. A pattern and the contents of a folder have none that is known here.
fn name_of(source: &str) -> Option<&str> {
    let path = match source.starts_with('/') || source.starts_with("./") {
        true => source,
        false => source.split_once(':').map_or(source, |(_, path)| path),
    };
    let name = path.trim_end_matches('/').rsplit('/').next()?;
    let is_known = !matches!(name, "" | "." | ".." | "~") && !name.contains(['*', '?', '[']);
    is_known.then_some(name)
}

fn parse<'a>(
    text: &'a str,
    selector: &Selector<'_>,
    exists: impl Fn(&str) -> bool,
) -> Result<Place<'a>> {
    match text.split_once(':') {
        Some((name, path)) if !name.is_empty() && !name.contains('/') => {
            if selector.knows(name) {
                Ok(Place::There(name, path))
            } else if exists(text) {
                Ok(Place::Here(text))
            } else {
                let unknown = selector.select(&[name]).err();
                let unknown = unknown.map_or_else(|| anyhow::anyhow!("no `{name}`"), Into::into);
                Err(unknown).hint(|| format!("a path of this host is written as `./{text}`"))
            }
        }
        _ if text.is_empty() => Err(Usage("a path is empty".to_owned()).into()),
        _ => Ok(Place::Here(text)),
    }
}

/// The nodes and the path of a `NODE:PATH` or `GROUP:PATH`.
///
/// # Errors
/// Fails if the text is neither, or if there is no such node or group.
pub(super) fn there(text: &str, selector: &Selector<'_>) -> Result<(Vec<String>, String)> {
    match text.split_once(':') {
        Some((name, path)) if !name.is_empty() && !name.contains('/') => {
            let nodes = selector.select(&[name])?;
            let nodes = nodes.into_iter().map(str::to_owned).collect();
            Ok((nodes, path.to_owned()))
        }
        _ => bail!(Usage(format!(
            "`{text}` names no node; a path of a node is written as NODE:PATH"
        ))),
    }
}

fn to_nodes(
    sources: &[Place<'_>],
    name: &str,
    path: &str,
    selector: &Selector<'_>,
) -> Result<Vec<Copy>> {
    let (mut local, mut all, mut from) = (Vec::new(), Vec::new(), Vec::new());
    for source in sources {
        match source {
            Place::Here(path) => {
                local.push((*path).to_owned());
                all.push(here(path));
            }
            Place::There(name, path) => {
                let nodes = selector.select(&[name])?;
                let [node] = nodes.as_slice() else {
                    bail!(Usage(format!(
                        "`{name}:{path}` is on {} nodes, which would replace each other's files; name one node as the source",
                        nodes.len()
                    )));
                };
                from.push((*node).to_owned());
                all.push(format!("{node}:{path}"));
            }
        }
    }
    let copy = |node: &str| Copy {
        nodes: std::iter::once(node.to_owned())
            .chain(from.clone())
            .collect(),
        local: local.clone(),
        sources: all.clone(),
        target: Target::Node(path.to_owned()),
    };
    Ok(selector.select(&[name])?.into_iter().map(copy).collect())
}

fn to_here(sources: &[Place<'_>], path: &str, selector: &Selector<'_>) -> Result<Vec<Copy>> {
    let mut copies: Vec<Copy> = Vec::new();
    for source in sources {
        let Place::There(name, from) = source else {
            bail_with_hint!(
                "one side is NODE:PATH or GROUP:PATH",
                Usage("both sides of the copy are paths of this host".to_owned())
            );
        };
        let target = match selector.has_node(name) {
            true => Target::Here(path.to_owned()),
            false => Target::Under(path.to_owned()),
        };
        for node in selector.select(&[name])? {
            let from = format!("{node}:{from}");
            let same = |copy: &&mut Copy| copy.node() == node && copy.target == target;
            match copies.iter_mut().find(same) {
                Some(copy) => copy.sources.push(from),
                None => copies.push(Copy {
                    nodes: vec![node.to_owned()],
                    local: Vec::new(),
                    sources: vec![from],
                    target: target.clone(),
                }),
            }
        }
    }
    Ok(copies)
}

/// A path of this host as scp takes it, which would read `a:b` as a host's and `-r` as an option.
pub(super) fn here(path: &str) -> String {
    match path.starts_with('/') || path.starts_with("./") {
        true => path.to_owned(),
        false => format!("./{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RoleSpec;

    fn planned(words: &[&str]) -> Result<Vec<Copy>, String> {
        let roles = [RoleSpec {
            name: "workers".to_owned(),
            groups: vec!["workers".to_owned()],
            ..RoleSpec::default()
        }];
        let nodes = [
            ("master0", ""),
            ("worker0", "workers"),
            ("worker1", "workers"),
        ];
        let selector = Selector::new("k80", &roles, nodes);
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        let (target, sources) = words.split_last().unwrap();
        copies(sources, target, &selector, |path| path == "a:b").map_err(|e| format!("{e:#}"))
    }

    fn shown(words: &[&str]) -> Vec<String> {
        let show = |copy: &Copy| {
            let (sources, nodes) = (copy.sources.join(" "), copy.nodes.join(","));
            format!("{nodes} {sources} -> {:?}", copy.target)
        };
        planned(words).unwrap().iter().map(show).collect()
    }

    #[test]
    fn each_node_has_one_copy_and_no_path_is_an_option_or_a_host() {
        assert_eq!(
            shown(&["-r", "a:b", "/c", "workers:/tmp"]),
            [
                r#"worker0 ./-r ./a:b /c -> Node("/tmp")"#,
                r#"worker1 ./-r ./a:b /c -> Node("/tmp")"#
            ]
        );
        assert_eq!(
            shown(&["master0:/a", "worker0:"]),
            [r#"worker0,master0 master0:/a -> Node("")"#]
        );
        assert_eq!(
            shown(&["master0:/a", "master0:/b", "worker0:/c", "out"]),
            [
                r#"master0 master0:/a master0:/b -> Here("out")"#,
                r#"worker0 worker0:/c -> Here("out")"#
            ]
        );
        assert_eq!(
            shown(&["master0:*", "worker0:*", "worker0:.", "out"]).len(),
            2
        );
        assert_eq!(
            shown(&["workers:/a", "out"]),
            [
                r#"worker0 worker0:/a -> Under("out")"#,
                r#"worker1 worker1:/a -> Under("out")"#
            ]
        );
    }

    #[test]
    fn sides_that_do_not_fit_are_refused() {
        for (words, expected) in [
            (&["a", "b"][..], "both sides of the copy are paths"),
            (&["a", "wroker0:/x"], "did you mean `worker0`?"),
            (&["workers:/a", "master0:/b"], "is on 2 nodes"),
            (&["", "master0:/b"], "a path is empty"),
            (
                &["worker0:/a/x", "worker1:x/", "out"],
                "`worker0:/a/x` and `worker1:x/` would both become `x` in `out`",
            ),
            (
                &["a/x", "/b/x", "worker0:/tmp"],
                "`./a/x` and `/b/x` would both become `x` in `worker0:/tmp`",
            ),
            (&["worker0:x", "worker0:a/x", "out"], "would both become"),
        ] {
            let error = planned(words).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
