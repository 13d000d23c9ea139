//! Coroutines on one machine.

mod exit;
pub mod remote;

pub use exit::Exit;
