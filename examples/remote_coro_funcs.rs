//! What `remote_coro_server` and `remote_coro_client` have in common: the types of the function
//! that one offers and the other starts.

use coros::Reply;
use serde::{Deserialize, Serialize};

/// The name under which the server offers its function.
pub(crate) const MEAN: &str = "mean";

/// What a coroutine that works out a mean is sent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Sample {
    Value(f64),
    /// What is the mean so far?
    SoFar(Reply<f64>),
    /// That was all.
    End,
}

/// What it returns.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) values: u64,
    pub(crate) mean: f64,
}
