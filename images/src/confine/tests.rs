//! What confined programs can do, tried with real ones.

use std::path::PathBuf;
use std::time::Instant;

use super::table::{Memory, TABLE, Written};
use super::*;

const MIB: u64 = 1 << 20;
/// Not the first of PATH, which may be a script.
const PYTHON: &str = "/usr/bin/python3";

/// A row for a program of the tests.
fn row(program: &'static str) -> Row {
    Row {
        task: Task::Check,
        program,
        reads: "",
        writes: "",
        memory: Memory::Mapped,
        written: Written::Nothing,
        seconds: 1,
        printed: MIB,
    }
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine"), "mine\n").unwrap();
        std::fs::write(dir.path().join("other"), "other\n").unwrap();
        Self { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a program that may read `mine` and write `out`.
    fn run(&self, row: &Row, limits: Limits, arguments: &[&str]) -> Result<String, ImageError> {
        let (mine, out) = (self.at("mine"), self.at("out"));
        let job = Job {
            task: row.task,
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            reads: vec![&mine],
            writes: vec![&out],
            about: &mine,
            disk: 0,
        };
        job.run_as(row, limits)
    }

    fn python(&self, limits: Limits, script: &str) -> Result<String, ImageError> {
        self.run(&row(PYTHON), limits, &["-I", "-S", "-c", script])
    }
}

fn limits() -> Limits {
    row("").limits(0, 0)
}

fn passed_limit(result: Result<String, ImageError>) -> String {
    match result {
        Err(e @ ImageError::TooMuch { .. }) => e.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn p43_a_program_that_an_image_takes_over_opens_only_its_own_files() {
    let bench = Bench::new();
    let script = format!(
        r#"
import os
def can(path, how):
    try:
        os.close(os.open(path, how)); return True
    except OSError:
        return False
d = {:?}
print(can(d + "/mine", os.O_RDONLY), can(d + "/out", os.O_RDWR), can(d + "/out", os.O_WRONLY | os.O_TRUNC))
print([p for p, h in [(d + "/other", os.O_RDONLY), (d + "/mine", os.O_RDWR), (d + "/new", os.O_CREAT | os.O_RDWR), (d, os.O_RDONLY),
    ("/etc/shadow", os.O_RDONLY), ("/etc/passwd", os.O_RDONLY), ("/proc/1/environ", os.O_RDONLY), ("/proc/sys/kernel/core_pattern", os.O_WRONLY),
    ("/root", os.O_RDONLY), ("/dev/mem", os.O_RDONLY)] if can(p, h)])
"#,
        bench.dir.path().display().to_string()
    );
    let said = bench.python(limits(), &script).unwrap();
    if !has_landlock() {
        println!("skipped: this kernel has no Landlock");
        return;
    }
    assert_eq!(said, "True True True\n[]\n");
}

fn has_landlock() -> bool {
    rules::rules(&rules::Opens {
        program: Path::new("/bin/true"),
        reads: &[],
        writes: &[],
    })
    .is_some()
}

#[test]
fn p43_a_program_that_an_image_takes_over_has_no_rights_sockets_or_processes() {
    let bench = Bench::new();
    let script = r#"
import os, socket, ctypes, signal
def fails(what):
    try:
        what(); return False
    except OSError:
        return True
libc = ctypes.CDLL(None, use_errno=True)
print(fails(lambda: socket.socket(socket.AF_INET)), fails(lambda: socket.socket(socket.AF_UNIX)), fails(os.fork))
print(fails(lambda: os.kill(os.getppid(), 0)), fails(lambda: os.execv("/bin/sh", ["sh", "-c", "exit 0"])))
print(libc.prctl(39, 0, 0, 0, 0), [n for n in range(41) if libc.prctl(23, n, 0, 0, 0) == 1])
print(libc.unshare(0x10000000), fails(lambda: os.chmod("/", 0o755)))
"#;
    let said = bench.python(limits(), script).unwrap();
    // no_new_privs is on, and of all capabilities the one to read stays.
    let rights = match nix::unistd::geteuid().is_root() {
        true => "1 [2]",
        false => "1",
    };
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "True True True");
    assert_eq!(lines[1], "True True");
    assert!(lines[2].starts_with(rights), "{said}");
    assert_eq!(lines[3], "-1 True");
}

#[test]
fn each_limit_of_a_program_has_its_own_error() {
    let bench = Bench::new();
    let name = bench.at("mine").display().to_string();
    let small = limits();
    let memory = Limits {
        memory: 64 * MIB,
        ..small
    };
    let error = passed_limit(bench.python(memory, "import sys\ntry:\n  x = bytearray(1 << 30)\nexcept MemoryError:\n  sys.exit('out of memory')"));
    assert_eq!(
        error,
        format!("{name} is too much for {PYTHON}: {PYTHON} needs more than 64M of memory")
    );
    let began = Instant::now();
    let error = passed_limit(bench.python(small, "while True: pass"));
    assert!(
        error.ends_with("takes more than 1 s of CPU time"),
        "{error}"
    );
    let short = Limits { clock: 1, ..small };
    let error = passed_limit(bench.python(short, "import time\ntime.sleep(60)"));
    assert!(error.ends_with("takes longer than 1 s"), "{error}");
    let write = format!(
        "open({:?}, 'wb').write(b'x' * 5000)",
        bench.at("out").display().to_string()
    );
    let error = passed_limit(bench.python(
        Limits {
            written: 4096,
            ..small
        },
        &format!("import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n{write}"),
    ));
    assert!(error.ends_with("writes a file of more than 4K"), "{error}");
    let error = passed_limit(bench.python(small, "print('x' * (3 << 20))"));
    assert!(error.ends_with("prints more than 1M"), "{error}");
    let error = passed_limit(bench.python(small, "import os, ctypes\nctypes.string_at(0)"));
    assert!(error.ends_with("crashes (SIGSEGV)"), "{error}");
    assert!(began.elapsed().as_secs() < 60);
}

#[test]
fn every_program_of_the_table_is_a_program_and_no_script() {
    for row in &TABLE {
        assert!(rules::find(row.program).is_some(), "{}", row.program);
        assert_eq!(Row::of(row.task), Some(row), "each task has one row");
    }
}
