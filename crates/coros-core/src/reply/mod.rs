//! The right to answer one question.
//!
//! A reply that is written into a message to another node is *lent*: an inlet takes its place
//! here, the other node has the right to use that once, and whatever becomes of the message, of
//! the coroutine that it is for, or of the link, the inlet is answered or let go. A reply that is
//! passed on to a third node is lent in the same way, so an answer goes back the way the question
//! came, each node on it answers for the next, and none has to know of more than its neighbours.

mod answer;
mod error;
mod inlet;
mod lent;
mod right;

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::inlet::ReplyInlet;
use self::right::{Question, RemoteRight, Right};
use crate::mailbox::oneshot;
use crate::primitives::{Mutex, lock};
use crate::remote::{self, BoxFuture, Imported, Message, RemoteId};
use crate::schema;

pub use answer::{Answer, answer, give_up, given_up, question};
pub use error::AskError;

/// The right to answer one question: part of a message sent with
/// [`Address::ask`](crate::Address::ask), sent onward as one likes, also to another node. An
/// answer from there comes back by way of each node that passed the question on.
///
/// Dropping it unused, anywhere, tells whoever asks that there will be no answer; so does the loss
/// of the message it is in, of its coroutine, or of a link on the way.
#[must_use = "whoever asks waits for the answer"]
pub struct Reply<T> {
    /// Locked only to write the reply into a message, which serde does by shared reference.
    way: Mutex<Way<T>>,
}

enum Way<T> {
    /// The right to answer has been used.
    Used,
    Mine(Right<T>),
    /// Written into a message to another node: whoever reads it there has the right now, unless
    /// the message has come back.
    Lent(Arc<ReplyInlet<T>>),
}

impl<T: Send + 'static> Reply<T> {
    /// A reply, and the answer to come.
    #[inline]
    pub(crate) fn new() -> (Self, oneshot::Receiver<T>) {
        let (sender, answer) = oneshot::channel();
        (Reply::from_way(Way::Mine(Right::Here(sender))), answer)
    }

    /// Answers. Whoever asked may have stopped waiting; then the answer is dropped.
    ///
    /// Never waits. An answer to another node for which there is no room now goes as soon as there
    /// is, in a task of its own. When it cannot be sent, because it is longer than the 16 MiB that
    /// may travel in one message, its `Serialize` fails, or as much waits for that node as may
    /// (256 MiB, of all answers and messages of channels), a warning is logged, and whoever asks gets [`AskError::NoReply`].
    pub fn send(mut self, answer: T) {
        match self.take() {
            Way::Used => {}
            Way::Mine(right) => right.answer(answer),
            Way::Lent(inlet) => inlet.finish(Some(answer)),
        }
    }

    /// Resolves when nobody on another node waits for the answer any more; never, if whoever asks
    /// is here. It has to be polled to notice, and asked for where the question is read.
    pub(crate) fn given_up(&self) -> BoxFuture<()> {
        match &*lock(&self.way) {
            Way::Mine(Right::Elsewhere(remote)) => remote.question.over(),
            _ => Box::pin(std::future::pending()),
        }
    }

    /// Nobody waits for the answer any more: the node that has been lent the right need not keep
    /// it.
    pub(crate) fn give_up(&mut self) {
        if let Way::Lent(inlet) = self.take() {
            inlet.finish(None);
        }
    }

    /// Whether nobody waits for the answer any more. Unknown, hence false, across nodes.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(&*lock(&self.way), Way::Mine(right) if right.is_closed())
    }
}

impl<T> Reply<T> {
    fn from_way(way: Way<T>) -> Self {
        Reply {
            way: Mutex::new(way),
        }
    }

    /// The right to answer, without locking: nobody else can have the reply now.
    #[inline]
    fn take(&mut self) -> Way<T> {
        let way = self
            .way
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::replace(way, Way::Used)
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

impl<T: Message> Serialize for Reply<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let exchange = remote::require_exchange().map_err(S::Error::custom)?;
        let mut way = lock(&self.way);
        let (inlet, new) = match std::mem::replace(&mut *way, Way::Used) {
            Way::Mine(right) => (Arc::new(ReplyInlet::new(right)), true),
            Way::Lent(inlet) => (inlet, false),
            Way::Used => return Err(S::Error::custom("the reply has been used")),
        };
        *way = Way::Lent(Arc::clone(&inlet));
        drop(way);
        if new {
            lent::note(&inlet);
        }
        exchange.export(inlet).serialize(serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for Reply<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if schema::tracing() {
            schema::lent::<T, D>("Reply", deserializer)?;
            return Ok(Reply::from_way(Way::Used));
        }
        let id = RemoteId::deserialize(deserializer)?;
        let exchange = remote::require_exchange().map_err(D::Error::custom)?;
        let right = match exchange.import_reply(&id) {
            Imported::Remote(carrier) => Some(Right::Elsewhere(Box::new(RemoteRight {
                question: Question::new(id, carrier),
                encode: remote::encode::<T>,
            }))),
            Imported::Local(inlet) => ReplyInlet::come_home(inlet)?,
            Imported::Gone => None,
        };
        Ok(Reply::from_way(right.map_or(Way::Used, Way::Mine)))
    }
}
