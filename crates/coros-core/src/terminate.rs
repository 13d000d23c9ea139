//! Ending a coroutine from outside, with a grace period for those that asked for it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::control::Flags;
use crate::engine::Host;
use crate::introspect;
use crate::primitives::{Mutex, lock};

/// What a coroutine keeps that asked to be told when it is to end.
#[derive(Default)]
pub(crate) struct Graceful {
    /// Its runtime, which keeps the grace period.
    runtime: OnceLock<Handle>,
    /// Those that wait with another waker than the coroutine's own, which is woken anyway.
    elsewhere: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

/// Resolves when somebody asks the coroutine to end: see
/// [`Context::terminating`](crate::Context::terminating).
///
/// May be polled again after it has resolved, and resolves again.
pub struct Terminating {
    host: Arc<dyn Host>,
    /// Under which number it waits elsewhere.
    key: Option<u64>,
}

impl Terminating {
    pub(crate) fn new(host: Arc<dyn Host>) -> Self {
        let control = host.control();
        control.extra().graceful.runtime.get_or_init(|| {
            // Panics without a timer, here where its author sees it. Otherwise the panic would be
            // in the task that ends the grace period, which then would never end.
            drop(tokio::time::sleep(Duration::ZERO));
            Handle::current()
        });
        if !control.set(Flags::GRACEFUL).has(Flags::GRACEFUL) {
            introspect::graceful(&host);
        }
        Terminating { host, key: None }
    }

    /// Whether somebody has asked the coroutine to end.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.host.control().flags().has(Flags::TERMINATING)
    }

    fn waiting(&self) -> &Mutex<Waiting> {
        &self.host.control().extra().graceful.elsewhere
    }
}

impl Future for Terminating {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_requested() && !self.host.control().is_own(cx.waker()) {
            let mut waiting = lock(self.waiting());
            let key = self.key.unwrap_or_else(|| {
                waiting.next += 1;
                waiting.next
            });
            let previous = waiting.wakers.insert(key, cx.waker().clone());
            drop(waiting);
            drop(previous);
            self.key = Some(key);
            // Pairs with the fence in `terminate`: the flag is seen here, or the waker there.
            fence(Ordering::SeqCst);
        }
        if self.is_requested() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Terminating {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = lock(self.waiting()).wakers.remove(&key);
            drop(waker);
        }
    }
}

impl Clone for Terminating {
    fn clone(&self) -> Self {
        Terminating {
            host: Arc::clone(&self.host),
            key: None,
        }
    }
}

impl fmt::Debug for Terminating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminating")
            .field("requested", &self.is_requested())
            .finish_non_exhaustive()
    }
}

/// [`Address::terminate`](crate::Address::terminate).
pub(crate) fn terminate(host: Arc<dyn Host>) {
    let control = host.control();
    let before = control.set(Flags::TERMINATING);
    if before.has(Flags::TERMINATING.and(Flags::ENDED)) {
        return;
    }
    let graceful = control.existing_extra().map(|extra| &extra.graceful);
    let runtime = graceful.and_then(|graceful| graceful.runtime.get());
    let (Some(graceful), Some(runtime), true) =
        (graceful, runtime, control.flags().has(Flags::GRACEFUL))
    else {
        kill(&*host);
        return;
    };
    fence(Ordering::SeqCst);
    let elsewhere = std::mem::take(&mut lock(&graceful.elsewhere).wakers);
    for waker in elsewhere.into_values() {
        waker.wake();
    }
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
