//! Questions that a networking layer asks on its own account, and answers that have to arrive.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::right::Right;
use super::{Reply, Way};
use crate::mailbox::oneshot;
use crate::remote::{BoxFuture, CarryError, CodecError, Message};

/// The right to answer a question, and the answer to come.
pub fn question<T: Send + 'static>() -> (Reply<T>, Answer<T>) {
    let (reply, answer) = Reply::new();
    (reply, Answer(answer))
}

/// The answer to a question: `None` when there will be none, because the [`Reply`] was dropped, or
/// the link to whoever has it was lost.
#[must_use = "futures do nothing unless polled"]
pub struct Answer<T>(oneshot::Receiver<T>);

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(cx).map(Result::ok)
    }
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

/// Resolves when nobody on another node waits for the answer any more, or the session with it is
/// over; never, if whoever asks is here. To be called where the message is read that the question
/// came in.
pub fn given_up<T: Send + 'static>(reply: &Reply<T>) -> BoxFuture<()> {
    reply.given_up()
}

/// Nobody waits any more for the answer to a question that has been written into a message: whoever
/// could answer is told so.
pub fn give_up<T: Send + 'static>(mut reply: Reply<T>) {
    reply.give_up();
}

/// Answers, and resolves when the answer is with whoever asks, or the link there is lost. Waits
/// for room on the link, where [`Reply::send`] does not. For an answer that cannot travel, because
/// it is too long or its `Serialize` fails, `instead` makes another.
///
/// # Errors
/// When whoever asks, on another node, does not get the answer: `Closed` when it no longer waits
/// there, `Disconnected`, …
pub async fn answer<T: Message>(
    mut reply: Reply<T>,
    answer: T,
    instead: impl FnOnce(CodecError) -> T,
) -> Result<(), CarryError> {
    match reply.take() {
        Way::Used => return Err(CarryError::Closed),
        Way::Lent(inlet) => inlet.finish(Some(answer)),
        Way::Mine(here @ Right::Here(_)) => here.answer(answer),
        Way::Mine(Right::Elsewhere(mut remote)) => match remote.deliver(answer).await {
            Err(CarryError::Codec(why)) => remote.deliver(instead(why)).await?,
            delivered => delivered?,
        },
    }
    Ok(())
}
