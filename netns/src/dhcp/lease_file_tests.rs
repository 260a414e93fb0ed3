use std::net::Ipv4Addr;

use super::super::Config;
use super::super::handle::tests::config;
use super::*;
use crate::MacAddr;

const GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 9]);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 80, 9);
const NOW: u64 = 1000;

fn table() -> Table {
    Table::new(config(), Vec::new())
}

/// A file in a new folder, and the table that it follows.
struct Bench {
    dir: tempfile::TempDir,
    table: Table,
    file: LeaseFile,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut table = table();
        let (file, problem) = LeaseFile::load_at(dir.path().join("leases"), &mut table, NOW);
        assert!(problem.is_none());
        Self { dir, table, file }
    }

    fn follow(&mut self) -> std::io::Result<()> {
        match self.file.batch(&mut self.table) {
            Some(batch) => self.file.commit(batch),
            None => Ok(()),
        }
    }

    fn read(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("leases")).unwrap_or_default()
    }

    /// The table that another run reads.
    fn reload(&self) -> (Table, Option<LeaseFileError>) {
        let mut table = table();
        let (_, problem) = LeaseFile::load_at(self.dir.path().join("leases"), &mut table, NOW);
        (table, problem)
    }

    fn same(&self) {
        let sorted = |table: &Table| {
            let mut leases: Vec<_> = table.on_file().copied().collect();
            leases.sort_by_key(|l| l.address);
            leases
        };
        let (again, problem) = self.reload();
        assert!(problem.is_none(), "{problem:?}");
        assert_eq!(sorted(&again), sorted(&self.table));
    }
}

fn guest(n: u16) -> MacAddr {
    let [a, b] = n.to_be_bytes();
    MacAddr([2, 0, 0, 0, a, b])
}

#[test]
fn is_written_when_leases_change_and_only_then() {
    let mut bench = Bench::new();
    bench.follow().unwrap();
    assert_eq!(bench.read(), "");
    assert!(bench.table.bind(GUEST, ADDRESS, NOW, 3600));
    bench.follow().unwrap();
    bench.same();
    let before = bench.read();
    assert!(bench.table.bind(GUEST, ADDRESS, NOW, 3600));
    bench.follow().unwrap();
    assert_eq!(bench.read(), before);
    bench.table.release(GUEST, ADDRESS, NOW + 1);
    bench.follow().unwrap();
    assert!(bench.read().starts_with(&before), "appended to");
    bench.same();
}

#[test]
fn is_written_anew_when_it_is_mostly_history() {
    let mut bench = Bench::new();
    for round in 0..3000 {
        assert!(bench.table.bind(GUEST, ADDRESS, NOW, 600 + round));
        bench.follow().unwrap();
        assert!(bench.file.lines <= SLACK + 2, "{} lines", bench.file.lines);
    }
    bench.same();
}

#[test]
fn a_change_that_could_not_be_written_is_written_later() {
    let mut bench = Bench::new();
    let path = bench.dir.path().join("leases");
    std::fs::create_dir(path.with_extension("new")).unwrap();
    assert!(bench.table.bind(GUEST, ADDRESS, NOW, 3600));
    assert!(bench.follow().is_err());
    std::fs::remove_dir(path.with_extension("new")).unwrap();
    bench.follow().unwrap();
    assert_eq!(bench.read(), "", "the disk is left alone for a moment");
    bench.file.failed = Instant::now().checked_sub(PAUSE);
    bench.follow().unwrap();
    bench.same();
}

#[test]
fn p28_a_line_cut_off_by_a_crash_costs_nothing_that_was_promised() {
    let mut bench = Bench::new();
    for n in 0..20 {
        assert!(bench.table.bind(
            guest(n),
            Ipv4Addr::from(u32::from(ADDRESS) + u32::from(n)),
            NOW,
            3600
        ));
        bench.follow().unwrap();
    }
    let whole = bench.read();
    let path = bench.dir.path().join("leases");
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let lines = whole[..cut].matches('\n').count();
        let (table, problem) = bench.reload();
        // The reader cannot judge a first line that is not whole.
        assert!(problem.is_none() || lines == 0, "cut at {cut}: {problem:?}");
        assert_eq!(table.on_file().count(), lines, "cut at {cut}");
    }
}

