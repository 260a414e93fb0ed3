//! The plugin with which Ansible asks kvmc for its inventory, written in Python.

/// The plugin's text, for a file `kvmc.py`.
pub(crate) const PLUGIN: &str = include_str!("kvmc.py");

/// A file `kvmc.yml` that names the plugin; the cluster's name follows it.
pub(crate) const CONFIG: &str = "# ansible-inventory -i kvmc.yml --graph
plugin: kvmc
";
