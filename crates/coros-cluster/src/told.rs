//! Who is told what happens at a daemon or a service, if anybody.

use std::fmt;
use std::sync::Arc;

pub(crate) struct Told<E>(Option<Sink<E>>);

type Sink<E> = Arc<dyn Fn(&E) + Send + Sync>;

impl<E> Told<E> {
    pub(crate) fn new(f: impl Fn(&E) + Send + Sync + 'static) -> Self {
        Told(Some(Arc::new(f)))
    }

    pub(crate) fn tell(&self, event: &E) {
        if let Some(told) = &self.0 {
            told(event);
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
