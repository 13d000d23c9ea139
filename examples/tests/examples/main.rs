//! Runs each example as a process and checks what it prints.
//!
//! The examples are found beside this test, in `target/PROFILE/examples`: `cargo test` and
//! `cargo nextest run` build them before they build the tests. Every wait has a limit, after which
//! the process is killed and the test fails.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails should fail at the line that is wrong, in helpers too"
)]

mod channels;
mod chat;
mod coroutines;
mod files;
mod nodes;
#[cfg(unix)]
mod pipes;
mod program;
mod sockets;
mod webserver;
