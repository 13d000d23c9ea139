//! A process that waits to become the next worker, so that a client need not wait for it.
//!
//! Starting one takes a daemon longer than all else together that a worker needs: it is loaded twice, and
//! put into a control group. So there is always one, and the next is started when it is taken.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::isolation::{Cgroups, Limits};
use crate::lock::lock;
use crate::process::Blank;

#[derive(Debug)]
pub(super) struct Spare {
    limits: Limits,
    /// Where workers have control groups of their own.
    cgroups: Option<Arc<Cgroups>>,
    one: Mutex<Place>,
    /// Told when one that was being started is there, or never will be.
    started: Notify,
}

#[derive(Debug)]
enum Place {
    Free,
    /// Somebody starts one.
    Starting,
    Taken(Box<Blank>),
    /// No other is to come, once the one is there that is just being started, if there is one.
    Closed {
        starting: bool,
    },
}

impl Spare {
    pub(super) fn new(limits: Limits, cgroups: Option<Arc<Cgroups>>) -> Arc<Self> {
        let one = Mutex::new(Place::Free);
        Arc::new(Spare {
            limits,
            cgroups,
            one,
            started: Notify::new(),
        })
    }

    /// The one that waits or is just being started, or another if there is none. May block.
    ///
    /// # Errors
    /// When none can be started.
    ///
    /// # Panics
    /// As [`Blank::start`].
    pub(super) fn take(&self) -> io::Result<Blank> {
        loop {
            let started = self.started.notified();
            if let Some(blank) = self.waiting() {
                return Ok(blank);
            }
            if !matches!(*self.lock(), Place::Starting) {
                return self.start();
            }
            Handle::current().block_on(started);
        }
    }

    /// Has one wait if none does. Blocks.
    ///
    /// # Panics
    /// As [`Blank::start`].
    pub(super) fn fill(&self) {
        let mut one = self.lock();
        if !matches!(*one, Place::Free) {
            return;
        }
        *one = Place::Starting;
        drop(one);
        let mut started = self.start_in_advance();
        // It may have been killed as soon as it was seen.
        if started.as_mut().is_some_and(|blank| !blank.is_there()) {
            started = self.start_in_advance();
        }
        if let Some(blank) = self.put(started) {
            Handle::current().block_on(blank.end());
            *self.lock() = Place::Closed { starting: false };
        }
        self.started.notify_waiters();
    }

    /// That it has been started, or cannot be; gives it back if nobody has use for it any more.
    fn put(&self, started: Option<Box<Blank>>) -> Option<Box<Blank>> {
        let mut one = self.lock();
        match (&*one, started) {
            (Place::Closed { .. }, Some(blank)) => return Some(blank),
            (Place::Closed { .. }, None) => *one = Place::Closed { starting: false },
            (_, Some(blank)) => *one = Place::Taken(blank),
            (_, None) => *one = Place::Free,
        }
        None
    }

    /// Ends the one that waits, and waits until nothing is left of it. There will be no other.
    pub(super) async fn close(&self) {
        loop {
            let started = self.started.notified();
            let last = {
                let mut one = self.lock();
                let starting = matches!(*one, Place::Starting | Place::Closed { starting: true });
                std::mem::replace(&mut *one, Place::Closed { starting })
            };
            match last {
                Place::Taken(blank) => return blank.end().await,
                Place::Free | Place::Closed { starting: false } => return,
                Place::Starting | Place::Closed { starting: true } => started.await,
            }
        }
    }

    fn waiting(&self) -> Option<Blank> {
        let mut one = self.lock();
        match std::mem::replace(&mut *one, Place::Free) {
            Place::Taken(mut blank) => blank.is_there().then_some(*blank),
            place => {
                *one = place;
                None
            }
        }
    }

    /// Whoever needs one if there is none tries again, and tells.
    fn start_in_advance(&self) -> Option<Box<Blank>> {
        let started = self.start().inspect_err(|error| {
            tracing::debug!(%error, "cannot start a process in advance");
        });
        started.ok().map(Box::new)
    }

    fn start(&self) -> io::Result<Blank> {
        let cgroup = self.cgroups.as_ref().and_then(|cgroups| {
            let made = cgroups.make(&self.limits);
            made.inspect_err(|error| tracing::debug!(%error, "without a control group"))
                .ok()
        });
        Blank::start(cgroup)
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        lock(&self.one)
    }
}