#[test]
fn the_file_of_the_first_version_is_taken_over() {
    let bench = Bench::new();
    let old =
        r#"[{"mac":"52:54:00:00:00:09","address":"192.168.80.9","expires":1500,"bound":true}]"#;
    std::fs::write(bench.dir.path().join("leases"), old).unwrap();
    let (table, problem) = bench.reload();
    assert!(problem.is_none());
    assert_eq!(table.leases(NOW).next().unwrap().mac, GUEST);
}

#[test]
fn p28_a_clock_that_was_ahead_does_not_keep_leases_for_ever() {
    let mut bench = Bench::new();
    assert!(bench.table.bind(GUEST, ADDRESS, 4_000_000_000, 3600));
    bench.follow().unwrap();
    let (table, _) = bench.reload();
    assert_eq!(table.leases(NOW).next().unwrap().expires, NOW + 3600);
}

#[test]
fn leases_of_another_range_or_of_nodes_are_left() {
    let mut bench = Bench::new();
    assert!(bench.table.bind(GUEST, ADDRESS, NOW, 3600));
    bench.follow().unwrap();
    let config = Config {
        subnet: "192.168.81.0/24".parse().unwrap(),
        ..config()
    };
    let mut other = Table::new(config, Vec::new());
    let (_, problem) = LeaseFile::load_at(bench.dir.path().join("leases"), &mut other, NOW);
    assert!(problem.is_none());
    assert_eq!(other.leases(NOW).count(), 0);
}

#[test]
fn of_a_damaged_file_what_can_be_read_is_taken_over_and_it_is_told_of() {
    let mut bench = Bench::new();
    for n in 0..3 {
        assert!(bench.table.bind(
            guest(n),
            Ipv4Addr::from(u32::from(ADDRESS) + u32::from(n)),
            NOW,
            3600
        ));
        bench.follow().unwrap();
    }
    let path = bench.dir.path().join("leases");
    let damaged = bench
        .read()
        .replacen("lease", "l\0ase", 2)
        .replacen("l\0ase", "lease", 1);
    std::fs::write(&path, &damaged).unwrap();
    let (table, problem) = bench.reload();
    assert_eq!(table.on_file().count(), 2);
    let told = problem.unwrap().to_string();
    assert!(
        told.contains("leases has 1 damaged lines of 3 and is now"),
        "{told}"
    );
    assert!(told.ends_with("leases.damaged"), "{told}");
    let aside = std::fs::read_to_string(path.with_extension("damaged")).unwrap();
    assert_eq!(aside, damaged);
    // The readable leases are on disk again already.
    let (table, problem) = bench.reload();
    assert_eq!(table.on_file().count(), 2);
    assert!(problem.is_none());
}

#[test]
fn a_file_that_cannot_be_read_or_moved_is_told_of_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("leases");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.with_extension("damaged"), "").unwrap();
    let (_, problem) = LeaseFile::load_at(path, &mut table(), NOW);
    let told = problem.unwrap().to_string();
    assert!(
        told.contains("cannot be read, and cannot be renamed"),
        "{told}"
    );
}

#[test]
fn fuzz_leases() {
    let dir = tempfile::tempdir().unwrap();
    kvmc_fuzz::run("leases", |bytes| {
        let mut table = table();
        let mut file = LeaseFile {
            journal: None,
            lines: 0,
            leases: 0,
            failed: None,
            path: dir.path().join("leases"),
        };
        let problem = file.replay(bytes, &mut table, NOW);
        // The table can write what it read.
        let _all: Vec<_> = table.on_file().copied().collect();
        format!("{} {}", problem.is_some(), file.leases.min(3))
    });
}
