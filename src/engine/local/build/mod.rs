//! `image build` in a machine, and `image commit`.
//!
//! The build machine is a cluster of one node with everything that a cluster has: an uplink for packages, DNS and an
//! inventory for playbooks. It is stopped, and its disk becomes a layer on the image that it was cloned from. The
//! machine is removed afterwards, also on failure.

mod machine;
mod request;
mod work;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvmc_images::{Commit, Image, Origin, Store};

use self::machine::Machine;
pub(crate) use self::request::{BuildRequest, BuildSource};
use self::request::{NODE, ROLE};
use self::work::Work;
use super::Local;
use super::images::{check_tag, finish};
use super::up::{Target, bring_up, settle_subnet};
use crate::engine::{Lifecycle, StartOptions};
use crate::hint::{add_hint, command};
use crate::ids::random_id;
use crate::image::{self, PullOptions};
use crate::interrupt::Interrupt;
use crate::model::{Interrupted, UpOutcome};
use crate::node::find_qemu;
use crate::spec::{BUILT_IN, ClusterSpec, FilesSpec, Key, Kind, Restart, Value, check};
use crate::state::{ClusterRecord, Lock, Phase};

/// Prefix of the names of clusters in which images are built.
const PREFIX: &str = "build-";
/// Time for the machine to shut down.
const PATIENCE: Duration = Duration::from_secs(120);

impl Local {
    /// A new name for a cluster to build in.
    pub(crate) fn build_cluster() -> String {
        let id = random_id();
        format!("{PREFIX}{}", id.get(..6).unwrap_or(&id))
    }

    /// Builds an image in this cluster, whose name comes from [`Self::build_cluster`], and returns the image's digest.
    ///
    /// # Errors
    /// Fails if the machine does not become ready, if a build step fails, or if it was [`Interrupted`].
    pub(crate) async fn build_image(&self, request: BuildRequest) -> Result<String> {
        let began = Instant::now();
        let store = self.store();
        check_tag(&store, request.tag.as_deref())?;
        let work = Work::read(&request.source)?;
        let (spec, packages) = self.machine_spec(&request).await?;
        let interrupt = Interrupt::listen()?;
        let built = self.build_in(spec, &packages, &work, &request).await;
        // Remove the machine on failure too; the layer does not need it.
        let gone = match self.dir().path().exists() {
            true => self.down().await.map(drop),
            false => Ok(()),
        };
        match built {
            Err(_) if interrupt.came() => Err(Interrupted("no image was made".to_owned()).into()),
            Err(error) => Err(error),
            Ok(image) => {
                gone?;
                self.progress.say(&format!(
                    "{} in {:.1} s",
                    image::line(&image),
                    began.elapsed().as_secs_f64()
                ));
                finish(&store, &image, request.tag.as_deref())
            }
        }
    }

    async fn build_in(
        &self,
        spec: ClusterSpec,
        packages: &[String],
        work: &Work,
        request: &BuildRequest,
    ) -> Result<Image> {
        let project = tempfile::tempdir()
            .context("cannot make a temporary folder for the machine's files")?;
        let mut interrupt = Interrupt::listen()?;
        // The files are for this run alone, whatever the environment asks for.
        let spec = ClusterSpec {
            files: FilesSpec::default(),
            ..spec
        };
        let target = Target {
            verb: "image build",
            expects: None,
            spec,
            insists: true,
            project: project.path().to_owned(),
            pull: PullOptions::default(),
            start: StartOptions {
                timeout: request.timeout,
                cold: true,
                overcommit: false,
                ..StartOptions::default()
            },
        };
        let report = bring_up(self, target, None).await?;
        if let UpOutcome::Done { failed, .. } = &report.outcome
            && let Some(failure) = failed.first()
        {
            bail!("the build machine is not ready: {}", failure.why);
        }
        let dir = self.dir();
        let machine = Machine { dir: &dir };
        tokio::select! {
            done = work.carry_out(&machine, packages, self.progress.as_ref()) => done?,
            () = interrupt.wait() => bail!("interrupted"),
        }
        if !self.stop(&[], PATIENCE).await?.is_clean() {
            bail!(
                "the build machine did not shut down cleanly, so its disk cannot become an image"
            );
        }
        let name = request.tag.clone().unwrap_or_else(|| work.name());
        let origin = Origin::Provisioned {
            script: work.digest.clone(),
        };
        self.layer(&self.store(), &self.require()?, NODE, name, origin)
    }

