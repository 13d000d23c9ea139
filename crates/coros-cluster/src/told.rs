//! Who is told what happens at a daemon or a service, if anybody.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::caught::heard;

pub(crate) struct Told<E>(Option<Arc<Sink<E>>>);

struct Sink<E> {
    f: Box<dyn Fn(&E) + Send + Sync>,
    /// It has panicked.
    deaf: AtomicBool,
}

impl<E> Told<E> {
    pub(crate) fn new(f: impl Fn(&E) + Send + Sync + 'static) -> Self {
        Told(Some(Arc::new(Sink {
            f: Box::new(f),
            deaf: AtomicBool::new(false),
        })))
    }

    pub(crate) fn tell(&self, event: &E) {
        if let Some(told) = &self.0
            && !told.deaf.load(Ordering::Relaxed)
            && !heard(&*told.f, event)
        {
            told.deaf.store(true, Ordering::Relaxed);
        }
    }
}

impl<E> Default for Told<E> {
    fn default() -> Self {
        Told(None)
    }
}

impl<E> Clone for Told<E> {
    fn clone(&self) -> Self {
        Told(self.0.clone())
    }
}

impl<E> fmt::Debug for Told<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Told({})", self.0.is_some())
    }
}
