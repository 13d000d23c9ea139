//! Being told of the end of another coroutine.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::address::Watch;
use crate::engine::Host;
use crate::remote::Unwatch;
use crate::{Address, Exit, WeakAddress};

/// A monitor that a coroutine has set on another: see [`Context::monitor`](crate::Context::monitor).
///
/// Dropping it changes nothing; [`cancel`](Monitor::cancel) takes the monitor back.
pub struct Monitor<N> {
    target: Target<N>,
}

/// Weak, so that a monitor does not keep the mailbox of its target open.
enum Target<N> {
    Here(WeakAddress<N>, u64),
    There(Option<Unwatch>),
}

impl<N: Send + 'static> Monitor<N> {
    pub(crate) fn new(
        target: &Address<N>,
        owner: Arc<dyn Host>,
        f: impl FnOnce(Exit) + Send + 'static,
    ) -> Self {
        let target = match target.place() {
            Ok(mailbox) => {
                let key = mailbox.control().watch_for(Some(owner), Box::new(f));
                let weak = target.downgrade().expect("a local coroutine has them");
                Target::Here(weak, key)
            }
            Err(remote) => Target::There(remote.watch(Box::new(f))),
        };
        Monitor { target }
    }

    /// Takes the monitor back. False when its message has been sent.
    pub fn cancel(self) -> bool {
        match self.target {
            Target::Here(target, key) => target.control().unwatch(key),
            Target::There(unwatch) => unwatch.is_some_and(|unwatch| unwatch()),
        }
    }
}

impl<N> fmt::Debug for Monitor<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Here(target, _) => write!(f, "Monitor(#{})", target.id()),
            Target::There(_) => f.write_str("Monitor(remote)"),
        }
    }
}

/// [`Address::exit`].
pub(crate) async fn exit<M: Send + 'static>(target: &Address<M>) -> Exit {
    /// Takes the watcher back when whoever waits stops waiting.
    struct GiveUp<'a, M: Send + 'static>(&'a Address<M>, Option<Watch>);
    impl<M: Send + 'static> Drop for GiveUp<'_, M> {
        fn drop(&mut self) {
            self.0.unwatch(self.1.take());
        }
    }

    let (tell, told) = oneshot::channel();
    let watch = target.watch(Box::new(move |exit| {
        let _ = tell.send(exit);
    }));
    let _give_up = GiveUp(target, watch);
    // A watcher is dropped without a call only when the node that keeps it is gone.
    told.await.unwrap_or(Exit::Disconnected)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use crate::primitives::lock;
    use crate::{Context, Exit, spawn};

    #[tokio::test]
    async fn a_wait_that_is_given_up_leaves_no_watcher_behind() {
        let coro = spawn(async |mut me: Context<()>| me.receive().await);
        let mailbox = coro.place().ok().unwrap();
        let watchers = || lock(&mailbox.control().extra().end).watchers.len();
        let mut waits: Vec<_> = (0..100).map(|_| Box::pin(coro.exit())).collect();
        for wait in &mut waits {
            assert_eq!(wait.now_or_never(), None);
        }
        assert_eq!(watchers(), 100);
        waits.truncate(1);
        assert_eq!(watchers(), 1);
        coro.send(()).unwrap();
        for wait in waits {
            assert_eq!(wait.await, Exit::Finished);
        }
        assert_eq!(watchers(), 0);
    }
}
