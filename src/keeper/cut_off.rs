//! Names that the cluster's name server cut off, written down for `status`.

use std::time::{Duration, UNIX_EPOCH};

use kvmc_netns::dns::CutOff;

use super::dns::Names;
use crate::output;
use crate::state::{ClusterDir, CutOffName, CutOffNames, remove_file, replace_json_unsynced};

/// How often it is looked whether there are any.
const LOOK: Duration = Duration::from_secs(2);
/// A time in the file is no older than this, in seconds, if the name is still asked for.
const PRECISION: u64 = 60;

/// Keeps the file as it is to be, for ever.
pub(super) async fn note(names: Names, dir: ClusterDir) {
    // What an earlier keeper cut off is noted again when it is asked for.
    let _none = remove_file(&dir.cut_off());
    let mut written = CutOffNames::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = seen(&names);
        if !differ(&written, &now) {
            continue;
        }
        if let Err(e) = replace_json_unsynced(&dir.cut_off(), &now, 0o600) {
            // Into keeper.log: stderr leads there.
            output::error(&e);
            return;
        }
        written = now;
    }
}

fn seen(names: &Names) -> CutOffNames {
    let all = names.cut_off().into_iter();
    all.map(|(name, why, time)| CutOffName {
        name,
        setting: match why {
            CutOff::NotForwarded => "dns.forward",
            CutOff::Rebinding => "dns.rebind_ok",
        }
        .to_owned(),
        time: time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
    })
    .collect()
}

fn differ(written: &CutOffNames, now: &CutOffNames) -> bool {
    written.len() != now.len()
        || written.iter().zip(now).any(|(a, b)| {
            (&a.name, &a.setting) != (&b.name, &b.setting) || b.time > a.time + PRECISION
        })
}
