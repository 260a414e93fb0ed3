//! A plan in a file, which `up FILE` carries out while the cluster is as it was.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::engine::StartOptions;
use crate::engine::local::Local;
use crate::hint::{WithHint, add_hint, bail_with_hint, command};
use crate::image::PullOptions;
use crate::model::{PlanReport, Progress, Stage};
use crate::spec::{ClusterSpec, Settings, check};
use crate::state::ClusterRecord;

/// The version of the file.
const FORMAT: u32 = 1;
/// Largest file, in bytes. A plan of a thousand nodes has less than one.
const LARGEST: u64 = 16 << 20;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SavedPlan {
    /// The version of the file.
    kvmc_plan: u32,
    /// The fingerprint of the cluster's record; `None` if there was no cluster.
    pub(super) record: Option<String>,
    pub(super) spec: ClusterSpec,
    pub(super) project: PathBuf,
    /// The range was named by somebody.
    pub(super) insists: bool,
    /// The options that it was made with. A plan of an earlier version has none.
    #[serde(default)]
    pub(super) options: SavedOptions,
    report: PlanReport,
}

/// The options of a plan, which `up PLAN` takes too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedOptions {
    timeout: Option<u64>,
    cold: bool,
    overcommit: bool,
    refresh: bool,
    insecure: bool,
}

impl SavedOptions {
    pub(super) fn of(start: &StartOptions, pull: &PullOptions) -> Self {
        Self {
            timeout: start.timeout.map(|time| time.as_secs()),
            cold: start.cold,
            overcommit: start.overcommit,
            refresh: pull.refresh,
            insecure: pull.insecure,
        }
    }

    /// Adds the options to those that are given now.
    pub(super) fn add_to(self, start: &mut StartOptions, pull: &mut PullOptions) {
        start.timeout = start.timeout.or(self.timeout.map(Duration::from_secs));
        start.cold |= self.cold;
        start.overcommit |= self.overcommit;
        pull.refresh |= self.refresh;
        pull.insecure |= self.insecure;
    }
}

/// The progress of a look that is repeated, so that no warning is told twice.
#[derive(Debug)]
pub(super) struct Untold;

impl Progress for Untold {
    fn say(&self, _: &str) {}
    fn stage(&self, _: &str, _: Stage, _: &str) {}
    fn transfer(&self, _: &str, _: u64, _: Option<u64>) {}
    fn end(&self) {}
}

impl SavedPlan {
    pub(super) const fn new(
        record: Option<String>,
        spec: ClusterSpec,
        project: PathBuf,
        insists: bool,
        options: SavedOptions,
        report: PlanReport,
    ) -> Self {
        Self {
            kvmc_plan: FORMAT,
            record,
            spec,
            project,
            insists,
            options,
            report,
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text =
            serde_json::to_string_pretty(self).context("the plan cannot be written as JSON")?;
        Ok(fs_err::write(path, format!("{text}\n"))?)
    }

    /// Reads a plan of this cluster.
    ///
    /// # Errors
    /// Fails if the file is not a plan, if it is of another version of kvmc, or of another cluster.
    pub(super) fn read(path: &Path, local: &Local) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            kvmc_plan: u32,
        }
        let shown = path.display();
        let meta = fs_err::metadata(path)?;
        // A FIFO or a device may never end.
        let bytes = match meta.is_file() && meta.len() <= LARGEST {
            true => fs_err::read(path)?,
            false => Vec::new(),
        };
        let make = || {
            let plan = command(local.name(), "plan --out FILE");
            format!("{plan} makes one")
        };
        let head: Head = serde_json::from_slice(&bytes)
            .map_err(|_| anyhow::anyhow!("{shown} is not a plan of kvmc"))
            .hint(make)?;
        if head.kvmc_plan != FORMAT {
            bail_with_hint!(
                make(),
                "{shown} has plan format {}; this kvmc reads format {FORMAT}",
                head.kvmc_plan
            );
        }
        let plan: Self = serde_json::from_slice(&bytes)
            .map_err(|e| anyhow::anyhow!("{shown} is a damaged plan: {e}"))
            .hint(make)?;
        if plan.spec.name != local.name() {
            bail!(
                "{shown} is a plan of cluster `{}`, not of `{}`",
                plan.spec.name.escape_debug(),
                local.name()
            );
        }
        let name = plan.spec.name.clone();
        let mut checked = check(&Settings::resolve([plan.spec.layer()]))
            .with_context(|| format!("{shown} is a damaged plan"))?;
        // No setting says this.
        for (role, planned) in checked.roles.iter_mut().zip(&plan.spec.roles) {
            role.disk_may_grow = planned.disk_may_grow;
        }
        if (ClusterSpec { name, ..checked }) != plan.spec {
            bail_with_hint!(
                make(),
                "{shown} is a damaged plan: its settings contradict each other"
            );
        }
        Ok(plan)
    }

    /// Refuses to do anything else than what was planned.
    ///
    /// # Errors
    /// Fails if the host needs other steps than when the plan was made.
    pub(super) fn check_same(&self, now: &PlanReport) -> Result<()> {
        let (then, now) = (&self.report, now);
        if then.steps == now.steps && then.nodes == now.nodes {
            return Ok(());
        }
        let other = now.steps.iter().find(|s| !then.steps.contains(s));
        let other = other.map(|step| format!("now it would also {step}"));
        let gone = then.steps.iter().find(|s| !now.steps.contains(s));
        let gone = gone.map(|step| format!("it is no longer needed to {step}"));
        let what = other
            .or(gone)
            .unwrap_or_else(|| "the nodes differ".to_owned());
        let error = anyhow::anyhow!("the host has changed since the plan was made: {what}");
        Err(add_hint(error, again(&self.spec.name)))
    }
}

