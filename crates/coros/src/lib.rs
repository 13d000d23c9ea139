#![doc = include_str!("crate.md")]

pub use coros_core::remote::Message;
pub use coros_core::*;

/// Nodes, encrypted links, remote addresses: the crate `coros-net`.
#[cfg(feature = "net")]
pub use coros_net as net;

/// Schedulers, workers, jobs: the crate `coros-cluster`.
#[cfg(feature = "cluster")]
pub use coros_cluster as cluster;

#[cfg(feature = "cluster")]
pub use coros_cluster::{Call, Job, JobError, Scheduler};

#[cfg(feature = "net")]
pub use coros_net::Node;

#[doc = include_str!("main.md")]
#[cfg(feature = "macros")]
pub use coros_macros::main;

#[doc = include_str!("remote.md")]
#[cfg(all(feature = "macros", feature = "cluster"))]
pub use coros_macros::remote;

pub mod prelude;

/// The sample in there is compiled and run like those in here.
#[cfg(all(doctest, feature = "macros"))]
#[doc = include_str!("../../../README.md")]
mod readme {}

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
