//! Files between nodes.
//!
//! [`Node::send_file`](crate::Node::send_file), [`fetch_file`](crate::Node::fetch_file) and
//! [`delete_file`](crate::Node::delete_file) work on a connection of their own, so that no file
//! delays a message. It is authenticated and greeted as links are, serves one operation after the
//! other, and closes when it is idle.
//!
//! `wire` has what is said, `protocol` what may be said when: a state machine. `transfer` is the
//! two sides of it at work, `client` and `server` are around that. `name` and `store` see to it
//! that nothing outside of the folder is touched; `incoming` and `outgoing` are the files.

mod client;
mod error;
mod folder;
mod incoming;
mod line;
mod name;
mod options;
mod outgoing;
mod protocol;
mod refusal;
#[cfg(test)]
mod rogue_tests;
mod server;
mod store;
mod transfer;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::transport::BoxStream;
use coros_core::remote::NodeId;
use tokio::sync::Semaphore;
use tokio_rustls::TlsStream;

pub use error::{DeleteFileError, FetchFileError, SendFileError};
pub use folder::Folder;
pub use name::NameError;
pub use options::{FetchFile, Progress, SendFile, Transferred};
pub use refusal::Refusal;
pub(crate) use server::serve;
pub(crate) use store::Store;

use line::Line;
use options::Report;

/// What carries a connection for files.
pub(crate) type Stream = TlsStream<BoxStream>;

/// How many operations of its peers a node works at, at a time; others wait.
const PLACES: usize = 64;
/// How many idle connections to one peer are kept.
const KEPT: usize = 4;
/// How long a dialler keeps an idle connection; who was dialled, twice as long.
const IDLE: Duration = Duration::from_secs(5);

/// What a node has to do with files.
pub(crate) struct Files {
    store: Option<Arc<Store>>,
    places: Semaphore,
    idle: Mutex<Idle>,
}

/// Connections that were dialled and are not in use, each with a number.
#[derive(Default)]
struct Idle {
    last: u64,
    lines: HashMap<NodeId, Vec<(u64, Line)>>,
}

impl Files {
    pub(crate) fn new(store: Option<Store>) -> Self {
        Files {
            store: store.map(Arc::new),
            places: Semaphore::new(PLACES),
            idle: Mutex::default(),
        }
    }

    fn take_idle(&self, peer: NodeId) -> Option<Line> {
        let mut idle = self.idle();
        idle.lines.get_mut(&peer)?.pop().map(|(_, line)| line)
    }

    /// Keeps a connection; the number under which it can be dropped.
    fn keep_idle(&self, peer: NodeId, line: Line) -> Option<u64> {
        let mut idle = self.idle();
        idle.last += 1;
        let number = idle.last;
        let lines = idle.lines.entry(peer).or_default();
        if lines.len() >= KEPT {
            return None;
        }
        lines.push((number, line));
        Some(number)
    }

    fn drop_idle(&self, peer: NodeId, number: u64) {
        let mut idle = self.idle();
        if let Some(lines) = idle.lines.get_mut(&peer) {
            lines.retain(|(other, _)| *other != number);
            if lines.is_empty() {
                idle.lines.remove(&peer);
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
