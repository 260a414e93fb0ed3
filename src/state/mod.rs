//! Every file name; the atomic store; the lock; the record.

mod layout;
mod lock;
mod record;
mod store;

pub(crate) use layout::{ClusterDir, NodeDir, State};
pub(crate) use lock::Lock;
pub(crate) use record::{ClusterRecord, FORMAT, NetworkRecord, NicRecord, NodeRecord, Phase};
pub(crate) use store::{
    private_dir, read_json, remove_file, replace, replace_json, replace_json_unsynced,
    replace_unsynced,
};
