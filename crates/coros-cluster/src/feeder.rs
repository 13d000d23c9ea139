//! Sends to one coroutine, in order, one message at a time: the next one when there is room for it. One that never
//! makes room is not waited for for ever.

use std::collections::VecDeque;
use std::time::Duration;

use coros_core::remote::{BoxFuture, Message};
use coros_core::{Address, SendError};

/// How long it may take until there is room for a message: on a slow link, long.
pub(crate) const LIMIT: Duration = Duration::from_secs(5 * 60);

type Sending<M> = BoxFuture<Result<(), Unsent<M>>>;

/// What became of a message that was not sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unsent<M> {
    /// It is too large.
    TooLarge(M),
    /// There was no room for it for too long. It is lost, and what comes after it would be heard without it.
    NoRoom,
}

/// That, in words.
pub(crate) const NO_ROOM: &str = "it has taken nothing of what it was told for 5 minutes";

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

    /// Resolves when one message more has been sent, or could not be. Never resolves while there is none.
    ///
    /// Cancel safe: it goes on with the same message.
    pub(crate) async fn turn(&mut self) -> Result<(), Unsent<M>> {
        let sent = match &mut self.sending {
            Some(sending) => sending.await,
            None => match self.waiting.pop_front() {
                Some(message) => match self.to.send(message) {
                    Err(SendError::Full(message)) => {
                        let to = self.to.clone();
                        let sending = Box::pin(feed(to, message));
                        self.sending.insert(sending).await
                    }
                    sent => outcome(sent),
                },
                None => std::future::pending().await,
            },
        };
        self.sending = None;
        sent
    }
}

async fn feed<M: Message>(to: Address<M>, message: M) -> Result<(), Unsent<M>> {
    let sent = tokio::time::timeout(LIMIT, to.feed(message)).await;
    sent.map_or(Err(Unsent::NoRoom), outcome)
}

fn outcome<M>(sent: Result<(), SendError<M>>) -> Result<(), Unsent<M>> {
    match sent {
        Err(SendError::Codec(message, why)) => {
            tracing::debug!("a message cannot be sent: {why}");
            Err(Unsent::TooLarge(message))
        }
        // Who cannot be reached is gone, and that is told otherwise.
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_makes_no_room_is_waited_for_for_a_while() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let slow =
            coros_core::build()
                .capacity(1)
                .spawn(async move |mut me: coros_core::Context<u32>| {
                    let _ = told.await;
                    while me.receive().await.is_some() {}
                });
        let mut feeder = Feeder::new(slow.address());
        for n in 0..3 {
            feeder.push(n);
        }
        assert_eq!(feeder.turn().await, Ok(()));
        let turn = tokio::time::timeout(LIMIT - Duration::from_secs(1), feeder.turn());
        assert!(turn.await.is_err());
        assert!(!feeder.is_idle());
        assert_eq!(feeder.turn().await, Err(Unsent::NoRoom));
        let _ = tell.send(());
        assert_eq!(feeder.turn().await, Ok(()));
        assert!(feeder.is_idle());
    }
}
