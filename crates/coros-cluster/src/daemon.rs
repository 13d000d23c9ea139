//! The daemon of a node: whose programs run on this machine, and on how much of it.
//!
//! Several clients may want one machine. Who gets how much of it is decided in [`leases`].

#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the coroutine around it is being written")
)]
mod leases;
