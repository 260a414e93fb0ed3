//! Tries what a hostile QEMU would, in the place and with the confinement of a QEMU, and says what came of it.
//!
//! Each line is `NAME: ok` where it could be done, `NAME: ERRNO` where not, or `NAME: NUMBER` of what it counted.

#![allow(
    unsafe_code,
    reason = "a hostile program calls the kernel directly, with integers and its own buffers"
)]

use std::ffi::CString;
use std::fmt::Display;
use std::io::Error;
use std::path::Path;

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long};

use crate::script::Script;

/// Children that a fork bomb makes at most.
const BOMB: usize = 4000;

/// Tries everything, and writes the answers to a file beside the program.
pub(crate) fn run(script: &Script, name: &str) {
    let mut said = Said(String::new());
    files(&mut said, script);
    programs(&mut said);
    processes(&mut said, script);
    network(&mut said, script);
    // Where it succeeds, it is in another network afterwards.
    namespaces(&mut said);
    limits(&mut said);
    script.answer(name, &said.0);
}

/// The answers.
struct Said(String);

impl Said {
    fn add(&mut self, name: &str, value: impl Display) {
        self.0.push_str(&format!("{name}: {value}\n"));
    }

    fn tried<T>(&mut self, name: &str, result: Result<T, Error>) {
        match result {
            Ok(_) => self.add(name, "ok"),
            Err(e) => match e.raw_os_error() {
                Some(number) => self.add(name, format!("{:?}", Errno::from_raw(number))),
                None => self.add(name, e),
            },
        }
    }

    fn called(&mut self, name: &str, result: c_long) {
        let result = if result < 0 {
            Err(Error::last_os_error())
        } else {
            Ok(())
        };
        self.tried(name, result);
    }
}

fn files(said: &mut Said, script: &Script) {
    for path in [
        "/etc/passwd",
        "/etc/shadow",
        "/dev/mem",
        "/dev/kmsg",
        "/sys/kernel",
        "/proc/meminfo",
    ] {
        said.tried(&format!("open {path}"), std::fs::File::open(path));
    }
    // What the test names: another node's disk, memory and console, each with a word for it.
    for (word, path) in pairs(script, "probe-open") {
        said.tried(&format!("read {word}"), std::fs::File::open(&path));
        said.tried(
            &format!("write {word}"),
            std::fs::File::options().append(true).open(&path),
        );
    }
    said.tried("create in /", std::fs::File::create("/kvmc-probe"));
    said.tried("create in /tmp", std::fs::File::create("/tmp/kvmc-probe"));
    let names = std::fs::read_dir("/").map(|all| {
        let mut all: Vec<_> = all
            .flatten()
            .map(|e| e.file_name().into_string().unwrap())
            .collect();
        all.sort();
        all.join(" ")
    });
    said.add("in /", names.unwrap_or_else(|e| format!("{:?}", e.kind())));
}

fn programs(said: &mut Said) {
    for path in ["/bin/sh", "/usr/bin/env", "/usr/bin/python3", "/usr/bin/su"] {
        let name = CString::new(path).unwrap();
        // In a child, because a success would replace this program.
        said.tried(
            &format!("run {path}"),
            in_child(move || {
                let arguments = [name.as_ptr(), std::ptr::null()];
                // SAFETY: a name and a list that end as execve(2) wants.
                unsafe {
                    libc::execve(
                        name.as_ptr(),
                        arguments.as_ptr(),
                        arguments[1..].as_ptr().cast(),
                    )
                };
            }),
        );
    }
}

/// Runs something in a child, and returns the errno with which it ended; success if it was replaced.
fn in_child(what: impl FnOnce()) -> Result<(), Error> {
    // SAFETY: the child makes system calls only.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last_os_error()),
        0 => {
            // Its output is nobody's.
            for fd in 0..3 {
                // SAFETY: closes its own descriptor.
                let _closed = unsafe { libc::close(fd) };
            }
            what();
            let errno = Error::last_os_error().raw_os_error().unwrap_or(0);
            // SAFETY: ends the child.
            unsafe { libc::_exit(errno | 0x80) }
        }
        pid => match wait(pid) {
            status if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) & 0x80 != 0 => {
                Err(Error::from_raw_os_error(libc::WEXITSTATUS(status) & 0x7f))
            }
            _ => Ok(()),
        },
    }
}

fn wait(pid: libc::pid_t) -> c_int {
    let mut status = 0;
    // SAFETY: a child of ours, and a place for its status.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    status
}

