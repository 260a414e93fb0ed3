//! How busy the host is, and the bytes that its links have moved: proc(5).

use std::collections::BTreeMap;

use super::memory::meminfo;
use crate::model::TopHost;

/// The host's cores, load and memory. What cannot be read is left out.
pub(crate) fn host_load() -> TopHost {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    TopHost {
        cores: super::cores(),
        load: load(&read("/proc/loadavg")),
        memory: meminfo(&memory, "MemTotal"),
        available: meminfo(&memory, "MemAvailable"),
    }
}

fn load(text: &str) -> Option<f64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// Bytes received and sent by each link of this network namespace. /sys would show those of the namespace in which it was
/// mounted.
pub(crate) fn link_bytes() -> BTreeMap<String, (u64, u64)> {
    links(&std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default())
}

fn links(text: &str) -> BTreeMap<String, (u64, u64)> {
    let link = |line: &str| {
        let (name, counters) = line.rsplit_once(':')?;
        let counters: Vec<&str> = counters.split_ascii_whitespace().collect();
        let counter = |at: usize| counters.get(at)?.parse().ok();
        Some((name.trim().to_owned(), (counter(0)?, counter(8)?)))
    };
    text.lines().filter_map(link).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_links_are_read_by_their_columns() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets errs\n\
            k80-m0: 100 1 0 0 0 0 0 0 2500 9 0 0 0 0 0 0\n    lo:7 1 0 0 0 0 0 0 8 9 0 0 0 0 0 0\n";
        let links = links(text);
        assert_eq!(links.get("k80-m0"), Some(&(100, 2500)));
        assert_eq!(links.get("lo"), Some(&(7, 8)));
        assert_eq!(links.len(), 2);
    }

    #[test]
    fn this_host_has_load_memory_and_a_link() {
        let host = host_load();
        assert!(host.cores > 0 && host.load.is_some());
        assert!(host.available.unwrap() <= host.memory.unwrap());
        assert!(link_bytes().contains_key("lo"));
        assert_eq!(load(""), None);
    }
}
