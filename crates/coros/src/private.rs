//! What the macros' expansions name. No part of the API.

use std::future::Future;
use std::io::Write as _;

use coros_core::runtime::{self, Ended};
use tokio::runtime::Builder;

pub use coros_core::remote::BoxFuture;

#[cfg(feature = "cluster")]
pub use coros_cluster::function::{
    FUNCTIONS, Fallible, Function, Invocation, Remote, call, coroutine, fallible, infallible,
    must_travel,
};
#[cfg(feature = "cluster")]
pub use linkme;

/// What a shell reports for a program that Ctrl-C has ended: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// The options of `#[coros::main]`.
#[derive(Clone, Copy, Debug)]
pub struct Main {
    /// Which runtime.
    pub flavor: Flavor,
    /// How many threads, when told.
    pub worker_threads: Option<usize>,
}

/// The kinds of runtime.
#[derive(Clone, Copy, Debug)]
pub enum Flavor {
    /// One thread for each core, or as told.
    MultiThread,
    /// The main thread alone.
    CurrentThread,
}

/// Runs a program's main function; or a worker, when this process was started as one.
pub fn main<F, R>(options: Main, main: F) -> R
where
    F: Future<Output = R>,
{
    #[cfg(feature = "cluster")]
    coros_cluster::worker::enter();

    // What of two nodes that cannot talk only the log would say.
    #[cfg(feature = "net")]
    let printing = std::env::var_os("COROS_LOG")
        .is_none_or(|log| log != "off")
        .then(coros_net::print_unheard);

    let mut builder = match options.flavor {
        Flavor::MultiThread => Builder::new_multi_thread(),
        Flavor::CurrentThread => Builder::new_current_thread(),
    };
    if let Some(threads) = options.worker_threads {
        builder.worker_threads(threads);
    }
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Not `eprintln!`, which panics when standard error is closed.
            let _ = writeln!(std::io::stderr(), "cannot start the runtime: {error}");
            std::process::exit(1);
        }
    };
    let ended = runtime::run(runtime, main);
    // `exit` drops nothing.
    #[cfg(feature = "net")]
    drop(printing);
    match ended {
        (Some(result), Ended::ByItself) => result,
        _ => std::process::exit(INTERRUPTED),
    }
}
