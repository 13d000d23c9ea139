//! Ending a coroutine from outside, with a grace period for those that asked for it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::control::Flags;
use crate::engine::Host;
use crate::introspect;

/// Resolves when somebody asks the coroutine to end: see
/// [`Context::terminating`](crate::Context::terminating).
///
/// May be polled again after it has resolved, and resolves again.
pub struct Terminating {
    told: watch::Receiver<bool>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl Terminating {
    pub(crate) fn new(host: &Arc<dyn Host>) -> Self {
        let control = host.control();
        let (sender, _) = control
            .extra()
            .terminating
            .get_or_init(|| (watch::channel(false).0, Handle::current()));
        let told = sender.subscribe();
        if !control.set(Flags::GRACEFUL).has(Flags::GRACEFUL) {
            introspect::graceful(host);
        }
        Terminating {
            told,
            waiting: None,
        }
    }

    /// Whether somebody has asked the coroutine to end.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.told.borrow()
    }
}

impl Future for Terminating {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if *self.told.borrow() {
            return Poll::Ready(());
        }
        let this = &mut *self;
        let waiting = this.waiting.get_or_insert_with(|| {
            let mut told = this.told.clone();
            // The sender lives as long as the coroutine, whose part this is.
            Box::pin(async move { drop(told.wait_for(|asked| *asked).await) })
        });
        waiting.as_mut().poll(cx)
    }
}

impl Clone for Terminating {
    fn clone(&self) -> Self {
        Terminating {
            told: self.told.clone(),
            waiting: None,
        }
    }
}

impl fmt::Debug for Terminating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminating")
            .field("requested", &self.is_requested())
            .finish()
    }
}

/// [`Address::terminate`](crate::Address::terminate).
pub(crate) fn terminate(host: Arc<dyn Host>) {
    let control = host.control();
    let before = control.set(Flags::TERMINATING);
    if before.has(Flags::TERMINATING.and(Flags::ENDED)) {
        return;
    }
    let sender = control
        .existing_extra()
        .and_then(|extra| extra.terminating.get());
    let Some((sender, runtime)) = sender.filter(|_| control.flags().has(Flags::GRACEFUL)) else {
        kill(&*host);
        return;
    };
    sender.send_replace(true);
    // A suspended coroutine could not clean up.
    control.resume();
    control.wake();
    let runtime = runtime.clone();
    let grace = control.extra().grace;
    kill_after(host, &runtime, grace);
}

/// Drops the coroutine at its next suspension point.
pub(crate) fn kill(host: &dyn Host) {
    host.control().set(Flags::KILLED);
    host.control().wake();
}

/// Kills the coroutine when the grace period is over and it has not ended.
fn kill_after(host: Arc<dyn Host>, runtime: &Handle, grace: Duration) {
    let (tell, ended) = oneshot::channel();
    host.control().watch(Box::new(move |_| {
        let _ = tell.send(());
    }));
    let watch = async move {
        if tokio::time::timeout(grace, ended).await.is_err() {
            kill(&*host);
        }
    };
    drop(runtime.spawn(watch));
}
