//! `image build` in a machine, and `image commit`.
//!
//! The machine is a cluster of one node, with all that a cluster has: a way out for packages, names, an
//! inventory for playbooks. It is stopped, its disk becomes a layer on the image it was cloned from, and it
//! goes, whatever became of the layer.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvmc_images::{Commit, Image, Origin, Store};
use kvmc_netns::Links;
use sha2::{Digest, Sha256};

use super::image::{check_tag, finish};
use super::up::{Wish, bring_up};
use super::{Scene, down, stop};
use crate::cli::{BuildFlags, Flags, StartFlags};
use crate::ids::{hex, random_id};
use crate::image::Asked;
use crate::interrupt::{INTERRUPTED, Interrupt};
use crate::network;
use crate::node::find_qemu;
use crate::output::{self, seconds};
use crate::spec::BUILT_IN;
use crate::spec::{AUTO, ClusterSpec, Key, check};
use crate::state::{ClusterDir, ClusterRecord, Lock, Phase};
use crate::warm;

/// How the names of the clusters begin that images are built in.
const PREFIX: &str = "build-";
/// The only node of such a cluster.
const NODE: &str = "master0";
/// On the node, below admin's home.
const FOLDER: &str = ".kvmc-build";
/// For the machine to shut down.
const PATIENCE: Duration = Duration::from_secs(120);
/// Installs packages by whichever program the system has.
const INSTALL: &str = r#"set -e
if command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q; apt-get install -q -y --no-install-recommends "$@"; apt-get clean
elif command -v dnf >/dev/null; then dnf -y install "$@"; dnf clean all
elif command -v zypper >/dev/null; then zypper -n install "$@"; zypper clean
elif command -v apk >/dev/null; then apk add "$@"
else echo "none of apt-get, dnf, zypper and apk is there to install packages" >&2; exit 1
fi"#;

