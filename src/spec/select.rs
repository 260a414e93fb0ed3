//! Selects nodes of a cluster by their names, their roles and their groups in the inventory.

use super::nearest::nearest;
use super::role::RoleSpec;
use crate::model::NothingThere;

/// The group of all nodes, as in Ansible.
const ALL: &str = "all";

/// The nodes of a cluster and the groups that they are in.
#[derive(Debug, Clone)]
pub(crate) struct Selector<'a> {
    cluster: &'a str,
    roles: &'a [RoleSpec],
    /// The name and the role of each node.
    nodes: Vec<(&'a str, &'a str)>,
}

impl<'a> Selector<'a> {
    /// `nodes` are the name and the role of each node, in the cluster's order.
    pub(crate) fn new(
        cluster: &'a str,
        roles: &'a [RoleSpec],
        nodes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let nodes = nodes.into_iter().collect();
        Self {
            cluster,
            roles,
            nodes,
        }
    }

    /// The nodes that the words name, each once, in the cluster's order. Without words, all nodes.
    ///
    /// # Errors
    /// Fails at the first word that names neither a node nor a group, with the nearest name, and if a group or the
    /// cluster has no node.
    pub(crate) fn select<W: AsRef<str>>(&self, words: &[W]) -> Result<Vec<&'a str>, NothingThere> {
        let mut chosen = vec![words.is_empty(); self.nodes.len()];
        for word in words {
            self.choose(word.as_ref(), &mut chosen)?;
        }
        let nodes = self.nodes.iter().zip(&chosen);
        let names: Vec<_> = nodes
            .filter(|(_, chosen)| **chosen)
            .map(|((name, _), _)| *name)
            .collect();
        if names.is_empty() {
            return Err(self.fault("has no nodes"));
        }
        Ok(names)
    }

    /// Whether the word is the name of a node or of a group.
    pub(crate) fn knows(&self, word: &str) -> bool {
        self.has_node(word) || self.has_group(word)
    }

    /// Whether the word is the name of a node.
    pub(crate) fn has_node(&self, word: &str) -> bool {
        self.nodes.iter().any(|(name, _)| *name == word)
    }

    fn has_group(&self, word: &str) -> bool {
        word == ALL || self.roles.iter().any(|role| is_of(role, word))
    }

    /// Marks the nodes of one word. The name of a node wins over a group of the same name.
    fn choose(&self, word: &str, chosen: &mut [bool]) -> Result<(), NothingThere> {
        let is_node = self.has_node(word);
        if !is_node && !self.has_group(word) {
            return Err(self.unknown(word));
        }
        let mut any = false;
        for ((name, role), chosen) in self.nodes.iter().zip(chosen) {
            let is_meant = match is_node {
                true => *name == word,
                false => word == ALL || self.role(role).is_some_and(|role| is_of(role, word)),
            };
            *chosen |= is_meant;
            any |= is_meant;
        }
        match any {
            true => Ok(()),
            false => Err(self.fault(&format!("has no nodes in group `{word}`"))),
        }
    }

    fn role(&self, name: &str) -> Option<&'a RoleSpec> {
        self.roles.iter().find(|role| role.name == name)
    }

    /// The names of all groups, each once.
    fn groups(&self) -> Vec<&'a str> {
        let mut groups = vec![ALL];
        for role in self.roles {
            for name in std::iter::once(&role.name).chain(&role.groups) {
                if !groups.contains(&name.as_str()) {
                    groups.push(name);
                }
            }
        }
        groups
    }

    fn unknown(&self, word: &str) -> NothingThere {
        let nodes: Vec<_> = self.nodes.iter().map(|(name, _)| *name).collect();
        let groups = self.groups();
        let all: Vec<_> = nodes.iter().chain(&groups).copied().collect();
        let shown = word.escape_debug();
        self.fault(&match nearest(word, &all) {
            Some(near) => format!("has no node or group `{shown}`; did you mean `{near}`?"),
            None => format!(
                "has no node or group `{shown}`; its nodes are {}, its groups are {}",
                nodes.join(", "),
                groups.join(", ")
            ),
        })
    }

    fn fault(&self, what: &str) -> NothingThere {
        NothingThere(format!("cluster `{}` {what}", self.cluster))
    }
}

/// Whether a word is the name of a role, or a group of its nodes.
fn is_of(role: &RoleSpec, word: &str) -> bool {
    role.name == word || role.groups.iter().any(|group| group == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, groups: &[&str]) -> RoleSpec {
        RoleSpec {
            name: name.to_owned(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            ..RoleSpec::default()
        }
    }

    fn select(words: &[&str]) -> Result<String, String> {
        let roles = [
            role("control", &["kube_control_plane", "etcd"]),
            role("workers", &["workers"]),
            role("lbl", &["lbl"]),
            // A group with the name of a node.
            role("worker1", &["worker1"]),
        ];
        let nodes = [
            ("control0", "control"),
            ("worker0", "workers"),
            ("worker1", "workers"),
            ("worker10", "worker1"),
        ];
        let selector = Selector::new("lab", &roles, nodes);
        let selected = selector.select(words).map_err(|e| e.to_string())?;
        Ok(selected.join(" "))
    }

    #[test]
    fn nodes_roles_and_groups_are_selected_once_in_the_clusters_order() {
        for (words, expected) in [
            (&[][..], "control0 worker0 worker1 worker10"),
            (&["all"], "control0 worker0 worker1 worker10"),
            (&["worker0"], "worker0"),
            (&["workers", "etcd"], "control0 worker0 worker1"),
            (&["worker0", "workers", "worker0"], "worker0 worker1"),
            (&["control"], "control0"),
            (&["worker1"], "worker1"),
        ] {
            assert_eq!(select(words).as_deref(), Ok(expected), "{words:?}");
        }
    }

    #[test]
    fn an_unknown_name_leads_to_the_nearest_one() {
        for (word, expected) in [
            (
                "wroker0",
                "no node or group `wroker0`; did you mean `worker0`?",
            ),
            ("worker", "did you mean `worker"),
            ("etdc", "did you mean `etcd`?"),
            (
                "\u{1b}[2J",
                "no node or group `\\u{1b}[2J`; its nodes are control0, worker0, worker1, worker10, its groups are all, control, kube_control_plane, etcd, workers, lbl, worker1",
            ),
            ("lbl", "cluster `lab` has no nodes in group `lbl`"),
        ] {
            let error = select(&[word]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let none = Selector::new("lab", &[], []);
        let error = none.select::<&str>(&[]).unwrap_err();
        assert_eq!(error.to_string(), "cluster `lab` has no nodes");
    }

    #[test]
    fn a_word_is_known_if_it_is_a_node_or_a_group() {
        let roles = [role("workers", &["nodes"])];
        let selector = Selector::new("lab", &roles, [("worker0", "workers")]);
        for known in ["all", "workers", "nodes", "worker0"] {
            assert!(selector.knows(known), "{known}");
        }
        assert!(!selector.knows("worker") && !selector.knows(""));
        assert!(selector.has_node("worker0") && !selector.has_node("workers"));
    }
}
