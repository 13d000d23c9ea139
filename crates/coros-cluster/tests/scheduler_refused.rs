//! A scheduler cannot start in a program that does not enter.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

use coros_cluster::{Scheduler, StartError};

/// This test's `main` is the harness's.
#[tokio::test]
async fn a_program_without_an_entry_is_refused_before_anything_starts() {
    for scheduler in [Scheduler::local(), Scheduler::local().program("/bin/true")] {
        let error = scheduler.start().await.unwrap_err();
        assert!(matches!(error, StartError::NoEntry));
        assert!(error.to_string().contains("#[coros::main]"), "{error}");
    }
}
