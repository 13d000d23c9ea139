//! A command that runs, with all that it starts: a program with a [guard](crate::guard).
//!
//! Starting a guard costs more than most commands, so those that are free wait for the next ones.

use std::io;
use std::sync::{Mutex, MutexGuard};

use crate::guard::{Guard, Guarded, Piped, Pipes, Program};
use crate::lock::lock;

/// So many guards wait at most: those of a worker count among the processes that it may have. There were as many more as
/// commands ran at a time.
const FREE: usize = 8;

static GUARDS: Mutex<Vec<Guard>> = Mutex::new(Vec::new());

/// Starts one. Not cancel safe: it is killed.
pub(super) async fn start(program: &Program, piped: Piped) -> io::Result<(Guarded, Pipes)> {
    let free = guards().pop();
    // It may have been killed meanwhile.
    let guard = match free.and_then(Guard::if_there) {
        Some(guard) => guard,
        None => Guard::start()?,
    };
    guard.run(program, piped).await
}

/// Ends what is left of one, and waits for that.
pub(super) async fn end(command: Guarded) {
    if let Some(guard) = command.end().await
        && let mut free = guards()
        && free.len() < FREE
    {
        free.push(guard);
    }
}

fn guards() -> MutexGuard<'static, Vec<Guard>> {
    lock(&GUARDS)
}
