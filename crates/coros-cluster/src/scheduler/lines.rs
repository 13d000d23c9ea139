//! What workers write to standard error, on its way to the user's function, which may well block: a terminal
//! that was stopped takes nothing more. That holds up whoever writes, and nothing else: the function is
//! called in a thread that may block, and what comes from a node comes to a coroutine of its own, for which no
//! more is on its way than the link allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coros_core::{Address, Context, Reply};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::builder::Stderr;
use super::core::WorkerId;
use super::shell::full_name;
use crate::feeder::LIMIT;

/// Calls the user's function, for one line at a time.
#[derive(Clone)]
pub(super) struct Printer {
    stderr: Stderr,
    turn: Arc<Mutex<()>>,
}

impl Printer {
    pub(super) fn new(stderr: Stderr) -> Self {
        let turn = Arc::default();
        Printer { stderr, turn }
    }

    /// Resolves when the function has returned. Dropped before, the line may be printed all the same.
    pub(super) async fn print(&self, worker: Arc<str>, line: String) {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let stderr = Arc::clone(&self.stderr);
        let printing = tokio::task::spawn_blocking(move || {
            stderr(&worker, &line);
            drop(turn);
        });
        // If it panics, that has been told, and there is one line less.
        let _ = printing.await;
    }
}

/// To the coroutine that takes the lines of a node's workers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToLines {
    /// A worker has written this.
    Line { worker: WorkerId, line: String },
    /// Say when all that came before has been printed.
    #[serde(skip)]
    Printed(Reply<()>),
    /// No more will come.
    #[serde(skip)]
    End,
}

/// Starts to take the lines of the workers of a node.
pub(super) fn take(node: Arc<str>, printer: Printer) -> Address<ToLines> {
    let run = async move |mut me: Context<ToLines>| {
        while let Some(message) = me.receive().await {
            match message {
                ToLines::Line { worker, line } => {
                    printer.print(full_name(worker, &node), line).await;
                }
                ToLines::Printed(reply) => reply.send(()),
                ToLines::End => break,
            }
        }
    };
    coros_core::build()
        .name("lines of workers")
        .daemon()
        .spawn(run)
        .address()
}

/// What a worker has written to standard error, on its way from a service to its client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Written {
    worker: Arc<str>,
    line: String,
}

/// Starts to take the lines that a service passes on; ends when nobody has the address any more.
pub(super) fn take_written(printer: Printer) -> Address<Written> {
    let run = async move |mut me: Context<Written>| {
        while let Some(Written { worker, line }) = me.receive().await {
            printer.print(worker, line).await;
        }
    };
    coros_core::build()
        .name("lines of workers")
        .daemon()
        .spawn(run)
        .address()
}

/// The function of a service: passes lines on to the client, and returns when there is room for more, so whoever
/// has it called in a thread that may block. A client that takes none for long gets none any more, lest it keep
/// that thread.
pub(crate) fn passed_on(to: Address<Written>) -> Stderr {
    let runtime = tokio::runtime::Handle::current();
    let deaf = AtomicBool::new(false);
    Arc::new(move |worker, line| {
        if deaf.load(Ordering::Relaxed) {
            return;
        }
        let (worker, line) = (Arc::from(worker), line.to_owned());
        let fed = async { timeout(LIMIT, to.feed(Written { worker, line })).await };
        // Who cannot be reached is gone, and that is told otherwise.
        if runtime.block_on(fed).is_err() {
            deaf.store(true, Ordering::Relaxed);
        }
    })
}
