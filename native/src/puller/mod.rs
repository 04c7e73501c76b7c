//! JetStream in and out: the only module here that does I/O.
//!
//! [`Puller`] reads one partition of the log, [`Publisher`] appends to a stream and reads back what it holds.
//! [`log`] and [`pull`] decide (log time, roster, grouping, bounds) and are pure. Nothing here reconnects: whatever
//! interrupts a connection is an error of the next call, and the flow starts anew from its recovery state. The one
//! exception is a message that the client library itself breaks off at ([`unread`]): the puller steps over it.

mod link;
pub mod log;
mod partition;
mod publisher;
pub mod pull;
mod ticks;
mod unread;
mod watch;

pub use link::Options;
pub use partition::{Puller, Start};
pub use publisher::{Outgoing, Publisher, Stored};
pub use ticks::{partition_of, tick_token};

use std::sync::OnceLock;

use thiserror::Error;
use tokio::runtime::{Builder, Runtime};

use crate::state::StateError;

/// Why the log cannot be read or written any further.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PullerError {
    /// The connection, the consumer or the stream failed.
    #[error("{0}")]
    Broken(String),
    /// The connection ended.
    #[error("{0}")]
    Disconnected(String),
    /// The position of the flow is no longer (or never was) in the stream.
    #[error("{0}")]
    LostRange(String),
    /// A publish was refused or not acknowledged.
    #[error("{0}")]
    Publish(String),
    /// A publish was refused because its fence is not the last one of its subject.
    #[error("{0}")]
    Fenced(String),
    /// The recovery state cannot be read.
    #[error("state of the partition: {0}")]
    State(String),
}

impl From<StateError> for PullerError {
    fn from(error: StateError) -> Self {
        Self::State(error.to_string())
    }
}

/// The process's only tokio runtime. One worker parses about a million messages a second, more than a flow decodes.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("vitals-nats")
            .enable_all()
            .build()
            .expect("the operating system gives a thread and an epoll instance")
    })
}
