//! Circles in a graph.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::File;

/// The sets of two or more files that all reach each other: strongly connected components.
pub(crate) fn circles(graph: &BTreeMap<File, BTreeSet<File>>) -> Vec<Vec<File>> {
    let reached: BTreeMap<&File, BTreeSet<&File>> = graph
        .keys()
        .map(|file| (file, reach(graph, file)))
        .collect();
    let mut circles = BTreeSet::new();
    for (file, those) in &reached {
        let back = |other: &&File| reached.get(*other).is_some_and(|o| o.contains(file));
        let circle: Vec<File> = those.iter().copied().filter(back).cloned().collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

/// All files that imports of one file lead to. The file itself is among them only in a circle.
fn reach<'a>(graph: &'a BTreeMap<File, BTreeSet<File>>, from: &File) -> BTreeSet<&'a File> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&File> = graph.get(from).into_iter().flatten().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(graph.get(file).into_iter().flatten());
        }
    }
    reached
}
