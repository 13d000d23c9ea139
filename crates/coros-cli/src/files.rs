//! `coros send` and `coros receive`: files from one machine to another.

mod progress;
mod receive;
mod report;
mod send;

use std::process::ExitCode;

use crate::USAGE;
use crate::flags::files::{ReceiveFlags, SendFlags};
use crate::terminal::{say, status};

/// Does what `coros send` was asked for and gives the exit status.
pub(crate) async fn send(flags: SendFlags) -> ExitCode {
    match send::named(&flags) {
        Ok(files) => status("send", send::run(&flags, files).await),
        Err(error) => {
            say(&format!("coros send: {error}"));
            ExitCode::from(USAGE)
        }
    }
}

/// Does what `coros receive` was asked for and gives the exit status.
pub(crate) async fn receive(flags: ReceiveFlags) -> ExitCode {
    match receive::run(flags).await {
        Ok(ended) => ended,
        Err(error) => status("receive", Err(error)),
    }
}
