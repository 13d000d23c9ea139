//! A command that runs, with all that it starts: a program with a [guard](crate::guard).
//!
//! Starting a guard costs more than most commands, so those that are free wait for the next ones.

use std::io;
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard};

use tokio_util::task::TaskTracker;

use crate::guard::{Guard, Guarded, Piped, Pipes, Program};
use crate::lock::lock;

/// So many guards wait at most: those of a worker count among the processes that it may have. There were as many more as
/// commands ran at a time.
const FREE: usize = 8;

static GUARDS: Mutex<Vec<Guard>> = Mutex::new(Vec::new());

tokio::task_local! {
    /// What ends commands that a call has dropped.
    static ENDING: TaskTracker;
}

/// One that runs. When this is dropped, it is killed.
pub(super) struct Group(Option<Guarded>);

impl Group {
    /// Starts one. Not cancel safe: it is killed.
    pub(super) async fn start(program: &Program, piped: Piped) -> io::Result<(Self, Pipes)> {
        let free = guards().pop();
        // It may have been killed meanwhile.
        let guard = match free.and_then(Guard::if_there) {
            Some(guard) => guard,
            None => Guard::start()?,
        };
        let (guarded, pipes) = guard.run(program, piped).await?;
        Ok((Group(Some(guarded)), pipes))
    }

    fn guarded(&mut self) -> &mut Guarded {
        self.0.as_mut().expect("it has not ended")
    }

    /// The number of its process.
    pub(super) fn pid(&mut self) -> u32 {
        self.guarded().pid
    }

    /// As of [`Guarded::wait`].
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.guarded().wait().await
    }

    /// Ends what is left of it, and waits for that.
    pub(super) async fn end(mut self) {
        if let Some(guarded) = self.0.take() {
            end(guarded).await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(guarded) = self.0.take() {
            let _ = ENDING.try_with(|ending| ending.spawn(end(guarded)));
        }
    }
}

async fn end(guarded: Guarded) {
    if let Some(guard) = guarded.end().await
        && let mut free = guards()
        && free.len() < FREE
    {
        free.push(guard);
    }
}

/// Runs a call to its end, or until it drops what it does, and waits until nothing is left of commands that it has
/// dropped: at most for [`GONE_WITHIN`](crate::guard::GONE_WITHIN). Says so if there are any.
pub(crate) async fn settled<T>(call: impl Future<Output = T>, settles: impl FnOnce()) -> T {
    let ending = TaskTracker::new();
    ending.close();
    let ended = ENDING.scope(ending.clone(), call).await;
    if !ending.is_empty() {
        settles();
        ending.wait().await;
    }
    ended
}

fn guards() -> MutexGuard<'static, Vec<Guard>> {
    lock(&GUARDS)
}
