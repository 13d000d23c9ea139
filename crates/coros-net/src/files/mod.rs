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
mod disk;
mod error;
mod folder;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod incoming;
mod line;
mod name;
mod options;
mod outgoing;
mod protocol;
mod refusal;
#[cfg(test)]
mod rogue_tests;
mod room;
mod server;
mod store;
mod sweep;
mod transfer;
mod turns;
mod verified;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::node::Inner;
use crate::read_ahead::Carried;
use coros_core::remote::NodeId;
use tokio::sync::Semaphore;
use tokio_rustls::TlsStream;

pub use error::{DeleteFileError, FetchFileError, SendFileError};
pub use folder::{Folder, NotReceived, Received};
pub use name::{FileName, NameError};
pub use options::{FetchFile, Progress, SendFile, Transferred};
pub use refusal::Refusal;
pub(crate) use server::serve;
pub(crate) use store::Store;
pub use verified::Verified;

use disk::blocking;
use line::Line;
use options::Report;
use turns::Turns;

/// What carries a connection for files.
pub(crate) type Stream = TlsStream<Carried>;

/// How many operations of its peers a node works at, at a time; others wait.
const PLACES: usize = 64;
/// How many connections one peer may have: those at work, those that it keeps, and then some.
const CONNECTIONS: usize = 4 * turns::EACH;
/// How long it is waited for a turn there: for as long as many large files take.
const CROWDED: Duration = Duration::from_secs(12 * 3600);
/// How often what was left incomplete long ago is looked for.
const SWEEP: Duration = Duration::from_secs(24 * 3600);
/// How many idle connections to one peer are kept.
const KEPT: usize = 4;
/// How long a dialler keeps an idle connection; who was dialled, twice as long.
const IDLE: Duration = Duration::from_secs(5);

/// What a node has to do with files.
pub(crate) struct Files {
    store: Option<Arc<Store>>,
    /// Of those that ask here.
    served: Turns,
    /// Of this node, at others.
    asked: Turns,
    idle: Mutex<Idle>,
}

/// Connections that were dialled and are not in use, each with a number.
#[derive(Default)]
struct Idle {
    last: u64,
    lines: HashMap<NodeId, Vec<(u64, Line)>>,
}

/// Removes what was left incomplete long ago, now and once a day, until the node leaves.
pub(crate) async fn keep_clean(node: Arc<Inner>) {
    let Some(store) = node.files.store.clone() else {
        return;
    };
    let clean = async {
        loop {
            let store = Arc::clone(&store);
            let swept = blocking(move |cancelled| store.sweep(cancelled)).await;
            match swept {
                Ok(0) => {}
                Ok(files) => tracing::info!(files, "removed old incomplete files"),
                Err(error) => tracing::warn!(%error, "cannot look for old incomplete files"),
            }
            tokio::time::sleep(SWEEP).await;
        }
    };
    tokio::select! {
        biased;
        () = node.leaving.cancelled() => {}
        () = clean => {}
    }
}

impl Files {
    pub(crate) fn new(store: Option<Store>) -> Self {
        Files {
            store: store.map(Arc::new),
            served: Turns::new(PLACES),
            asked: Turns::new(Semaphore::MAX_PERMITS),
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
