//! What most programs use: `use coros::prelude::*;`.

pub use coros_core::remote::Message;
pub use coros_core::{Address, Context, Coro, Exit, Reply, spawn};

#[cfg(feature = "net")]
pub use coros_net::Node;

#[cfg(feature = "cluster")]
pub use coros_cluster::{Call, Job, JobError, Scheduler};