fn processes(said: &mut Said, script: &Script) {
    said.add("own pid", std::process::id());
    let is_number = |e: &std::fs::DirEntry| {
        e.file_name()
            .to_str()
            .is_some_and(|n| n.parse::<u32>().is_ok())
    };
    match std::fs::read_dir("/proc") {
        Ok(all) => said.add("processes seen", all.flatten().filter(is_number).count()),
        Err(_) => said.add("processes seen", 0),
    }
    for (word, pid) in pairs(script, "probe-pid") {
        let pid: libc::pid_t = pid.parse().unwrap();
        // SAFETY: signals and traces by number, without memory.
        unsafe {
            said.called(&format!("signal {word}"), libc::kill(pid, 0).into());
            said.called(
                &format!("trace {word}"),
                libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0),
            );
        }
        let mut byte = 0_u8;
        let own = libc::iovec {
            iov_base: (&raw mut byte).cast(),
            iov_len: 1,
        };
        let there = libc::iovec {
            iov_base: std::ptr::without_provenance_mut(0x40_0000),
            iov_len: 1,
        };
        // SAFETY: one byte into a variable.
        let read =
            unsafe { libc::process_vm_readv(pid, &raw const own, 1, &raw const there, 1, 0) };
        said.called(&format!("read memory of {word}"), read.try_into().unwrap());
        let memory = format!("/proc/{pid}/mem");
        said.tried(
            &format!("open memory of {word}"),
            std::fs::File::open(memory),
        );
    }
}

fn namespaces(said: &mut Said) {
    // SAFETY: calls with integers and constant strings.
    unsafe {
        said.called(
            "mount",
            libc::mount(
                c"none".as_ptr(),
                c"/proc".as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                std::ptr::null(),
            )
            .into(),
        );
        said.called("unshare user", libc::unshare(libc::CLONE_NEWUSER).into());
        said.called("unshare net", libc::unshare(libc::CLONE_NEWNET).into());
        said.called("setuid 0", libc::setuid(0).into());
        said.called("setgid 0", libc::setgid(0).into());
        said.called("chroot", libc::chroot(c"/".as_ptr()).into());
        // KEYCTL_READ of the session's keyring.
        said.called("keyring", libc::syscall(libc::SYS_keyctl, 11, -3, 0, 0, 0));
        said.called("bpf", libc::syscall(libc::SYS_bpf, 0, 0, 0));
        said.called("userfaultfd", libc::syscall(libc::SYS_userfaultfd, 1));
    }
    let name = nix::unistd::gethostname().unwrap_or_default();
    said.add("host name", name.to_string_lossy());
}

fn network(said: &mut Said, script: &Script) {
    for (word, address) in pairs(script, "probe-tcp") {
        said.tried(
            &format!("tcp to {word}"),
            std::net::TcpStream::connect(&address),
        );
    }
    said.tried("udp socket", std::net::UdpSocket::bind("127.0.0.1:0"));
    for (word, family, kind) in [
        ("netlink", libc::AF_NETLINK, libc::SOCK_RAW),
        ("packet", libc::AF_PACKET, libc::SOCK_RAW),
        ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM),
        ("alg", libc::AF_ALG, libc::SOCK_SEQPACKET),
    ] {
        // SAFETY: socket(2) takes integers only.
        let fd = unsafe { libc::socket(family, kind, 0) };
        said.called(&format!("{word} socket"), fd.into());
    }
    for (word, path) in pairs(script, "probe-unix") {
        let connected = std::os::unix::net::UnixStream::connect(Path::new(&path));
        said.tried(&format!("connect to {word}"), connected);
    }
    for (word, name) in pairs(script, "probe-abstract") {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        let connected = std::os::unix::net::UnixStream::connect_addr(&address);
        said.tried(&format!("connect to {word}"), connected);
    }
}

fn limits(said: &mut Said) {
    let mut children = Vec::new();
    while children.len() < BOMB {
        // SAFETY: the child only waits.
        match unsafe { libc::fork() } {
            -1 => break,
            // SAFETY: waits for the signal that ends it.
            0 => unsafe {
                libc::pause();
                libc::_exit(0)
            },
            pid => children.push(pid),
        }
    }
    said.add("fork bomb", children.len());
    for pid in children {
        // SAFETY: children of ours.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        wait(pid);
    }
    let mut files = Vec::new();
    while let (Ok(file), true) = (nix::unistd::dup(std::io::stderr()), files.len() < 100_000) {
        files.push(file);
    }
    said.add("open files", files.len());
    drop(files);
    let much = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a whole structure; the child ends by its own signal.
    unsafe {
        said.called(
            "raise the core limit",
            libc::setrlimit(libc::RLIMIT_CORE, &raw const much).into(),
        );
        let pid = libc::fork();
        if pid == 0 {
            libc::signal(libc::SIGABRT, libc::SIG_DFL);
            libc::abort();
        }
        said.add("core written", libc::WCOREDUMP(wait(pid)));
    }
}

/// The words and values of a key: `WORD=VALUE WORD=VALUE`.
fn pairs(script: &Script, key: &str) -> Vec<(String, String)> {
    let text = script.get(key).unwrap_or_default();
    let pairs = text.split_whitespace().filter_map(|w| w.split_once('='));
    pairs
        .map(|(word, value)| (word.to_owned(), value.to_owned()))
        .collect()
}
