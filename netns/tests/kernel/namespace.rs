//! Another network namespace, for tests.

use std::process::{Child, Command};
use std::time::Duration;

use super::support::{BRIDGE, ip, pair, run};

/// A network namespace at the other end of a link.
pub(super) struct Namespace(Child);

impl Namespace {
    /// Moves a link into a new namespace and gives it an address.
    pub(super) fn new(link: &str, address: &str) -> Self {
        let sleep = Command::new("unshare")
            .args(["--net", "sleep", "120"])
            .spawn()
            .unwrap();
        let here = Self(sleep);
        let pid = here.0.id().to_string();
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        // Waits until unshare(1) has made the namespace.
        while std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap() == own {
            std::thread::sleep(Duration::from_millis(5));
        }
        ip(&["link", "set", link, "netns", &pid]);
        here.run("ip", &["link", "set", "lo", "up"]);
        here.run("ip", &["address", "add", address, "dev", link]);
        here.run("ip", &["link", "set", link, "up"]);
        here
    }

    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let pid = self.0.id().to_string();
        let enter = ["-t", &pid, "-n", program];
        run("nsenter", &[&enter, arguments].concat())
    }

    pub(super) fn spawn(&self, program: &str, arguments: &[&str]) -> Child {
        let pid = self.0.id().to_string();
        let enter = ["-t", &pid, "-n", program];
        let mut command = Command::new("nsenter");
        command.args([&enter, arguments].concat()).spawn().unwrap()
    }

    pub(super) fn dig(&self, arguments: &[&str]) -> String {
        self.run("dig", &[&["+tries=1", "+timeout=6"], arguments].concat())
    }

    /// Waits until a connection to an address is refused, so that it can be reached.
    pub(super) fn reaches(&self, address: &str) {
        let connect = format!("(: < /dev/tcp/{address}/9) 2>&1 || true");
        let tries = (0..50).map(|_| {
            std::thread::sleep(Duration::from_millis(50));
            self.run("bash", &["-c", &connect])
        });
        let mut tries = tries.filter(|said| said.contains("refused"));
        assert!(tries.next().is_some(), "{address} is not reached");
    }

    /// Whether dig gets no answer.
    pub(super) fn hears_nothing(&self, arguments: &[&str]) -> bool {
        let pid = self.0.id().to_string();
        let output = Command::new("nsenter")
            .args(["-t", &pid, "-n", "dig", "+tries=1", "+timeout=1"])
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!said.contains("ANSWER SECTION"), "{said}");
        output.status.code() == Some(9)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A namespace behind a port of the bridge.
pub(super) fn node(name: &str) -> Namespace {
    let other = pair(name);
    ip(&["link", "set", name, "master", BRIDGE]);
    let namespace = Namespace::new(&other, "192.0.2.2/24");
    namespace.reaches("192.0.2.1");
    namespace
}
