//! Looking at the coroutines of this process.
//!
//! Anonymous coroutines are only counted. Those with a name can be listed with what they do; they
//! enter a table when they start and leave it when they end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use crate::control::Flags;
use crate::engine::Host;
use crate::mailbox::Mailbox;

/// Live coroutines that a program waits for.
static NORMAL: AtomicUsize = AtomicUsize::new(0);
/// Live daemons.
static DAEMONS: AtomicUsize = AtomicUsize::new(0);
/// Notified when the last normal one ends.
static NONE_LEFT: Notify = Notify::const_new();
/// Those with a name, by number.
static NAMED: Table = Table::new();
/// Those that want to clean up when terminated.
static GRACEFUL: Table = Table::new();

struct Table(Mutex<BTreeMap<u64, Weak<dyn Host>>>);

impl Table {
    const fn new() -> Self {
        Table(Mutex::new(BTreeMap::new()))
    }

    fn with<R>(&self, f: impl FnOnce(&mut BTreeMap<u64, Weak<dyn Host>>) -> R) -> R {
        f(&mut self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn hosts(&self) -> Vec<Arc<dyn Host>> {
        self.with(|table| table.values().filter_map(Weak::upgrade).collect())
    }
}

/// How many coroutines of this process have not ended.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let coro = coros_core::spawn(async |mut me: coros_core::Context<()>| { me.receive().await });
/// assert_eq!(coros_core::live(), 1);
/// coro.join().await.unwrap();
/// assert_eq!(coros_core::live(), 0);
/// # }
/// ```
#[must_use]
pub fn live() -> usize {
    NORMAL.load(Ordering::Relaxed) + DAEMONS.load(Ordering::Relaxed)
}

/// The live coroutines of this process that have a name, oldest first.
///
/// Takes time in proportion to their number, and none from those without a name.
#[must_use]
pub fn coroutines() -> Vec<CoroInfo> {
    NAMED
        .hosts()
        .iter()
        // One that has ended may be in the table for a moment more.
        .filter(|host| !host.control().is_ended())
        .map(|host| CoroInfo::of(&**host))
        .collect()
}

/// What can be seen of a named coroutine from outside, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoroInfo {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: Arc<str>,
    /// What it does.
    pub state: CoroState,
    /// Messages that it has not received.
    pub mailbox: usize,
    /// The capacity of its mailbox, if that is bounded.
    pub capacity: Option<usize>,
    /// How long ago it was started.
    pub age: Duration,
    /// Whether it is a daemon.
    pub daemon: bool,
}

/// What a coroutine does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoroState {
    /// It runs, or waits for something.
    Running,
    /// It is [suspended](crate::Address::suspend).
    Suspended,
    /// It has been asked to [terminate](crate::Address::terminate) and is cleaning up.
    Terminating,
}

impl CoroInfo {
    fn of(host: &dyn Host) -> Self {
        let control = host.control();
        let extra = control.extra();
        let flags = control.flags();
        CoroInfo {
            id: control.id(),
            name: extra.name.clone().unwrap_or_default(),
            state: if flags.has(Flags::TERMINATING) {
                CoroState::Terminating
            } else if flags.has(Flags::SUSPENDED) {
                CoroState::Suspended
            } else {
                CoroState::Running
            },
            mailbox: host.queued() + extra.held.load(Ordering::Relaxed),
            capacity: extra.bounds.as_ref().map(crate::mailbox::Bounds::capacity),
            age: extra.born.elapsed(),
            daemon: flags.has(Flags::DAEMON),
        }
    }
}

fn counter(flags: Flags) -> &'static AtomicUsize {
    if flags.has(Flags::DAEMON) {
        &DAEMONS
    } else {
        &NORMAL
    }
}

pub(crate) fn started<M: Send + 'static>(mailbox: &Arc<Mailbox<M>>) {
    let control = mailbox.control();
    counter(control.flags()).fetch_add(1, Ordering::Relaxed);
    if control.flags().has(Flags::NAMED) {
        enter(&NAMED, &(Arc::clone(mailbox) as Arc<dyn Host>));
    }
}

/// Enters a coroutine that wants to clean up when the program ends.
pub(crate) fn graceful(host: &Arc<dyn Host>) {
    enter(&GRACEFUL, host);
    if host.control().is_ended() {
        // Its end may have come before the entry was there to be removed: it can be asked by a
        // context that has been moved out of the coroutine.
        not_graceful(host.control().id());
    }
}

/// The coroutine does not want that any more.
pub(crate) fn not_graceful(id: u64) {
    GRACEFUL.with(|table| table.remove(&id));
}

fn enter(table: &Table, host: &Arc<dyn Host>) {
    table.with(|table| table.insert(host.control().id(), Arc::downgrade(host)));
}

/// The coroutine with these flags has ended.
pub(crate) fn ended(id: u64, flags: Flags) {
    for (flag, table) in [(Flags::NAMED, &NAMED), (Flags::GRACEFUL, &GRACEFUL)] {
        if flags.has(flag) {
            table.with(|table| table.remove(&id));
        }
    }
    // Acquire and release: whoever sees zero sees what the coroutines did.
    if counter(flags).fetch_sub(1, Ordering::AcqRel) == 1 && !flags.has(Flags::DAEMON) {
        NONE_LEFT.notify_waiters();
    }
}

/// Waits until every coroutine that is not a daemon has ended.
pub(crate) async fn none_left() {
    loop {
        let notified = NONE_LEFT.notified();
        if NORMAL.load(Ordering::Acquire) == 0 {
            return;
        }
        notified.await;
    }
}

/// Those that want to clean up when terminated.
pub(crate) fn graceful_hosts() -> Vec<Arc<dyn Host>> {
    GRACEFUL.hosts()
}

#[cfg(test)]
mod tests {
    use crate::{Context, spawn};

    use super::*;

    #[tokio::test]
    async fn a_context_that_outlives_its_coroutine_leaves_no_entry() {
        let (give, keep) = tokio::sync::oneshot::channel();
        let coro = spawn(async move |me: Context<()>| drop(give.send(me)));
        let id = coro.id();
        let me = keep.await.unwrap();
        coro.join().await.unwrap();
        let _told = me.terminating();
        assert!(!GRACEFUL.with(|table| table.contains_key(&id)));
    }
}
