//! Being told of the end of another coroutine.

use std::fmt;

use tokio::sync::oneshot;

use crate::{Address, Exit};

/// A monitor that a coroutine has set on another: see [`Context::monitor`](crate::Context::monitor).
///
/// Dropping it changes nothing; [`cancel`](Monitor::cancel) takes the monitor back.
pub struct Monitor<N> {
    target: Address<N>,
    key: Option<u64>,
}

impl<N: Send + 'static> Monitor<N> {
    pub(crate) fn new(target: &Address<N>, f: impl FnOnce(Exit) + Send + 'static) -> Self {
        let key = target.watch(Box::new(f));
        Monitor {
            target: target.clone(),
            key,
        }
    }

    /// Takes the monitor back. False when its message has been sent, or when the other
    /// coroutine lives on another node, where monitors stay.
    pub fn cancel(self) -> bool {
        match (self.key, self.target.place()) {
            (Some(key), Ok(mailbox)) => mailbox.control().unwatch(key),
            _ => false,
        }
    }
}

impl<N> fmt::Debug for Monitor<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Monitor({})", self.target)
    }
}

/// [`Address::exit`].
pub(crate) async fn exit<M: Send + 'static>(target: &Address<M>) -> Exit {
    /// Takes the watcher back when whoever waits stops waiting.
    struct Unwatch<'a, M: Send + 'static>(&'a Address<M>, Option<u64>);
    impl<M: Send + 'static> Drop for Unwatch<'_, M> {
        fn drop(&mut self) {
            if let (Some(key), Ok(mailbox)) = (self.1, self.0.place()) {
                mailbox.control().unwatch(key);
            }
        }
    }

    let (tell, told) = oneshot::channel();
    let key = target.watch(Box::new(move |exit| {
        let _ = tell.send(exit);
    }));
    let _unwatch = Unwatch(target, key);
    // A watcher is dropped without a call only when the node that keeps it is gone.
    told.await.unwrap_or(Exit::Disconnected)
}
