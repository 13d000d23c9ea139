//! Putting a message into a local mailbox, and why that may fail.

use std::fmt;
use std::time::Duration;

use crate::mailbox::{Mailbox, NoRoom};
use crate::remote::{CarryError, CodecError};

/// A message that did not get into a mailbox, with the reason; the message comes back.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<M> {
    /// The mailbox is bounded and has no room; or, for a coroutine of another node, as much is on
    /// its way to the coroutine as may be, or waits for its node. Only [`send`](crate::Address::send) fails
    /// so; [`feed`](crate::Address::feed) and [`deliver`](crate::Address::deliver) wait.
    Full(M),
    /// The coroutine has ended, or has dropped its context.
    Closed(M),
    /// There is no link to the coroutine's node, or it was lost before the answer came.
    // Boxed, as the next: the result of every send has room for the largest error.
    Disconnected(M, Box<str>),
    /// The message cannot be encoded for another node, or is longer than the 16 MiB that a
    /// message between nodes may have: send the path of a file, or pieces.
    Codec(M, CodecError),
    /// It was not in the mailbox within the time limit of
    /// [`deliver_timeout`](crate::Address::deliver_timeout). To a coroutine of another node it may
    /// be on its way.
    TimedOut(M, Duration),
}

impl<M> SendError<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            SendError::Full(message)
            | SendError::Closed(message)
            | SendError::Disconnected(message, _)
            | SendError::Codec(message, _)
            | SendError::TimedOut(message, _) => message,
        }
    }

    pub(crate) fn from_carry(message: M, error: CarryError) -> Self {
        match error {
            CarryError::Closed => SendError::Closed(message),
            CarryError::Full => SendError::Full(message),
            CarryError::Disconnected(why) => SendError::Disconnected(message, (*why).into()),
            CarryError::Codec(why) => SendError::Codec(message, why),
        }
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Full(_) => write!(f, "{}", CarryError::Full),
            SendError::Closed(_) => f.write_str("the coroutine has ended"),
            SendError::Disconnected(_, why) => {
                write!(f, "no link to the coroutine's node: {why}")
            }
            SendError::Codec(_, why) => write!(f, "the message cannot travel: {why}"),
            SendError::TimedOut(_, limit) => write!(f, "not in the mailbox within {limit:?}"),
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendError({self})")
    }
}

impl<M> std::error::Error for SendError<M> {}

#[inline]
pub(crate) fn send_local<M>(mailbox: &Mailbox<M>, message: M) -> Result<(), SendError<M>> {
    if mailbox.is_bounded()
        && let Some(bounds) = mailbox.control().bounds()
    {
        match bounds.try_enter() {
            Ok(()) => {}
            Err(NoRoom::Full) => return Err(SendError::Full(message)),
            Err(NoRoom::Closed) => return Err(SendError::Closed(message)),
        }
    }
    mailbox.push(message).map_err(SendError::Closed)
}

pub(crate) async fn deliver_local<M>(mailbox: &Mailbox<M>, message: M) -> Result<(), SendError<M>> {
    if let Some(bounds) = mailbox.control().bounds()
        && bounds.enter().await.is_err()
    {
        return Err(SendError::Closed(message));
    }
    mailbox.push(message).map_err(SendError::Closed)
}

/// [`deliver_local`] with a time limit, after which the message has not been sent.
pub(crate) async fn deliver_local_timeout<M>(
    mailbox: &Mailbox<M>,
    message: M,
    limit: Duration,
) -> Result<(), SendError<M>> {
    if let Some(bounds) = mailbox.control().bounds() {
        match tokio::time::timeout(limit, bounds.enter()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(SendError::Closed(message)),
            Err(_) => return Err(SendError::TimedOut(message, limit)),
        }
    }
    mailbox.push(message).map_err(SendError::Closed)
}
