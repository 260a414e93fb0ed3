//! The request: file, environment and flags, resolved into one checked [`ClusterSpec`].
//!
//! Its only I/O is reading `kvmc.toml` and the environment.

mod alias;
mod check;
mod choice;
mod cluster;
mod dns;
mod error;
mod file;
mod files;
mod forward;
mod given;
mod key;
mod kind;
mod lan;
mod layer;
mod machine;
mod names;
mod nearest;
mod networks;
mod node;
mod nodes;
mod numbering;
mod outline;
mod reader;
mod reference;
mod reserved;
mod restart;
mod role;
mod schema;
mod select;
mod settings;
mod size;
mod source;
mod table;
mod value;
mod zone;

pub(crate) use alias::ALIASES;
#[cfg(test)]
pub(crate) use alias::Alias;
pub(crate) use check::check;
pub(crate) use choice::AccelChoice;
pub(crate) use cluster::{ClusterSpec, TemplateSpec};
pub(crate) use dns::DnsSpec;
pub(crate) use error::SpecError;
pub(crate) use file::{cluster_named, parse as parse_file};
pub(crate) use files::FilesSpec;
pub(crate) use forward::Forward;
pub(crate) use given::Layer;
pub(crate) use key::{Key, unknown_setting};
pub(crate) use kind::Kind;
pub(crate) use kvmc_images::approximate;
pub(crate) use lan::LanSpec;
pub(crate) use layer::Difference;
pub(crate) use names::validate_cluster_name;
pub(crate) use nearest::nearest;
pub(crate) use networks::{MAIN, NetworkSpec};
#[cfg(test)]
pub(crate) use node::NodeSpec;
pub(crate) use outline::{
    LiveFile, LiveTable, commented, list as toml_list, quoted as toml_quoted,
};
pub(crate) use reference::{BUILT_IN, Reference};
pub(crate) use restart::Restart;
pub(crate) use role::{BALANCERS, RoleSpec};
pub(crate) use schema::json_schema;
pub(crate) use select::Selector;
pub(crate) use settings::{Settings, environment};
pub(crate) use size::Bytes;
pub(crate) use source::Source;
pub(crate) use table::{Change, Flag, SETTINGS, Setting};
pub(crate) use value::Value;
