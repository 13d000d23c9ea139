//! What `chat_chan_server` and `chat_chan_client` agree on.

use coros::net::NodeId;
use serde::{Deserialize, Serialize};

/// The name of the channel.
pub(crate) const ROOM: &str = "chat room";

/// The longest line in bytes.
#[allow(dead_code, reason = "only the server refuses longer ones")]
pub(crate) const LONGEST: usize = 64 * 1024;

/// What somebody says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    /// The node from which it is said: two may have the same name.
    pub(crate) node: NodeId,
    pub(crate) from: String,
    pub(crate) text: String,
}
