//! The shapes of what `--json` prints, as JSON Schemas.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use super::Versioned;
use super::explain::Explanations;
use super::logs::JsonLine;
use super::settings::Listed;
use crate::model::{
    CatalogueEntry, ClusterList, ClusterStatus, CopyReport, DiskUsage, DoctorReport, DownReport,
    EventLine, Exported, ForkReport, ForwardChange, ForwardReport, ImageExport, ImagePruning,
    ImageRemoval, ImageReport, NodeAddresses, PlanReport, RolledBack, Saved, SnapshotDiff,
    SnapshotList, SnapshotRemoval, StopReport, SupportReport, TieReport, TieStatus, Timeline,
    UpReport, VersionReport,
};

/// Makes the schema of a report.
type Maker = fn() -> Schema;

/// The verbs whose shapes are known, each with the maker of its schema.
pub(crate) const REPORTS: [(&str, Maker); 47] = [
    ("up", of::<Versioned<'static, UpReport>>),
    ("start", of::<Versioned<'static, UpReport>>),
    ("restart", of::<Versioned<'static, UpReport>>),
    ("scale", of::<Versioned<'static, UpReport>>),
    ("rm", of::<Versioned<'static, UpReport>>),
    ("stop", of::<Versioned<'static, StopReport>>),
    ("down", of::<Versioned<'static, DownReport>>),
    ("snapshot save", of::<Versioned<'static, Saved>>),
    ("snapshot ls", of::<SnapshotList>),
    ("snapshot rm", of::<Versioned<'static, SnapshotRemoval>>),
    ("snapshot diff", of::<SnapshotDiff>),
    ("snapshot export", of::<Versioned<'static, Exported>>),
    ("snapshot import", of::<Versioned<'static, Exported>>),
    ("snapshot rollback", of::<Versioned<'static, RolledBack>>),
    ("fork", of::<Versioned<'static, ForkReport>>),
    ("plan", of::<PlanReport>),
    ("ls", of::<ClusterList>),
    ("status", of::<ClusterStatus>),
    ("events", of::<EventLine>),
    ("timeline", of::<Timeline>),
    ("df", of::<DiskUsage>),
    ("ip", of::<Vec<NodeAddresses>>),
    ("cp", of::<Versioned<'static, CopyReport>>),
    ("mount", of::<Versioned<'static, TieReport>>),
    ("umount", of::<Versioned<'static, TieStatus>>),
    ("share", of::<Versioned<'static, TieReport>>),
    ("unshare", of::<Versioned<'static, TieStatus>>),
    ("logs", of::<JsonLine<'static>>),
    ("forward", of::<Vec<ForwardReport>>),
    ("forward ls", of::<Vec<ForwardReport>>),
    ("forward add", of::<Versioned<'static, ForwardChange>>),
    ("forward rm", of::<Versioned<'static, ForwardChange>>),
    ("image build", of::<Versioned<'static, ImageReport>>),
    ("image commit", of::<Versioned<'static, ImageReport>>),
    ("image pull", of::<Versioned<'static, ImageReport>>),
    ("image import", of::<Versioned<'static, ImageReport>>),
    ("image export", of::<Versioned<'static, ImageExport>>),
    ("image ls", of::<Vec<ImageReport>>),
    ("image ls --catalogue", of::<Vec<CatalogueEntry>>),
    ("image inspect", of::<ImageReport>),
    ("image rm", of::<Versioned<'static, ImageRemoval>>),
    ("image prune", of::<Versioned<'static, ImagePruning>>),
    ("config", of::<Listed>),
    ("doctor", of::<DoctorReport>),
    ("explain", of::<Explanations>),
    ("support", of::<SupportReport>),
    ("version", of::<VersionReport>),
];

/// The schema of what a verb prints with `--json`; none if there is no such verb or if it prints none.
pub(crate) fn schema_of(verb: &str) -> Option<Schema> {
    let found = REPORTS.iter().find(|(name, _)| *name == verb);
    found.map(|(_, make)| make())
}

fn of<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<T>()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The snapshot of a verb's JSON.
    fn snapshot(name: &str) -> Value {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join(format!("src/output/snapshots/{name}-json.snap"));
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.splitn(3, "---\n").nth(2).unwrap();
        serde_json::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    #[test]
    fn every_shape_fits_what_its_verb_prints() {
        for (verb, name) in [
            ("up", "up"),
            ("scale", "up-recorded"),
            ("stop", "stop"),
            ("down", "down"),
            ("snapshot save", "snapshot-save"),
            ("snapshot ls", "snapshot-ls"),
            ("snapshot rm", "snapshot-rm"),
            ("snapshot diff", "snapshot-diff"),
            ("snapshot export", "snapshot-export"),
            ("snapshot rollback", "snapshot-rollback"),
            ("fork", "fork"),
            ("share", "share"),
            ("umount", "umount"),
            ("plan", "plan"),
            ("ls", "ls"),
            ("status", "status"),
            ("status", "status-without-record"),
            ("timeline", "timeline"),
            ("df", "df"),
            ("forward", "forward-ls"),
            ("forward add", "forward-add"),
            ("cp", "cp"),
            ("image build", "image-build"),
            ("image export", "image-export"),
            ("image ls", "image-ls"),
            ("image ls --catalogue", "image-ls-catalogue"),
            ("image inspect", "image-inspect"),
            ("image rm", "image-rm"),
            ("image prune", "image-prune"),
            ("config", "config"),
            ("doctor", "doctor"),
            ("explain", "explain"),
            ("support", "support"),
            ("version", "version"),
        ] {
            let schema = schema_of(verb).unwrap().to_value();
            let printed = snapshot(name);
            let judge = jsonschema::validator_for(&schema).unwrap();
            let faults: Vec<_> = judge.iter_errors(&printed).map(|e| e.to_string()).collect();
            assert!(faults.is_empty(), "{verb}: {}", faults.join("; "));
            // A shape that allows anything would be none.
            assert!(
                judge.iter_errors(&Value::from("x")).next().is_some(),
                "{verb}"
            );
            for key in printed
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, _)| key)
            {
                assert!(
                    schema.to_string().contains(&format!("\"{key}\":")),
                    "{verb}: {key}"
                );
            }
        }
        assert!(schema_of("ssh").is_none());
    }
}
