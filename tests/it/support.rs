//! Runs kvmc in its own network namespace.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of the shell scripts.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/scripts")
}

/// The shell line that runs a script of that folder with these arguments.
pub(crate) fn script(name: &str, arguments: &[&str]) -> String {
    let path = scripts().join(name);
    format!("set -- {}\n. {}", arguments.join(" "), path.display())
}

/// Ends the processes of a script that failed before it ended them.
impl Drop for Bench {
    fn drop(&mut self) {
        for pid in self.processes() {
            println!("the test left pid {pid}, which ends now");
            let _ended_meanwhile = Command::new("kill").args(["-9", &pid]).status();
        }
    }
}

/// The whole output of a program.
pub(crate) fn said(output: &Output) -> String {
    let printed = String::from_utf8_lossy(&output.stdout);
    format!("{printed}{}", String::from_utf8_lossy(&output.stderr))
}

/// A namespace with an uplink, a project folder and a state folder. Dropping it removes all of them.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        // Short: a node's socket must fit in 107 bytes.
        let dir = tempfile::Builder::new()
            .prefix("kvmc-t")
            .tempdir_in("/tmp")
            .unwrap();
        std::fs::create_dir(dir.path().join("project")).unwrap();
        Self { dir }
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Gives the bench the images of another state folder.
    pub(crate) fn take_images(&self, images: &Path) {
        std::fs::create_dir_all(self.state()).unwrap();
        std::os::unix::fs::symlink(images, self.state().join("images")).unwrap();
    }

    /// The folder of the whole bench.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a shell in a new network and mount namespace, in the project's folder, with `kvmc` in PATH.
    pub(crate) fn shell(&self, script: &str) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_kvmc"));
        // tests/newer-qemu names the folder of another QEMU.
        let qemu = std::env::var("KVMC_TEST_QEMU").map(|folder| format!("{folder}:"));
        let path = format!(
            "{}:{}:{}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.dir().join("bin").display(),
            program.parent().unwrap().display(),
            qemu.unwrap_or_default()
        );
        Command::new("unshare")
            .args(["--net", "--mount", "sh", "-euc", script])
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.dir.path())
            .env("KVMC_STATE_DIR", self.state())
            // The fake QEMU reads its script beside itself. The real one has no such folder.
            .env("KVMC_UNSAFE_SHOW", self.dir().join("bin"))
            .envs(
                std::env::vars()
                    .filter(|(k, _)| k.starts_with("KVMC_SOAK_") || k == "KVMC_TEST_QEMU"),
            )
            .current_dir(self.project())
            .output()
            .unwrap()
    }

    /// The same after scripts/common.sh.
    pub(crate) fn run(&self, script: &str) -> Output {
        let scripts = scripts();
        let scripts = scripts.display();
        self.shell(&format!(
            "SCRIPTS={scripts}; . {scripts}/common.sh\n{script}"
        ))
    }

    /// The same; shows the output and panics when the script fails.
    pub(crate) fn runs(&self, script: &str) -> String {
        let output = self.run(script);
        let text = said(&output);
        println!("{text}");
        assert!(output.status.success(), "ended with {}", output.status);
        text
    }

    /// Runs `script` after `setup`. The script must fail and leave everything as `setup` made it. Returns its output.
    pub(crate) fn refused(&self, setup: &str, script: &str) -> String {
        let before = self.files();
        // A link's carrier, and the IPv6 address that comes with it, change by themselves a moment after its setup.
        let list = "{ ip -o link | sed -E 's/NO-CARRIER,//; s/,LOWER_UP//; s/ state [A-Z]+//'; ip -o addr | grep -v ' inet6 fe80:'; ip route; nft list ruleset; cat /proc/sys/net/ipv4/ip_forward; }";
        // The namespace ends with its shell, so the shell compares.
        let output = self.shell(&format!(
            "ip link set lo up; {setup}
             {list} > ../before; code=0; ( {script} ) || code=$?; {list} > ../after
             diff ../before ../after || exit 99; exit $code"
        ));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let code = output.status.code();
        assert!(
            !matches!(code, None | Some(0 | 99)),
            "ended with {code:?}: {printed}{said}"
        );
        assert!(said.contains("error"), "no error in: {said}");
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(before, self.files(), "files were touched: {said}");
        said
    }

    /// Processes that work in the bench: by an open file, a working folder or an argument.
    fn processes(&self) -> Vec<String> {
        let links = |process: &Path| {
            let fds = std::fs::read_dir(process.join("fd"));
            let fds = fds.into_iter().flatten().flatten().map(|e| e.path());
            fds.chain([process.join("cwd")])
                .filter_map(|link| std::fs::read_link(link).ok())
                .any(|to| to.starts_with(self.dir()))
        };
        let argument = |process: &Path| {
            let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&*self.dir().to_string_lossy())
        };
        let own = std::process::id().to_string();
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|pid| *pid != own && pid.bytes().all(|b| b.is_ascii_digit()))
            .filter(|pid| {
                let process = Path::new("/proc").join(pid);
                links(&process) || argument(&process)
            })
            .collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        let list = |dir: PathBuf| -> Vec<PathBuf> {
            std::fs::read_dir(dir)
                .into_iter()
                .flatten()
                .map(|e| e.unwrap().path())
                .collect()
        };
        let mut all = list(self.project());
        all.extend(
            list(self.state())
                .into_iter()
                .filter(|p| !p.ends_with("accel.json")),
        );
        all.sort();
        all
    }
}
