//! What every verb needs: the cluster's name, its engine and its settings.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::engine::{Lifecycle, Local};
use crate::hint;
use crate::output::Live;
use crate::spec::{
    Key, Layer, Settings, Source, SpecError, cluster_named, environment, parse_file,
    validate_cluster_name,
};
use crate::state::until_entered;

const FILE: &str = "kvmc.toml";

/// One invocation of kvmc.
#[derive(Debug)]
pub(super) struct Session {
    /// `--cluster`
    cluster: Option<String>,
    /// `--wait`
    wait: Duration,
}

impl Session {
    pub(super) const fn new(cluster: Option<String>, wait: Duration) -> Self {
        Self { cluster, wait }
    }

    /// The engine of the cluster to work on.
    ///
    /// # Errors
    /// Fails if the cluster's name is not allowed, or if there is no place for the state.
    pub(super) fn engine(&self) -> Result<Local> {
        self.named(&self.name()?)
    }

    /// The same, for a verb that works in this host's namespace, whatever the cluster is.
    ///
    /// # Errors
    /// As [`Self::engine`].
    pub(super) fn outside(&self) -> Result<Local> {
        self.plain(&self.name()?)
    }

    /// The cluster that `--cluster` names.
    ///
    /// # Errors
    /// Fails if that is no name of a cluster.
    pub(super) fn named_by_flag(&self) -> Result<Option<&str>> {
        let name = self.cluster.as_deref();
        match name.map(validate_cluster_name) {
            Some(Err(why)) => Err(SpecError::of("cluster", why).into()),
            _ => Ok(name),
        }
    }

    /// The engine of a cluster by its name.
    ///
    /// # Errors
    /// Fails if there is no place for the state.
    pub(super) fn named(&self, name: &str) -> Result<Local> {
        let local = self.plain(name)?;
        local.enter()?;
        Ok(local)
    }

    /// The same, without a move into the namespace of a fork.
    ///
    /// # Errors
    /// Fails if there is no place for the state.
    pub(super) fn plain(&self, name: &str) -> Result<Local> {
        Local::open(name, self.wait, Rc::new(Live::new()))
    }

    /// Does work on another cluster, by a thread of its own that is in the cluster's namespace.
    ///
    /// # Errors
    /// Fails like the work, and if there is no such thread.
    pub(super) fn elsewhere<T: Send>(
        &self,
        cluster: &str,
        work: impl AsyncFn(Local) -> Result<T> + Send,
    ) -> Result<T> {
        let once = move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build()?;
            runtime.block_on(async { work(self.named(cluster)?).await })
        };
        let there = move || until_entered(once);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().spawn_scoped(scope, there)?;
            let done = thread.join();
            done.map_err(|_| anyhow::anyhow!("the thread for cluster `{cluster}` panicked"))?
        })
    }

    /// The engine for a verb that concerns no single cluster. A mistake in `kvmc.toml` does not stop it.
    ///
    /// # Errors
    /// Fails if there is no place for the state.
    pub(super) fn host(&self) -> Result<Local> {
        self.name()
            .and_then(|name| self.plain(&name))
            .or_else(|_| self.plain(""))
    }

    /// All settings of a cluster: those it was made from, under `kvmc.toml`, variables and flags, each above the
    /// previous.
    ///
    /// # Errors
    /// Fails if `kvmc.toml` or the cluster's record cannot be read.
    pub(super) fn settings(&self, engine: &dyn Lifecycle, flags: Layer) -> Result<Settings> {
        let made_of = engine.made_of()?.unwrap_or_default();
        let settings = Settings::resolve([made_of, file()?, variables()]);
        Ok(settings.over(self.flag(flags)))
    }

    /// The name of the cluster to work on.
    fn name(&self) -> Result<String> {
        // Only the name is read here. A damaged record or another mistake in the file must not stop verbs that need
        // only the name.
        let named = match read()? {
            Some(text) => cluster_named(Path::new(FILE), &text),
            None => Ok(Layer::default()),
        };
        let bare = named.as_ref().ok().map(|named| {
            let bare = Settings::resolve([named.clone(), variables()]);
            bare.cluster("cluster").map(ToString::to_string)
        });
        if let Some(Ok(name)) = bare {
            hint::set_bare_cluster(&name);
        }
        let named = match named {
            Err(e) if self.cluster.is_none() => return Err(e.into()),
            named => named.unwrap_or_default(),
        };
        let settings = Settings::resolve([named, variables(), self.flag(Layer::default())]);
        let name = settings.cluster("cluster")?.to_string();
        validate_cluster_name(&name).map_err(|why| SpecError::of("cluster", why))?;
        Ok(name)
    }

    fn flag(&self, mut flags: Layer) -> Layer {
        if let Some(name) = &self.cluster {
            let source = Source::Flag("--cluster".to_owned());
            flags.set_text(Key::cluster("cluster"), name, source);
        }
        flags
    }
}

fn variables() -> Layer {
    environment(|name| std::env::var(name).ok())
}

/// `kvmc.toml` of this folder.
fn file() -> Result<Layer> {
    match read()? {
        Some(text) => Ok(parse_file(Path::new(FILE), &text)?),
        None => Ok(Layer::default()),
    }
}

fn read() -> Result<Option<String>> {
    match fs_err::read(FILE) {
        Ok(bytes) => {
            let text = String::from_utf8(bytes).ok();
            text.context("kvmc.toml is not UTF-8 text").map(Some)
        }
        // A dangling symbolic link is a mistake, not a missing file.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            match fs_err::symlink_metadata(FILE) {
                Ok(_) => Err(e).context("kvmc.toml is a symbolic link whose target is missing"),
                Err(_) => Ok(None),
            }
        }
        Err(e) => Err(e.into()),
    }
}
