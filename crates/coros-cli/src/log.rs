//! The program's log: `COROS_LOG` says what is in it.

use std::env::{self, VarError};
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error, and gives the filter, for the workers to have the same.
pub(crate) fn start() -> Result<String, String> {
    // Quiet unless asked: what a person needs to know, commands say themselves.
    let filter = match env::var("COROS_LOG") {
        Ok(filter) if !filter.trim().is_empty() => filter,
        Ok(_) | Err(VarError::NotPresent) => "error".to_owned(),
        Err(VarError::NotUnicode(_)) => return Err("COROS_LOG is not Unicode".to_owned()),
    };
    let parsed = EnvFilter::try_new(&filter).map_err(|error| {
        format!(
            "COROS_LOG={filter} makes no sense: {error}; write a level, such as debug, or levels \
             by part of the program, such as coros_net=trace,coros_cluster=debug"
        )
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_ansi(std::io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none())
        .with_writer(std::io::stderr)
        .init();
    Ok(filter)
}

/// Whether who could not be linked with is in the log, so that it need not be said again.
pub(crate) fn tells_of_peers() -> bool {
    tracing::enabled!(target: "coros_net::events", tracing::Level::WARN)
}