/// `image build` with something to be done in a machine.
pub(super) async fn run(
    scene: &Scene,
    store: &Store,
    how: &BuildFlags,
    flags: &Flags,
) -> Result<ExitCode> {
    let began = Instant::now();
    check_tag(store, how.tag.as_deref())?;
    let work = Work::read(how)?;
    let (spec, packages) = spec(scene, how, flags).await?;
    let dir = scene.state.cluster(&spec.name);
    let inner = scene.of(&spec.name);
    let project = tempfile::tempdir().context("failed to make a folder for the machine's files")?;
    let mut interrupt = Interrupt::listen()?;
    let built = async {
        let wish = Wish {
            spec: spec.clone(),
            project: project.path().to_owned(),
            pull: Asked::default(),
            dry_run: false,
        };
        let start = StartFlags {
            timeout: how.timeout,
            cold: true,
            overcommit: false,
        };
        let code = bring_up(&inner, wish, &dir, None, &start).await?;
        if code != ExitCode::SUCCESS {
            return Ok(Err(code));
        }
        let node = Node { dir: &dir };
        tokio::select! {
            done = work.carry_out(&node, &packages) => done?,
            () = interrupt.wait() => return Ok(Err(ExitCode::from(INTERRUPTED))),
        }
        let code = stop::run(&inner, PATIENCE).await?;
        if code != ExitCode::SUCCESS {
            bail!("the machine was not shut down cleanly, so its disk is no image");
        }
        let name = how.tag.clone().unwrap_or_else(|| work.name());
        let origin = Origin::Provisioned {
            script: work.digest.clone(),
        };
        let record = ClusterRecord::require(&dir, &spec.name)?;
        layer(scene, store, &record, NODE, name, origin).map(Ok)
    };
    let built = built.await;
    // Whatever became of it: the layer needs the machine no more.
    let gone = match dir.path().exists() {
        true => down::run(&inner, false).await.map(drop),
        false => Ok(()),
    };
    match built {
        Err(_) | Ok(Err(_)) if interrupt.came() => {
            output::talk("interrupted; no image was made");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => Err(error),
        Ok(Err(code)) => Ok(code),
        Ok(Ok(image)) => {
            gone?;
            output::talk(&format!(
                "{} in {}",
                crate::image::line(&image),
                seconds(began.elapsed())
            ));
            finish(store, &image, how.tag.as_deref())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// `image commit`.
pub(super) async fn commit(
    scene: &Scene,
    store: &Store,
    node: &str,
    tag: &str,
) -> Result<ExitCode> {
    check_tag(store, Some(tag))?;
    let name = scene.name()?;
    let dir = scene.state.cluster(&name);
    let _there = ClusterRecord::require(&dir, &name)?;
    let mut interrupt = Interrupt::listen()?;
    let _lock = tokio::select! {
        lock = Lock::take(&dir, "image commit", scene.wait) => lock?,
        () = interrupt.wait() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    let record = ClusterRecord::require(&dir, &name)?;
    let origin = Origin::Committed {
        node: format!("{name}/{node}"),
    };
    match layer(scene, store, &record, node, tag.to_owned(), origin) {
        Err(_) if interrupt.came() => {
            output::talk("interrupted; no image was made");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => Err(error),
        Ok(image) => {
            output::talk(&crate::image::line(&image));
            finish(store, &image, Some(tag))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The image that a stopped node's disk makes.
fn layer(
    scene: &Scene,
    store: &Store,
    record: &ClusterRecord,
    name: &str,
    tag: String,
    origin: Origin,
) -> Result<Image> {
    let node = record.node(name)?;
    let dir = scene.state.cluster(&record.spec.name).node(name);
    if record.phase != Phase::Stopped || find_qemu(&node.uuid).is_some() {
        bail!(
            "cluster `{0}` is not stopped, and the disk of {name} changes; `kvmc stop --cluster {0}` first",
            record.spec.name
        );
    }
    if dir.asleep().exists() || !dir.disk().exists() {
        bail!("{name} has never run, so there is nothing of its own to make an image of");
    }
    let parent = store.get(record.image_of(node))?;
    let mut disks = vec![dir.disk()];
    disks.extend(warm::Store::open(scene.state.root()).backing(node, &parent));
    let commit = Commit {
        disks,
        parent: &parent,
        name: tag,
        origin,
        guest: parent.guest,
    };
    store
        .commit(&commit, &mut |what| output::talk(&format!("  {what}")))
        .with_context(|| format!("failed to make an image of {name}"))
}

/// The cluster of one node to build in, and the packages to install in it.
async fn spec(
    scene: &Scene,
    how: &BuildFlags,
    flags: &Flags,
) -> Result<(ClusterSpec, Vec<String>)> {
    let id = random_id();
    let short = id.get(..6).unwrap_or(&id);
    let name = format!("{PREFIX}{short}");
    let mut settings = scene.of(&name).settings(flags)?;
    // Of what kvmc.toml says of a cluster, what a machine and its image are made of holds here too.
    for (key, value) in [
        (Key::Masters, "1"),
        (Key::Workers, "0"),
        (Key::LoadBalancers, "0"),
        (Key::MasterImage, how.from.as_deref().unwrap_or(BUILT_IN)),
        (Key::WorkerImage, ""),
        (Key::LblImage, ""),
        (Key::UserData, ""),
        (Key::MasterRestart, "never"),
        (Key::Bridge, &format!("kb{short}")),
        (Key::Isolated, "false"),
        (Key::Ipv6, "false"),
        (Key::HostPorts, ""),
        (Key::Networks, ""),
        (Key::Forward, ""),
        (Key::Domain, ""),
        (Key::Records, ""),
    ] {
        settings.settle(key, value.to_owned());
    }
    if settings.value(Key::Subnet) == AUTO || !settings.source(Key::Subnet).is_asked() {
        settings.settle(Key::Subnet, AUTO.to_owned());
        let spec = check(&settings)?;
        let dir = scene.state.cluster(&name);
        let subnet = network::free_subnet(&spec, &dir, &Links::open()?).await?;
        settings.settle(Key::Subnet, subnet.to_string());
    }
    let packages = match how.from {
        // They are in the template then.
        None => Vec::new(),
        Some(_) => settings.packages(),
    };
    Ok((check(&settings)?, packages))
}

/// What is to be done in the machine.
struct Work {
    copies: Vec<(PathBuf, String)>,
    runs: Vec<PathBuf>,
    /// SHA-256 of what is run.
    digest: String,
}

impl Work {
    /// Looks at all of it before anything is made.
    fn read(how: &BuildFlags) -> Result<Self> {
        let mut copies = Vec::new();
        for copy in &how.copy {
            let Some((from, to)) = copy
                .rsplit_once(':')
                .filter(|(f, t)| !f.is_empty() && t.starts_with('/'))
            else {
                bail!("--copy {copy}: write FROM:TO, where TO begins with /");
            };
            fs_err::symlink_metadata(from).context("--copy")?;
            copies.push((std::path::absolute(from)?, to.to_owned()));
        }
        let mut digest = Sha256::new();
        let mut runs = Vec::new();
        for path in &how.run {
            digest.update(fs_err::read(path).context("--run")?);
            runs.push(std::path::absolute(path)?);
        }
        let playbooks = runs.iter().any(|r| is_playbook(r));
        if playbooks && crate::host::find_program("ansible-playbook").is_none() {
            bail!("--run of a playbook needs `ansible-playbook` on this host; install Ansible");
        }
        Ok(Self {
            copies,
            runs,
            digest: hex(&digest.finalize()),
        })
    }

    /// For people, where none was given.
    fn name(&self) -> String {
        let last = self.runs.last().and_then(|r| r.file_stem());
        last.map_or_else(|| "built".to_owned(), |s| s.to_string_lossy().into_owned())
    }

    async fn carry_out(&self, node: &Node<'_>, packages: &[String]) -> Result<()> {
        if !packages.is_empty() {
            output::talk(&format!("installing {}", packages.join(" ")));
            let script = format!(
                "sudo -n sh -c {} sh {}",
                quoted(INSTALL),
                all_quoted(packages)
            );
            node.ssh(&script).await.context("the packages")?;
        }
        node.ssh(&format!("mkdir -p {FOLDER}")).await?;
        for (number, (from, to)) in self.copies.iter().enumerate() {
            output::talk(&format!("copying {} to {to}", from.display()));
            let staged = format!("{FOLDER}/copy{number}");
            node.copy(from, &staged).await?;
            let folder = Path::new(to).parent().unwrap_or(Path::new("/"));
            let folder = quoted(&folder.display().to_string());
            node.ssh(&format!(
                "sudo -n sh -ec 'chown -R 0:0 \"$1\"; mkdir -p \"$2\"; cp -a \"$1\" \"$3\"' sh {staged} {folder} {}",
                quoted(to)
            ))
            .await
            .with_context(|| format!("--copy to {to}"))?;
        }
        for (number, script) in self.runs.iter().enumerate() {
            output::talk(&format!("running {}", script.display()));
            if is_playbook(script) {
                node.play(script).await?;
            } else {
                let staged = format!("{FOLDER}/run{number}");
                node.copy(script, &staged).await?;
                node.ssh(&format!("chmod 755 {staged} && sudo -n ./{staged}"))
                    .await
                    .with_context(|| format!("{}", script.display()))?;
            }
        }
        // What was begun is on the disk before the machine is asked to end.
        node.ssh(&format!("sudo -n rm -rf {FOLDER} .ansible && sync"))
            .await
    }
}

fn is_playbook(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "yml" || e == "yaml")
}

/// A word for sh(1).
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn all_quoted(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|w| quoted(w)).collect();
    words.join(" ")
}

/// The machine, as it is reached.
struct Node<'a> {
    dir: &'a ClusterDir,
}

impl Node<'_> {
    async fn ssh(&self, command: &str) -> Result<()> {
        let config = self.config();
        attend("ssh", &["-F", &config, NODE, command], None).await
    }

    async fn copy(&self, from: &Path, to: &str) -> Result<()> {
        let config = self.config();
        let from = from.display().to_string();
        attend(
            "scp",
            &["-q", "-r", "-F", &config, &from, &format!("{NODE}:{to}")],
            None,
        )
        .await
    }

    /// A playbook, on the host, from its own folder: what it names lies beside it.
    async fn play(&self, playbook: &Path) -> Result<()> {
        let inventory = self.dir.artifact("inventory").display().to_string();
        let playbook_text = playbook.display().to_string();
        attend(
            "ansible-playbook",
            &["-i", &inventory, &playbook_text],
            playbook.parent(),
        )
        .await
    }

    fn config(&self) -> String {
        self.dir.artifact("ssh_config").display().to_string()
    }
}

/// Runs a program to its end, its talk being ours; it goes with us.
///
/// # Errors
/// How it ended.
async fn attend(program: &str, arguments: &[&str], folder: Option<&Path>) -> Result<()> {
    let talk = || -> Result<Stdio> { Ok(std::io::stderr().as_fd().try_clone_to_owned()?.into()) };
    #[expect(
        clippy::disallowed_methods,
        reason = "ssh, scp and ansible-playbook, to be seen by who builds"
    )]
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .current_dir(folder.unwrap_or(Path::new(".")))
        .stdin(Stdio::null())
        .stdout(talk()?)
        .stderr(talk()?)
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to run {program}; `kvmc doctor --fix` installs it"))?;
    let status = child
        .wait()
        .await
        .with_context(|| format!("failed to run {program}"))?;
    if status.success() {
        Ok(())
    } else {
        bail!("{program} ended with {status}; what it said is above")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(copy: &str, run: Option<&Path>) -> BuildFlags {
        let mut flags = BuildFlags::default();
        flags.run.extend(run.map(Path::to_owned));
        flags.copy.push(copy.to_owned());
        flags
    }

    #[test]
    fn what_is_to_be_done_is_looked_at_before_there_is_a_machine() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("set up.sh");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        let copy = format!("{}:/opt/x", script.display());
        let work = Work::read(&flags(&copy, Some(&script))).unwrap();
        assert_eq!(work.copies, [(script.clone(), "/opt/x".to_owned())]);
        assert_eq!((work.name().as_str(), work.digest.len()), ("set up", 64));
        for bad in ["x", "/etc/passwd:opt", ":/opt", "/etc/passwd:"] {
            let error = Work::read(&flags(bad, None)).err().unwrap().to_string();
            assert!(error.contains("write FROM:TO"), "{error}");
        }
        assert!(Work::read(&flags("/none/such:/opt", None)).is_err());
        assert!(Work::read(&flags(&copy, Some(Path::new("/none/such")))).is_err());
        assert!(is_playbook(Path::new("a.yml")) && !is_playbook(Path::new("a.sh")));
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
