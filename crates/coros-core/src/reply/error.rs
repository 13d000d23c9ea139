//! Why a question got no answer.

use std::time::Duration;

use crate::mailbox::oneshot::Refused;
use crate::remote::{CarryError, CodecError};
use crate::send::SendError;

/// Why a question got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The coroutine has ended.
    #[error("the coroutine has ended")]
    Closed,
    /// Its bounded mailbox has no room. Across nodes a question waits for room instead.
    #[error("no room in the coroutine's mailbox now: ask again later")]
    Full,
    /// The coroutine dropped the [`Reply`](crate::Reply): it does not answer, or has ended. Also
    /// when a node has passed the question on and lost it behind it, or when the answer could not
    /// be sent.
    #[error(
        "the coroutine dropped the question without a reply, or its answer could not be sent (then \
         the log of its node says why)"
    )]
    NoReply,
    /// No answer came in time.
    #[error("no reply within {0:?}")]
    TimedOut(Duration),
    /// There is no link to the coroutine's node, or the session with it ended before the answer
    /// came: nobody knows whether the question was read.
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

    /// Why there is no answer to a question that has been sent.
    pub(crate) fn unanswered(why: &Refused) -> Self {
        match why {
            Refused::Dropped => AskError::NoReply,
            Refused::Lost => AskError::Disconnected("the session ended before the answer".into()),
        }
    }

    pub(crate) fn from_send<M>(error: SendError<M>) -> Self {
        match error {
            SendError::Full(_) => AskError::Full,
            SendError::Closed(_) => AskError::Closed,
            SendError::Disconnected(_, why) => AskError::Disconnected(why.into()),
            SendError::Codec(_, why) => AskError::Codec(why),
            SendError::TimedOut(_, limit) => AskError::TimedOut(limit),
        }
    }
}