    /// Makes an image of a stopped node's disk, and returns the image's digest.
    ///
    /// # Errors
    /// Fails if the cluster runs, if the disk cannot become an image, or if it was [`Interrupted`].
    pub(crate) async fn commit_image(&self, node: &str, tag: &str) -> Result<String> {
        let store = self.store();
        check_tag(&store, Some(tag))?;
        self.require()?;
        let mut interrupt = Interrupt::listen()?;
        let dir = self.dir();
        let _lock = tokio::select! {
            lock = Lock::take(&dir, "image commit", self.wait) => lock?,
            () = interrupt.wait() => {
                return Err(Interrupted("no image was made".to_owned()).into());
            }
        };
        let origin = Origin::Committed {
            node: format!("{}/{node}", self.cluster),
        };
        let record = self.require()?;
        dir.check_entered(&record)?;
        match self.layer(&store, &record, node, tag.to_owned(), origin) {
            Err(_) if interrupt.came() => Err(Interrupted("no image was made".to_owned()).into()),
            Err(error) => Err(error),
            Ok(image) => {
                self.progress.say(&image::line(&image));
                finish(&store, &image, Some(tag))
            }
        }
    }

    /// Makes an image of a stopped node's disk.
    fn layer(
        &self,
        store: &Store,
        record: &ClusterRecord,
        name: &str,
        tag: String,
        origin: Origin,
    ) -> Result<Image> {
        let node = record.node(name)?;
        let dir = self.dir().node(name);
        if record.phase != Phase::Stopped || find_qemu(&node.uuid).is_some() {
            let cluster = &record.spec.name;
            return Err(add_hint(
                anyhow::anyhow!(
                    "cluster `{cluster}` is not stopped, so the disk of {name} may change"
                ),
                format!("{} stops it", command(cluster, "stop")),
            ));
        }
        if self.dir().suspended().exists() {
            let start = command(&record.spec.name, "start --cold");
            return Err(add_hint(
                anyhow::anyhow!(
                    "cluster `{}` is suspended, so a part of what {name} has written is in its memory",
                    record.spec.name
                ),
                format!("{start} and a stop write it to the disk"),
            ));
        }
        if dir.asleep().exists() || !dir.disk().exists() {
            bail!("{name} has never run, so its disk holds nothing that its image does not");
        }
        let parent = store.get(node.base.image())?;
        let mut disks = dir.images_of(node, 0);
        disks.extend(self.frozen().backing(node, &parent));
        let commit = Commit {
            disks,
            parent: &parent,
            name: tag,
            origin,
            guest: parent.guest,
        };
        store
            .commit(&commit, &mut |what| self.progress.say(&format!("  {what}")))
            .with_context(|| format!("cannot make an image of {name}"))
    }

    /// The specification of the one-node cluster to build in, and the packages to install in it.
    async fn machine_spec(&self, request: &BuildRequest) -> Result<(ClusterSpec, Vec<String>)> {
        let mut settings = request.settings.clone();
        let from = request.source.from.as_deref().unwrap_or(BUILT_IN);
        let short = self.cluster.strip_prefix(PREFIX).unwrap_or(&self.cluster);
        let text = |text: &str| Value::Text(text.to_owned());
        // Of the settings in kvmc.toml, those for machines and images apply here too.
        settings.reduce_to(ROLE);
        settings.settle(Key::cluster("cluster"), text(&self.cluster));
        for (field, value) in [
            ("count", Value::Number(1)),
            ("prefix", text("master")),
            ("groups", Value::List(vec![ROLE.to_owned()])),
            (
                "image",
                Kind::Image.parse(from).map_err(anyhow::Error::msg)?,
            ),
            ("user_data", text("")),
            ("restart", Value::Restart(Restart::Never)),
            ("networks", Value::List(Vec::new())),
        ] {
            settings.settle(Key::role(ROLE, field), value);
        }
        for (field, value) in [
            ("network.bridge", text(&format!("kb{short}"))),
            ("network.isolated", Value::Switch(false)),
            ("network.ipv6", Value::Switch(false)),
            ("network.host_ports", Value::HostPorts(Vec::new())),
            ("network.reserved", Value::Ranges(Vec::new())),
            ("network.mtu", Value::Mtu(None)),
            ("network.lldp", Value::Switch(false)),
            ("network.reach_from", Value::List(Vec::new())),
            ("networks", Value::Networks(Vec::new())),
            ("forward", Value::Forwards(Vec::new())),
            ("dns.domain", text("")),
            ("dns.records", Value::List(Vec::new())),
        ] {
            settings.settle(Key::cluster(field), value);
        }
        let subnet = Key::cluster("network.subnet");
        let is_auto = *settings.value(&subnet)? == Value::Subnet(None);
        if is_auto || !settings.source(&subnet).is_asked() {
            settings.settle(subnet, Value::Subnet(None));
            let spec = check(&settings)?;
            settle_subnet(&mut settings, &spec, &self.dir(), None).await?;
        }
        let spec = check(&settings)?;
        let packages = match request.source.from {
            // The template has the packages already.
            None => Vec::new(),
            Some(_) => spec.template.packages.clone(),
        };
        Ok((spec, packages))
    }
}
