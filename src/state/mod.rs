//! The files of kvmc's state: their names, atomic writes, the lock and the record.

mod chain;
mod console;
mod cut_off;
mod fork;
mod format1;
mod found;
mod inside;
mod layout;
mod lock;
mod mark;
mod migrate;
mod namespace;
mod network;
mod plain;
mod record;
mod restoration;
mod store;
mod written;

pub(crate) use chain::{next_image, number_of};
pub(crate) use console::{TimedLine, console_before, console_lines, console_tail, console_times};
pub(crate) use cut_off::{CutOffName, CutOffNames};
pub(crate) use fork::{Fork, NO_NAMESPACE};
pub(crate) use found::{Found, is_denied};
pub(crate) use inside::{MOUNTS, find_outside, is_inside, mounts, until_entered};
pub(crate) use layout::{ClusterDir, NodeDir, OF_ROOT, State};
pub(crate) use lock::{Lock, Locked};
pub(crate) use namespace::{namespace, namespace_in, namespace_is_gone, namespace_word};
pub(crate) use network::{NetworkRecord, Networks};
pub(crate) use plain::Standing;
pub(crate) use record::{
    Base, ClusterRecord, FORMAT, HostRecord, NicRecord, NodeRecord, Phase, RestingNode,
};
pub(crate) use restoration::Restoration;
pub(crate) use store::{
    private_dir, read_json, remove_file, replace, replace_json, replace_json_unsynced,
    replace_unsynced, sweep, temporaries,
};
pub(crate) use written::Written;
