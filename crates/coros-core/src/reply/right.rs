//! The right to answer a question, here or on the node where it was asked, while nobody else has
//! it.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::Exit;
use crate::mailbox::oneshot;
use crate::remote::{
    self, BoxFuture, Carrier, CarryError, CodecError, Encode, RemoteId, Request, Unwatch,
};
use crate::waiting;

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

    /// Tells whoever asks that nobody can answer, since the node that had the right is gone.
    pub(super) fn lose(self) {
        match self {
            Right::Here(sender) => sender.lose(),
            Right::Elsewhere(remote) => drop(remote),
        }
    }

    /// Whether nobody waits for the answer any more. Unknown, hence false, across nodes.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Right::Here(sender) if sender.is_closed())
    }
}

/// The right to answer a question of another node.
pub(super) struct RemoteRight<T> {
    pub(super) question: Question,
    pub(super) encode: fn(&T, &mut Vec<u8>) -> Result<(), CodecError>,
}

/// A question of another node. Dropped while it is open, it tells whoever asks that there will be
/// no answer.
pub(super) struct Question {
    id: RemoteId,
    carrier: Arc<dyn Carrier>,
    open: bool,
}

impl Question {
    pub(super) fn new(id: RemoteId, carrier: Arc<dyn Carrier>) -> Self {
        Question {
            id,
            carrier,
            open: true,
        }
    }

    /// Resolves when nobody waits for the answer any more, or the session there is over: the one
    /// in which a message is being read now, if the end of the question is not told.
    pub(super) fn over(&self) -> BoxFuture<()> {
        let (id, carrier) = (self.id.clone(), Arc::clone(&self.carrier));
        let session_over = remote::exchange().and_then(|exchange| exchange.session_over());
        Box::pin(async move {
            let (tell, told) = tokio::sync::oneshot::channel();
            let _watch = Watch(carrier.watch(&id, Box::new(move |exit| drop(tell.send(exit)))));
            if told.await == Ok(Exit::Unwatched) {
                session_over
                    .unwrap_or_else(|| Box::pin(std::future::pending()))
                    .await;
            }
        })
    }

    /// The answer goes when there is room. It is lost, with a word in the log, when too much waits
    /// for that node, which does not read the answers to what it asks.
    fn answer_later(self, encode: Encode<'_>) {
        let Ok(runtime) = Handle::try_current() else {
            return self.lost(&CarryError::Full);
        };
        let Some(mut waits) = waiting::take(self.id.location.node, waiting::MOST) else {
            return self.lost(&CarryError::Full);
        };
        let encode = &mut |buffer: &mut Vec<u8>| waits.encode(buffer, encode);
        let delivery = self.carrier.deliver(&self.id, encode);
        runtime.spawn(async move {
            let mut question = self;
            match delivery.await {
                // Closed: nobody asks any more.
                Ok(()) | Err(CarryError::Closed) => question.open = false,
                Err(error) => question.lost(&error),
            }
            drop(waits);
        });
    }

    fn lost(&self, error: &CarryError) {
        tracing::warn!("a reply to {} was lost: {error}", self.id.location);
    }
}

/// Takes the watcher back when whoever waits stops waiting.
struct Watch(Option<Unwatch>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(unwatch) = self.0.take() {
            unwatch();
        }
    }
}

impl<T> RemoteRight<T> {
    fn answer(self, answer: &T) {
        let RemoteRight {
            mut question,
            encode,
        } = self;
        let encode = &mut |buffer: &mut Vec<u8>| encode(answer, buffer);
        match question.carrier.answer(&question.id, &mut *encode) {
            Ok(()) => question.open = false,
            Err(CarryError::Full) => question.answer_later(encode),
            Err(error) => question.lost(&error),
        }
    }

    /// Answers and waits until the answer has arrived. After an error the right is still there.
    pub(super) async fn deliver(&mut self, answer: T) -> Result<(), CarryError> {
        let delivery = {
            // Not kept while this waits: it has been written.
            let answer = answer;
            let encode = &mut |buffer: &mut Vec<u8>| (self.encode)(&answer, buffer);
            self.question.carrier.deliver(&self.question.id, encode)
        };
        delivery.await?;
        self.question.open = false;
        Ok(())
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if self.open {
            self.carrier.request(&self.id, Request::Terminate);
        }
    }
}
