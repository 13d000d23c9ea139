//! Why a question got no answer.

use std::time::Duration;

use crate::remote::{CarryError, CodecError};
use crate::send::SendError;

/// Why a question got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The coroutine has ended.
    #[error("the coroutine has ended")]
    Closed,
    /// Its bounded mailbox has no room, or as much waits for its node as may.
    #[error("{}", crate::remote::CarryError::Full)]
    Full,
    /// The coroutine dropped the [`Reply`](crate::Reply): it does not answer, has ended, or the
    /// link to its node was lost.
    #[error("the coroutine dropped the question without a reply")]
    NoReply,
    /// No answer came in time.
    #[error("no reply within {0:?}")]
    TimedOut(Duration),
    /// There is no link to the coroutine's node.
    #[error("no link to the coroutine's node: {0}")]
    Disconnected(String),
    /// The question cannot be encoded for another node.
    #[error("the question cannot travel: {0}")]
    Codec(CodecError),
}

impl AskError {
    pub(crate) fn from_carry(error: CarryError) -> Self {
        AskError::from_send(SendError::from_carry((), error))
    }

    pub(crate) fn from_send<M>(error: SendError<M>) -> Self {
        match error {
            SendError::Full(_) => AskError::Full,
            SendError::Closed(_) => AskError::Closed,
            SendError::Disconnected(_, why) => AskError::Disconnected(why.into()),
            SendError::Codec(_, why) => AskError::Codec(*why),
            SendError::TimedOut(_, limit) => AskError::TimedOut(limit),
        }
    }
}
