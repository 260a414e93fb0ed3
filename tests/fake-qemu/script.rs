//! The test's control files beside the program.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Script {
    dir: PathBuf,
    node: String,
}

impl Script {
    pub(crate) fn new(node: &str) -> Self {
        let program = std::env::current_exe().unwrap_or_default();
        Self {
            dir: program.parent().map(PathBuf::from).unwrap_or_default(),
            node: node.to_owned(),
        }
    }

    /// The value of a key: the node's own, else that for all nodes.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.dir.join("script")).ok()?;
        let value = |prefix: &str| {
            text.lines()
                .find_map(|l| l.strip_prefix(prefix).map(|v| v.trim().to_owned()))
        };
        value(&format!("{} {key} ", self.node)).or_else(|| value(&format!("{key} ")))
    }

    pub(crate) fn is(&self, key: &str) -> bool {
        self.get(key).as_deref() == Some("yes")
    }

    pub(crate) fn time(&self, key: &str, default: u64) -> Duration {
        let value = self.get(key).and_then(|v| v.parse().ok());
        Duration::from_millis(value.unwrap_or(default))
    }

    /// Adds a command to the file that shows in which order all guests got theirs.
    pub(crate) fn note(&self, command: &str) {
        use std::io::Write;
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.dir.join("order"));
        if let Ok(mut file) = file {
            let _only_a_note = file.write_all(format!("{} {command}\n", self.node).as_bytes());
        }
    }

    /// Writes a test's answer to the file of this name for this node, which the test has made.
    pub(crate) fn answer(&self, name: &str, text: &str) {
        let path = self.dir.join(format!("{name}.{}", self.node));
        let file = std::fs::File::options().write(true).open(path);
        if let Ok(mut file) = file {
            let _test_fails =
                std::io::Write::write_all(&mut file, format!("{text}done\n").as_bytes());
        }
    }

    /// The test's current command for the guest.
    pub(crate) fn act(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.dir.join(format!("do.{}", self.node))).ok()?;
        Some(text.trim().to_owned()).filter(|t| !t.is_empty())
    }
}
