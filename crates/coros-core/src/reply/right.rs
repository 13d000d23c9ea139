//! The right to answer a question, here or on the node where it was asked, while nobody else has
//! it.

use std::sync::Arc;

use crate::mailbox::oneshot;
use crate::remote::{Carrier, CarryError, CodecError, RemoteId, Request};

/// Dropped unused, it tells whoever asks that there will be no answer.
pub(super) enum Right<T> {
    /// Whoever asks is in this process.
    Here(oneshot::Sender<T>),
    /// Boxed, because a reply is part of messages that hardly ever come from another node.
    Elsewhere(Box<RemoteRight<T>>),
}

impl<T> Right<T> {
    pub(super) fn answer(self, answer: T) {
        match self {
            // Whoever asked may have stopped waiting.
            Right::Here(sender) => drop(sender.send(answer)),
            Right::Elsewhere(remote) => remote.answer(&answer),
        }
    }

    /// Whether nobody waits for the answer any more. Unknown, hence false, across nodes.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Right::Here(sender) if sender.is_closed())
    }
}

/// The right to answer a question of another node.
pub(super) struct RemoteRight<T> {
    pub(super) id: RemoteId,
    pub(super) carrier: Arc<dyn Carrier>,
    pub(super) encode: fn(&T, &mut Vec<u8>) -> Result<(), CodecError>,
    pub(super) answered: bool,
}

impl<T> RemoteRight<T> {
    fn answer(mut self, answer: &T) {
        let encode = &mut |buffer: &mut Vec<u8>| (self.encode)(answer, buffer);
        match self.carrier.answer(&self.id, encode) {
            Ok(()) => self.answered = true,
            Err(error) => {
                tracing::warn!("a reply to {} was lost: {error}", self.id.location);
            }
        }
    }

    /// Answers and waits until the answer has arrived. After an error the right is still there.
    pub(super) async fn deliver(&mut self, answer: T) -> Result<(), CarryError> {
        let delivery = {
            // Not kept while this waits: it has been written.
            let answer = answer;
            let encode = &mut |buffer: &mut Vec<u8>| (self.encode)(&answer, buffer);
            self.carrier.deliver(&self.id, encode)
        };
        delivery.await?;
        self.answered = true;
        Ok(())
    }
}

impl<T> Drop for RemoteRight<T> {
    fn drop(&mut self) {
        if !self.answered {
            self.carrier.request(&self.id, Request::Terminate);
        }
    }
}