/// Refuses a saved plan of another record than the one there is.
///
/// # Errors
/// Fails if the record was written since the plan was made.
pub(super) fn check_expected(
    expected: Option<&Option<String>>,
    existing: Option<&ClusterRecord>,
) -> Result<()> {
    let now = existing.map(ClusterRecord::fingerprint);
    let (Some(then), true) = (expected, expected.is_some_and(|then| *then != now)) else {
        return Ok(());
    };
    let what = match (then, existing) {
        (None, _) => "the cluster was made",
        (_, None) => "the cluster was removed",
        _ => "the cluster has changed",
    };
    let name = existing.map(|r| r.spec.name.clone());
    let error = anyhow::anyhow!("{what} since the plan was made");
    Err(match name {
        Some(name) => add_hint(error, again(&name)),
        None => error,
    })
}

fn again(cluster: &str) -> String {
    format!("{} plans again", command(cluster, "plan --out FILE"))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::model::SCHEMA;
    use crate::samples::{Silent, record};

    fn plan(steps: &[&str]) -> SavedPlan {
        let record = record();
        let report = PlanReport {
            schema: SCHEMA,
            cluster: "k80".to_owned(),
            is_new: false,
            settings: Vec::new(),
            nodes: Vec::new(),
            steps: steps.iter().map(|s| (*s).to_owned()).collect(),
        };
        SavedPlan::new(
            Some(record.fingerprint()),
            record.spec,
            "/p".into(),
            true,
            SavedOptions::default(),
            report,
        )
    }

    fn refused(cluster: &str, text: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p");
        std::fs::write(&file, text).unwrap();
        let local = Local::at(folder.path(), cluster, Duration::ZERO, Rc::new(Silent));
        let error = SavedPlan::read(&file, &local).map(|_| ()).unwrap_err();
        format!("{error:#}")
    }

    #[test]
    fn what_is_not_a_plan_of_this_cluster_is_refused() {
        let plan = plan(&[]);
        let text = serde_json::to_string(&plan).unwrap();
        let other = refused("lab", text.as_bytes());
        assert!(
            other.ends_with("is a plan of cluster `k80`, not of `lab`"),
            "{other}"
        );
        for (text, expected) in [
            ("", "is not a plan of kvmc"),
            ("\u{0}", "is not a plan of kvmc"),
            (
                "{\"kvmc_plan\": 2}",
                "has plan format 2; this kvmc reads format 1",
            ),
            ("{\"kvmc_plan\": 1}", "is a damaged plan: missing field"),
            (
                &text.replace("\"count\":3", "\"count\":0"),
                "is a damaged plan",
            ),
            (
                &text.replace("\"count\":3", "\"count\":4000000000"),
                "is a damaged plan",
            ),
        ] {
            let error = refused("k80", text.as_bytes());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_plan_keeps_its_options_and_one_without_them_is_read() {
        let start = StartOptions {
            cold: true,
            timeout: Some(Duration::from_secs(9)),
            ..StartOptions::default()
        };
        let pull = PullOptions {
            refresh: true,
            insecure: false,
        };
        let saved = SavedOptions::of(&start, &pull);
        let text = serde_json::to_string(&saved).unwrap();
        assert_eq!(serde_json::from_str::<SavedOptions>(&text).unwrap(), saved);
        let none: SavedOptions = serde_json::from_str("{}").unwrap();
        assert_eq!(none, SavedOptions::default());
        let (mut now, mut pulls) = (StartOptions::default(), PullOptions::default());
        now.overcommit = true;
        saved.add_to(&mut now, &mut pulls);
        assert!(now.cold && now.overcommit && pulls.refresh && !pulls.insecure);
        assert_eq!(now.timeout, start.timeout);
    }

    #[test]
    fn a_plan_is_refused_once_the_cluster_or_the_host_has_changed() {
        let mut record = record();
        let expected = Some(Some(record.fingerprint()));
        assert!(check_expected(expected.as_ref(), Some(&record)).is_ok());
        assert!(check_expected(None, Some(&record)).is_ok());
        record.generation += 1;
        for (then, now, what) in [
            (expected.as_ref(), Some(&record), "the cluster has changed"),
            (expected.as_ref(), None, "the cluster was removed"),
            (Some(&None), Some(&record), "the cluster was made"),
        ] {
            let error = check_expected(then, now).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
        let saved = plan(&["start worker0"]);
        assert!(saved.check_same(&plan(&["start worker0"]).report).is_ok());
        let error = saved.check_same(&plan(&["start worker0", "start lbl0"]).report);
        assert_eq!(
            error.unwrap_err().to_string(),
            "the host has changed since the plan was made: now it would also start lbl0"
        );
        let error = saved.check_same(&plan(&[]).report).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("no longer needed to start worker0")
        );
    }
}
