//! A process that waits to become the next worker, so that a client need not wait for it.
//!
//! Starting one takes a daemon longer than all else together that a worker needs: it is loaded twice, and
//! put into a control group. So there is always one, and the next is started when it is taken.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::isolation::{Cgroups, Limits};
use crate::process::Blank;

#[derive(Debug)]
pub(super) struct Spare {
    limits: Limits,
    /// Where workers have control groups of their own.
    cgroups: Option<Arc<Cgroups>>,
    one: Mutex<Place>,
}

#[derive(Debug)]
enum Place {
    Free,
    Taken(Box<Blank>),
    /// No other is to come.
    Closed,
}

impl Spare {
    pub(super) fn new(limits: Limits, cgroups: Option<Arc<Cgroups>>) -> Arc<Self> {
        let one = Mutex::new(Place::Free);
        Arc::new(Spare {
            limits,
            cgroups,
            one,
        })
    }

    /// The one that waits, or another if there is none. May block.
    ///
    /// # Errors
    /// When none can be started.
    pub(super) fn take(&self) -> io::Result<Blank> {
        match self.waiting() {
            Some(blank) => Ok(blank),
            None => self.start(),
        }
    }

    /// Has one wait if none does. Blocks.
    pub(super) fn fill(&self) {
        if !matches!(*self.lock(), Place::Free) {
            return;
        }
        match self.start() {
            Ok(blank) => {
                let mut one = self.lock();
                if matches!(*one, Place::Free) {
                    *one = Place::Taken(Box::new(blank));
                }
            }
            // Whoever needs one tries again, and tells.
            Err(error) => tracing::debug!(%error, "cannot start a process in advance"),
        }
    }

    /// Ends the one that waits, and waits until nothing is left of it. There will be no other.
    pub(super) async fn close(&self) {
        let last = std::mem::replace(&mut *self.lock(), Place::Closed);
        if let Place::Taken(blank) = last {
            blank.end().await;
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

    fn start(&self) -> io::Result<Blank> {
        let cgroup = self.cgroups.as_ref().and_then(|cgroups| {
            let made = cgroups.make(&self.limits);
            made.inspect_err(|error| tracing::debug!(%error, "without a control group"))
                .ok()
        });
        Blank::start(cgroup)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Place> {
        self.one.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
