//! The host objects of a cluster, one file each: how to look at, make, undo and remove them. The plan decides the
//! order.

pub(crate) mod accept;
mod bench;
pub(crate) mod bridge;
pub(crate) mod disk;
mod files;
pub(crate) mod folder;
pub(crate) mod forwarding;
pub(crate) mod forwards;
pub(crate) mod growth;
pub(crate) mod keeper;
pub(crate) mod leave;
pub(crate) mod names;
pub(crate) mod node;
mod outlet;
pub(crate) mod record;
pub(crate) mod rules;
pub(crate) mod scope;
pub(crate) mod traces;
mod undo;

use std::fmt;

use anyhow::{Error, Result};

pub(crate) use self::accept::Accept;
pub(crate) use self::bench::{Host, Workbench};
pub(crate) use self::bridge::Bridge;
pub(crate) use self::disk::Disk;
pub(crate) use self::files::Files;
pub(crate) use self::folder::Folder;
pub(crate) use self::forwarding::Forwarding;
pub(crate) use self::forwards::Forwards;
pub(crate) use self::growth::Growth;
pub(crate) use self::keeper::KeeperProcess;
pub(crate) use self::names::Names;
pub(crate) use self::node::Node;
pub(crate) use self::outlet::Outlet;
pub(crate) use self::record::RecordFiles;
pub(crate) use self::rules::Rules;
pub(crate) use self::scope::SystemdScope;
pub(crate) use self::traces::{Traces, traces};
pub(crate) use self::undo::Undo;
use crate::state::ClusterRecord;

/// A host object of a cluster, with everything needed to make and remove it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Object {
    Record(RecordFiles),
    Files(Files),
    Outlet(Outlet),
    Forwarding(Forwarding),
    Bridge(Bridge),
    Rules(Box<Rules>),
    Accept(Accept),
    Scope(SystemdScope),
    Keeper(KeeperProcess),
    Names(Names),
    Forwards(Forwards),
    Disk(Disk),
    Growth(Growth),
    Node(Node),
    /// Objects found by their marks, without a record.
    Traces(Traces),
    Folder(Folder),
}

impl Object {
    /// Makes the object or corrects it. Its undo is pushed first.
    ///
    /// # Errors
    /// Fails if the object cannot be made.
    pub(crate) async fn make(
        &self,
        record: &mut ClusterRecord,
        bench: Workbench<'_>,
        undo: &mut Undo,
    ) -> Result<()> {
        match self {
            Self::Record(object) => object.make(record, bench, undo).await,
            Self::Files(object) => object.make(record, bench),
            Self::Outlet(object) => object.make(record, bench, undo).await,
            Self::Forwarding(object) => object.make(record, bench, undo),
            Self::Bridge(object) => object.make(bench, undo).await,
            Self::Rules(object) => object.make(undo),
            Self::Accept(object) => object.make(record, bench, undo),
            Self::Scope(object) => object.make(bench).await,
            Self::Keeper(object) => object.make(bench, undo).await,
            Self::Names(object) => object.make(record, bench, undo),
            Self::Forwards(object) => object.make(bench).await,
            Self::Disk(object) => object.make(record, bench),
            // Nodes start side by side, see engine/local/boot. Disks grow afterwards.
            Self::Growth(_) | Self::Node(_) | Self::Traces(_) | Self::Folder(_) => Ok(()),
        }
    }

    /// Removes the object, and accepts that it is removed already. Continues past errors and returns them. Messages
    /// for the user go to `told`.
    pub(crate) async fn remove(
        &self,
        record: Option<&mut ClusterRecord>,
        host: Host<'_>,
        told: &mut Vec<String>,
    ) -> Vec<Error> {
        match self {
            Self::Record(object) => object.remove(record.as_deref(), host, told),
            Self::Outlet(object) => object.remove(host).await,
            Self::Forwarding(object) => object.remove(record, host, told),
            Self::Bridge(object) => object.remove(host).await,
            Self::Rules(object) => object.remove(host).await,
            Self::Accept(object) => object.remove(host),
            Self::Keeper(object) => object.remove(host).await,
            Self::Names(_) => Names::remove(record.as_deref()),
            Self::Node(object) => object.remove(host),
            Self::Disk(object) => object.remove(host),
            Self::Traces(object) => object.remove(host.links).await,
            Self::Folder(object) => object.remove(host),
            Self::Files(_) | Self::Forwards(_) | Self::Growth(_) | Self::Scope(_) => Vec::new(),
        }
    }
}

impl fmt::Display for Object {
    /// The words for making it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(object) => object.fmt(f),
            Self::Files(object) => object.fmt(f),
            Self::Outlet(object) => object.fmt(f),
            Self::Forwarding(object) => object.fmt(f),
            Self::Bridge(object) => object.fmt(f),
            Self::Rules(object) => object.fmt(f),
            Self::Accept(object) => object.fmt(f),
            Self::Scope(object) => object.fmt(f),
            Self::Keeper(object) => object.fmt(f),
            Self::Names(object) => object.fmt(f),
            Self::Forwards(object) => object.fmt(f),
            Self::Disk(object) => object.fmt(f),
            Self::Growth(object) => object.fmt(f),
            Self::Node(object) => object.fmt(f),
            Self::Traces(object) => object.fmt(f),
            Self::Folder(_) => f.write_str("make the cluster's folder"),
        }
    }
}
