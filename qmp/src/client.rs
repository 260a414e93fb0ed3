//! The client: connects to a peer and executes commands.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use qapi_qmp::QmpCommand;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use crate::call::{Call, Gate, Outcome};
use crate::error::{ConnectError, ExecuteError};
use crate::event::{EventQueue, Events};
use crate::log::ExchangeLog;
use crate::owner;

/// The deadline of a command whose answer QEMU only looks up.
const QUICK: Duration = Duration::from_secs(5);
/// The deadline of a command that moves data or waits for devices.
const HEAVY: Duration = Duration::from_secs(30);

/// A connection. Clones share it; it is closed when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Client {
    calls: mpsc::Sender<Call>,
    gate: Arc<Gate>,
}

/// Keeps a connection's commands back until it is dropped.
#[derive(Debug)]
pub struct Hold {
    gate: Arc<Gate>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.gate.is_shut.send_replace(false);
    }
}

impl Client {
    /// Connects to a QMP socket, waits for the greeting and leaves negotiation mode.
    ///
    /// # Errors
    /// Nobody listens, the peer sends no greeting within `deadline`, or it refuses the negotiation.
    pub async fn connect_qmp(
        path: &Path,
        log: Option<ExchangeLog>,
        deadline: Duration,
    ) -> Result<(Self, Events), ConnectError> {
        let stream = connect(path).await?;
        let (greeted, greeting) = oneshot::channel();
        let (client, events) = Self::start(stream, log, Some(greeted));
        match tokio::time::timeout(deadline, greeting).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                return Err(ConnectError::Ended {
                    path: path.to_owned(),
                });
            }
            Err(_) => {
                return Err(ConnectError::NoGreeting {
                    path: path.to_owned(),
                    deadline,
                });
            }
        }
        client
            .request("qmp_capabilities", json!({}), deadline)
            .await
            .map_err(|source| ConnectError::Negotiation {
                path: path.to_owned(),
                source,
            })?;
        Ok((client, events))
    }

    /// Connects to a guest agent's socket. An agent sends no greeting.
    ///
    /// # Errors
    /// [`ConnectError::Socket`] where nobody listens, [`ConnectError::NoGreeting`] after `deadline`.
    pub async fn connect_agent(
        path: &Path,
        log: Option<ExchangeLog>,
        deadline: Duration,
    ) -> Result<(Self, Events), ConnectError> {
        let stream = tokio::time::timeout(deadline, connect(path))
            .await
            .map_err(|_| ConnectError::NoGreeting {
                path: path.to_owned(),
                deadline,
            })??;
        Ok(Self::start(stream, log, None))
    }

    fn start(
        stream: UnixStream,
        log: Option<ExchangeLog>,
        greeted: Option<oneshot::Sender<()>>,
    ) -> (Self, Events) {
        let (calls, asked) = mpsc::channel(16);
        let queue = Arc::new(EventQueue::default());
        let gate = Arc::new(Gate::default());
        let owned = (Arc::clone(&queue), Arc::clone(&gate));
        tokio::spawn(owner::run(stream, asked, owned, log, greeted));
        (Self { calls, gate }, Events::of(queue))
    }

    /// Sends nothing from now on until the returned value is dropped; commands wait meanwhile, within their deadlines.
    /// Returns after the answers to earlier commands, or after `patience`.
    pub async fn hold(&self, patience: Duration) -> Hold {
        const LOOK: Duration = Duration::from_millis(2);
        self.gate.is_shut.send_replace(true);
        let hold = Hold {
            gate: Arc::clone(&self.gate),
        };
        let quiet = async {
            while self.gate.waiting.load(Ordering::Acquire) > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _some_come_later = tokio::time::timeout(patience, quiet).await;
        hold
    }

    /// Executes a command of QEMU's QAPI; its deadline is 5 s, or 30 s where it moves data.
    ///
    /// # Errors
    /// The connection ended, no answer came in time, the peer refused the command, or its result has another type.
    pub async fn execute<C: QmpCommand>(&self, command: C) -> Result<C::Ok, ExecuteError> {
        let arguments = serde_json::to_value(&command).map_err(|source| ExecuteError::Decode {
            command: C::NAME.to_owned(),
            source,
        })?;
        let answer = self
            .request(C::NAME, arguments, deadline_of(C::NAME))
            .await?;
        serde_json::from_value(answer).map_err(|source| ExecuteError::Decode {
            command: C::NAME.to_owned(),
            source,
        })
    }

    /// Executes the command `name`.
    ///
    /// # Errors
    /// The connection ended, no answer came in time, the peer refused the command, or its result has another type.
    pub async fn request(
        &self,
        name: &str,
        arguments: Value,
        deadline: Duration,
    ) -> Result<Value, ExecuteError> {
        self.call(name, arguments, None, false, deadline).await
    }

    /// As [`Self::request`], but the log shows neither arguments nor answer.
    ///
    /// # Errors
    /// The connection ended, no answer came in time, the peer refused the command, or its result has another type.
    pub async fn request_secret(
        &self,
        name: &str,
        arguments: Value,
        deadline: Duration,
    ) -> Result<Value, ExecuteError> {
        self.call(name, arguments, None, true, deadline).await
    }

    /// Executes `getfd`: passes a descriptor to QEMU under the name `name`.
    ///
    /// # Errors
    /// The connection ended, no answer came in time, the peer refused the command, or its result has another type.
    pub async fn pass_fd(&self, name: &str, fd: OwnedFd) -> Result<(), ExecuteError> {
        self.call("getfd", json!({ "fdname": name }), Some(fd), false, QUICK)
            .await
            .map(drop)
    }

    /// Executes `add-fd`: adds a descriptor to a new set of QEMU's, and returns the set's number. QEMU opens it as
    /// `/dev/fdset/NUMBER`, in the descriptor's own access mode only.
    ///
    /// # Errors
    /// The connection ended, no answer came in time, or the peer refused the command.
    pub async fn add_fd(&self, fd: OwnedFd) -> Result<u64, ExecuteError> {
        let answer = self
            .call("add-fd", json!({}), Some(fd), false, QUICK)
            .await?;
        let set = answer.get("fdset-id").and_then(Value::as_u64);
        set.ok_or_else(|| ExecuteError::Refused {
            command: "add-fd".to_owned(),
            class: "GenericError".to_owned(),
            desc: "the answer names no set".to_owned(),
        })
    }

    /// Executes `quit`. A connection that ends without an answer counts as one: QEMU may exit first.
    ///
    /// # Errors
    /// No answer came in time, or the peer refused the command.
    pub async fn quit(&self) -> Result<(), ExecuteError> {
        match self.request("quit", json!({}), QUICK).await {
            Ok(_) | Err(ExecuteError::Disconnected { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// True once the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.calls.is_closed()
    }

    async fn call(
        &self,
        name: &str,
        arguments: Value,
        fd: Option<OwnedFd>,
        is_secret: bool,
        deadline: Duration,
    ) -> Result<Value, ExecuteError> {
        let disconnected = || ExecuteError::Disconnected {
            command: name.to_owned(),
        };
        let (answer, answered) = oneshot::channel();
        let call = Call {
            name: name.to_owned(),
            arguments,
            fd,
            is_secret,
            answer,
        };
        let exchange = async {
            self.calls.send(call).await.map_err(|_| disconnected())?;
            answered.await.map_err(|_| disconnected())
        };
        match tokio::time::timeout(deadline, exchange).await {
            Err(_) => Err(ExecuteError::Timeout {
                command: name.to_owned(),
                deadline,
            }),
            Ok(Err(e)) => Err(e),
            Ok(Ok(Outcome::Return(value))) => Ok(value),
            Ok(Ok(Outcome::Error { class, desc })) => Err(ExecuteError::Refused {
                command: name.to_owned(),
                class,
                desc,
            }),
        }
    }
}

async fn connect(path: &Path) -> Result<UnixStream, ConnectError> {
    UnixStream::connect(path)
        .await
        .map_err(|source| ConnectError::Socket {
            path: path.to_owned(),
            source,
        })
}

fn deadline_of(command: &str) -> Duration {
    match command {
        "migrate" | "migrate-incoming" | "device_add" | "block_resize" | "blockdev-add" => HEAVY,
        _ => QUICK,
    }
}
