//! A whole program: what `#[coros::main]` runs.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::{introspect, terminate};

/// How a program ended: see [`run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself: the main function returned, and every coroutine that is no daemon has ended.
    ByItself,
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

/// Runs `main` in `runtime`, then waits until every coroutine of the process that is not a daemon
/// has ended.
///
/// Ctrl-C ends this early: every coroutine that asked for it by
/// [`Context::terminating`](crate::Context::terminating) has its grace period to clean up, and
/// everything else is dropped at the await point where it is. A second Ctrl-C does not wait.
///
/// The runtime is shut down at the end; threads that compute are not waited for.
/// `None` instead of the result when Ctrl-C came before `main` had returned.
///
/// ```
/// let runtime = tokio::runtime::Runtime::new().unwrap();
/// let (result, ended) = coros_core::runtime::run(runtime, async {
///     coros_core::spawn(async |me: coros_core::Context<()>| {
///         me.sleep(std::time::Duration::from_millis(1)).await;
///     });
///     7
/// });
/// assert_eq!((result, coros_core::live()), (Some(7), 0));
/// # assert_eq!(ended, coros_core::runtime::Ended::ByItself);
/// ```
pub fn run<R>(runtime: Runtime, main: impl Future<Output = R>) -> (Option<R>, Ended) {
    let outcome = runtime.block_on(async {
        let mut main = pin!(main);
        let mut interrupted = pin!(interrupted());
        let result = tokio::select! {
            result = &mut main => result,
            () = &mut interrupted => {
                clean_up_unless_interrupted().await;
                return (None, Ended::Interrupted);
            }
        };
        tokio::select! {
            () = introspect::none_left() => {
                // Daemons that asked for it clean up as well.
                clean_up_unless_interrupted().await;
                (Some(result), Ended::ByItself)
            }
            () = &mut interrupted => {
                clean_up_unless_interrupted().await;
                (Some(result), Ended::Interrupted)
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

/// Resolves at Ctrl-C; never where signals cannot be had.
async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        report(&error);
        std::future::pending::<()>().await;
    }
}

fn report(error: &io::Error) {
    tracing::warn!("Ctrl-C will end the program at once, since it cannot be caught: {error}");
}

/// At most until the next Ctrl-C.
async fn clean_up_unless_interrupted() {
    tokio::select! {
        () = clean_up() => {}
        () = interrupted() => {}
    }
}

/// Terminates all coroutines of the process that asked for it by
/// [`Context::terminating`](crate::Context::terminating), and waits until they have ended: at most for the
/// longest of their grace periods. For programs that end in another way than by [`run`].
///
/// Cancel safe: once polled, they are terminated.
pub async fn clean_up() {
    let hosts = introspect::graceful_hosts();
    let ends = hosts.into_iter().map(|host| {
        let (tell, ended) = tokio::sync::oneshot::channel();
        host.control().watch(Box::new(move |_| {
            let _ = tell.send(());
        }));
        terminate::terminate(host);
        ended
    });
    let ends: Vec<_> = ends.collect();
    for end in ends {
        let _ = end.await;
    }
}
