//! What `tut_server` and `tut_client` have in common.

use coros::Reply;
use serde::{Deserialize, Serialize};

/// The name under which the server's coroutine is found.
pub(crate) const NAME: &str = "tut_server";

/// What it is sent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// A number, and whose it is.
    Add { client: u32, number: u64 },
    /// What is the sum of this client's numbers?
    Sum { client: u32, reply: Reply<u64> },
}
