//! Computations that travel: the scheduler, its workers, and the functions that run in them.
//!
//! This layer of coros starts processes and gives them work. A function marked with
//! `#[coros::remote]` can be handed to a [`Scheduler`], which runs it in one of its *workers*: a
//! process of the same executable with a node of its own, linked to the client's by mutual TLS.
//! Arguments and results are ordinary messages, so an [`Address`](coros_core::Address) in them
//! works at the other end.
//!
//! | module | what it is |
//! |---|---|
//! | [`scheduler`] | the client's side: which call runs where, and the life of the workers |
//! | [`worker`] | the process that runs calls |
//! | [`daemon`] | what lends a machine to the programs of others |
//! | [`service`] | what runs the calls of many clients on such machines |
//! | [`function`] | functions by name |
//! | [`command`] | programs that need not know of coros |
//! | [`machine`] | what a node has, and whether a program runs there |
//! | [`placement`] | which nodes are used, and how much of each |
//!
//! The decisions are in plain state machines without sockets, clocks or tasks, under a thin shell
//! that is a coroutine.

mod blob;
mod blocking;
mod caught;
pub mod command;
mod computation;
mod content;
pub mod daemon;
#[cfg(target_os = "linux")]
mod descendants;
mod farewell;
mod feeder;
pub mod function;
mod guard;
mod hash;
mod isolation;
mod lock;
pub mod machine;
mod pack;
pub mod placement;
mod process;
mod protocol;
mod quota;
mod resources;
pub mod scheduler;
pub mod service;
mod size;
#[cfg(test)]
mod soon;
mod store;
#[cfg(test)]
mod strangers;
mod told;
pub mod worker;

pub use function::Call;
pub use resources::Resources;
pub use scheduler::{
    Arguments, CloseError, Completion, Event, Events, Job, JobError, Map, Scheduler,
    SchedulerBuilder, StartError, Target, Unordered,
};
