//! The files of kvmc's state: their names, atomic writes, the lock and the record.

mod cut_off;
mod format1;
mod found;
mod layout;
mod lock;
mod mark;
mod migrate;
mod namespace;
mod network;
mod plain;
mod record;
mod store;
mod written;

pub(crate) use cut_off::{CutOffName, CutOffNames};
pub(crate) use found::{Found, is_denied};
pub(crate) use layout::{ClusterDir, NodeDir, OF_ROOT, State};
pub(crate) use lock::Lock;
pub(crate) use namespace::{namespace, namespace_is_gone};
pub(crate) use network::{NetworkRecord, Networks};
pub(crate) use plain::Standing;
pub(crate) use record::{Base, ClusterRecord, FORMAT, HostRecord, NicRecord, NodeRecord, Phase};
pub(crate) use store::{
    private_dir, read_json, remove_file, replace, replace_json, replace_json_unsynced,
    replace_unsynced, sweep, temporaries,
};
pub(crate) use written::Written;
