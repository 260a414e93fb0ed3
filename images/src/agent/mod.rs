//! The messages between host and agent, as `images/guest/messages.json` lists them.
//!
//! The agent's tests, these types and the tests' fake QEMU all use that file.

mod event;
mod request;
mod table;

pub use event::{BootStage, Event};
pub use request::{
    Adjust, AllReady, Cloud, Identity, IdentityAnswer, Info, InfoAnswer, KeyPair, Nic, Ping,
    PowerMode, Request, Restored, RestoredAnswer, Settle, SettleAnswer, Shutdown,
};
pub use table::{Field, Fields, Message, MessageError, Table};

/// The name of the agent's virtio-serial port.
pub const PORT: &str = "org.kvmc.agent.0";
