//! Sends to one coroutine, in order, one message at a time: the next one when there is room for it.

use std::collections::VecDeque;

use coros_core::remote::{BoxFuture, Message};
use coros_core::{Address, SendError};

type Sending<M> = BoxFuture<Result<(), SendError<M>>>;

/// What is to be sent.
pub(crate) struct Feeder<M: Message> {
    to: Address<M>,
    waiting: VecDeque<M>,
    sending: Option<Sending<M>>,
}

impl<M: Message> Feeder<M> {
    pub(crate) fn new(to: Address<M>) -> Self {
        Feeder {
            to,
            waiting: VecDeque::new(),
            sending: None,
        }
    }

    /// Has a message sent after all those before it.
    pub(crate) fn push(&mut self, message: M) {
        self.waiting.push_back(message);
    }

    /// Whether all has been sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.sending.is_none()
    }

    /// Resolves when one message more has been sent; gives one that cannot be, because it is too large.
    /// Never resolves while there is none.
    ///
    /// Cancel safe: it goes on with the same message.
    pub(crate) async fn turn(&mut self) -> Option<M> {
        let sent = match &mut self.sending {
            Some(sending) => sending.await,
            None => match self.waiting.pop_front() {
                Some(message) => match self.to.send(message) {
                    Err(SendError::Full(message)) => {
                        let to = self.to.clone();
                        let sending = Box::pin(async move { to.feed(message).await });
                        self.sending.insert(sending).await
                    }
                    sent => sent,
                },
                None => std::future::pending().await,
            },
        };
        self.sending = None;
        match sent {
            Err(SendError::Codec(message, why)) => {
                tracing::debug!("a message cannot be sent: {why}");
                Some(message)
            }
            // Who cannot be reached is gone, and that is told otherwise.
            Ok(()) | Err(_) => None,
        }
    }
}
