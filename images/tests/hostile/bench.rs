//! A store, sound images to spoil, and the measuring of what a hostile one costs.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kvmc_images::{
    Architecture, Boot, Commit, Files, Guest, Image, ImageError, Origin, Store, changes, download,
};
use nix::sys::resource::{Usage, UsageWho, getrusage};

/// Where the file system of [`Bench::disk`] begins.
pub(crate) const START: u64 = 1 << 20;
/// Its size.
pub(crate) const SYSTEM: u64 = 32 << 20;

/// A hostile image: how it is made, how kvmc gets it, and words of the error.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) words: &'static str,
    pub(crate) give: Box<dyn Fn(&Bench) -> Gift>,
}

/// What kvmc gets.
pub(crate) enum Gift {
    /// `image import`.
    Disk(PathBuf),
    /// `image import` of an exported image.
    Archive(PathBuf),
    /// `commit` of a node with this raw disk.
    Node(PathBuf),
    /// `snapshot diff` of two chains.
    Chains(Vec<PathBuf>, Vec<PathBuf>),
    /// What `stop` does with a chain.
    Merge(Vec<PathBuf>),
}

pub(crate) fn case(
    name: &'static str,
    words: &'static str,
    give: impl Fn(&Bench) -> Gift + 'static,
) -> Case {
    Case {
        name,
        words,
        give: Box::new(give),
    }
}

/// What a case cost and said.
pub(crate) struct Tried {
    pub(crate) error: String,
    /// Seconds of CPU time, with that of programs.
    pub(crate) seconds: f64,
    /// Peaks of memory in bytes: this process's, and the largest of its programs so far.
    pub(crate) own: u64,
    pub(crate) programs: u64,
}

pub(crate) struct Bench {
    dir: tempfile::TempDir,
    parent: Image,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let tree = at("tree");
        std::fs::create_dir_all(tree.join("etc")).unwrap();
        std::fs::create_dir_all(tree.join("var/log/journal")).unwrap();
        std::fs::write(tree.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        std::fs::write(tree.join("etc/shadow"), "admin:!:1::::::\n").unwrap();
        let system = at("system");
        let make = "mke2fs -q -F -t ext4 -b 1024 -N 16000 -O ^metadata_csum,^resize_inode -d";
        sh(&format!(
            "{make} {} {} 32M",
            tree.display(),
            system.display()
        ));
        let disk = at("disk.raw");
        let mut bytes = vec![0; (START + SYSTEM) as usize];
        bytes[446 + 4] = 0x83;
        bytes[446 + 8..446 + 12].copy_from_slice(&((START / 512) as u32).to_le_bytes());
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes[START as usize..].copy_from_slice(&std::fs::read(&system).unwrap());
        std::fs::write(&disk, bytes).unwrap();
        sh(&format!(
            "cd {} && qemu-img convert -f raw -O qcow2 disk.raw disk.qcow2",
            dir.path().display()
        ));
        let store = Store::open(dir.path());
        let parent = import(&store, &disk).unwrap();
        Self { dir, parent }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.at(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn store(&self) -> Store {
        Store::open(self.dir.path())
    }

    /// The ids of all images.
    pub(crate) fn stored(&self) -> Vec<String> {
        let images = self.store().list().unwrap();
        images.into_iter().map(|image| image.id).collect()
    }

    /// The id of a sound image in the store.
    pub(crate) fn parent(&self) -> &Image {
        &self.parent
    }

    /// A sound qcow2 after changes of its bytes.
    pub(crate) fn qcow2(&self, name: &str, changes: &[(usize, &[u8])]) -> PathBuf {
        self.changed("disk.qcow2", name, changes)
    }

    /// A sound raw disk after changes of its bytes.
    pub(crate) fn disk(&self, name: &str, changes: &[(usize, &[u8])]) -> PathBuf {
        self.changed("disk.raw", name, changes)
    }

    fn changed(&self, from: &str, name: &str, changes: &[(usize, &[u8])]) -> PathBuf {
        let mut bytes = std::fs::read(self.at(from)).unwrap();
        for (at, part) in changes {
            bytes[*at..at + part.len()].copy_from_slice(part);
        }
        self.write(name, &bytes)
    }

    /// A raw disk whose file system has had debugfs's commands, and then changes at places in it.
    pub(crate) fn edited(&self, name: &str, commands: &str, changes: &[(u64, &[u8])]) -> PathBuf {
        let disk = self.disk(name, &[]);
        let script = self.write("script", commands.as_bytes());
        sh(&format!(
            "debugfs -w -f {} '{}?offset={START}' >/dev/null 2>&1",
            script.display(),
            disk.display()
        ));
        let file = std::fs::File::options().write(true).open(&disk).unwrap();
        for (at, part) in changes {
            file.write_all_at(part, START + at).unwrap();
        }
        disk
    }

    /// Two states of a disk, equal but for one byte in their boot sectors.
    pub(crate) fn states(&self, disk: &Path) -> Gift {
        let convert = |name: &str| {
            let to = self.at(name);
            let (from, shown) = (disk.display(), to.display());
            sh(&format!("qemu-img convert -f raw -O qcow2 {from} {shown}"));
            to
        };
        let was = convert("was.qcow2");
        let file = std::fs::File::options().write(true).open(disk).unwrap();
        file.write_all_at(b"x", 0).unwrap();
        Gift::Chains(vec![was], vec![convert("is.qcow2")])
    }

    /// Gives a case to kvmc.
    pub(crate) fn try_case(&self, case: &Case) -> Tried {
        let gift = (case.give)(self);
        // Resets the peak, proc(5).
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = spent();
        let error = self.take(&gift);
        let seconds = spent() - before;
        let text = error.replace(&self.dir.path().display().to_string(), "");
        Tried {
            error: text,
            seconds,
            own: peak(),
            programs: children(),
        }
    }

    fn take(&self, gift: &Gift) -> String {
        let store = self.store();
        match gift {
            Gift::Disk(path) => told(import(&store, path)),
            Gift::Archive(path) => told(store.unpack(path)),
            Gift::Node(raw) => {
                let node = self.at("node.qcow2");
                let (from, to) = (raw.display(), node.display());
                sh(&format!("qemu-img convert -f raw -O qcow2 {from} {to}"));
                let commit = Commit {
                    disks: vec![node],
                    parent: &self.parent,
                    name: "child".to_owned(),
                    origin: Origin::Committed {
                        node: "k80/master0".to_owned(),
                    },
                    guest: Guest::CloudInit,
                };
                told(store.commit(&commit, &mut |_| {}))
            }
            Gift::Chains(old, new) => match changes(old, new) {
                Err(error) => error.to_string(),
                Ok(found) => match found.files {
                    Files::Unknown(why) => why,
                    Files::Known(files) => panic!("read as sound: {} files", files.len()),
                },
            },
            Gift::Merge(chain) => told(kvmc_images::merge_first(chain)),
        }
    }
}

fn import(store: &Store, path: &Path) -> Result<Image, ImageError> {
    download::import(store, path, "x", Architecture::Amd64, Boot::Bios)
}

fn told<T>(result: Result<T, ImageError>) -> String {
    let Err(error) = result else {
        return "taken as sound".to_owned();
    };
    error.to_string()
}

/// Runs a shell's command.
pub(crate) fn sh(command: &str) {
    let status = Command::new("sh").arg("-c").arg(command).status().unwrap();
    assert!(status.success(), "{command}");
}

fn spent() -> f64 {
    let of = |usage: Usage| {
        let times = [usage.user_time(), usage.system_time()];
        let seconds = times.map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6);
        seconds.iter().sum::<f64>()
    };
    let all = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN];
    all.map(|who| of(getrusage(who).unwrap())).iter().sum()
}

/// This process's VmHWM in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap() << 10
}

/// The peak of the largest program so far, in bytes.
fn children() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    u64::try_from(usage.max_rss()).unwrap() << 10
}
