//! The right to answer one question.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Exit;
use crate::control::next_id;
use crate::mailbox::oneshot;
use crate::primitives::{Mutex, lock};
use crate::remote::{
    self, BoxFuture, Carrier, CarryError, CodecError, Imported, Inlet, Message, OnExit, RemoteId,
    Request,
};
use crate::send::SendError;
use crate::trip::Ticket;

/// The right to answer one question: part of a message sent with
/// [`Address::ask`](crate::Address::ask), sent onward as one likes, also to another node.
///
/// Dropping it unused tells whoever asks that there will be no answer.
#[must_use = "whoever asks waits for the answer"]
pub struct Reply<T> {
    /// Locked only to write the reply into a message, which serde does by shared reference.
    way: Mutex<Way<T>>,
}

enum Way<T> {
    /// The right to answer has been used.
    Used,
    Local(oneshot::Sender<T>),
    /// Written into a message to another node: whoever reads it there has the right now.
    Lent(Arc<ReplyInlet<T>>),
    /// Lent, and come home in another message.
    Returned(Arc<ReplyInlet<T>>),
    /// Boxed, because a reply is part of messages that hardly ever come from another node.
    Remote(Box<RemoteReply<T>>),
}

struct RemoteReply<T> {
    id: RemoteId,
    carrier: Arc<dyn Carrier>,
    encode: fn(&T, &mut Vec<u8>) -> Result<(), CodecError>,
    /// Of the message into which it was last written: whoever reads it there has the right, unless
    /// the message comes back.
    passed_on: Option<Ticket>,
}

impl<T: Send + 'static> Reply<T> {
    /// A reply, and the answer to come.
    #[inline]
    pub(crate) fn new() -> (Self, oneshot::Receiver<T>) {
        let (sender, answer) = oneshot::channel();
        let reply = Reply {
            way: Mutex::new(Way::Local(sender)),
        };
        (reply, answer)
    }

    /// Answers. Whoever asked may have stopped waiting; then the answer is dropped.
    pub fn send(mut self, answer: T) {
        match self.take() {
            Way::Used => {}
            Way::Local(sender) => drop(sender.send(answer)),
            Way::Lent(inlet) | Way::Returned(inlet) => inlet.finish(Some(answer)),
            Way::Remote(remote) => {
                let encode = &mut |buffer: &mut Vec<u8>| (remote.encode)(&answer, buffer);
                if let Err(error) = remote.carrier.send(&remote.id, encode) {
                    tracing::warn!("a reply to {} was lost: {error}", remote.id.location);
                    remote.refuse();
                }
            }
        }
    }

    /// Whether nobody waits for the answer any more. Unknown, hence false, across nodes.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(&*lock(&self.way), Way::Local(sender) if sender.is_closed())
    }
}

impl<T> Reply<T> {
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

impl<T> RemoteReply<T> {
    /// Whether the right to answer has not gone to somebody else.
    fn is_mine(&self) -> bool {
        self.passed_on.as_ref().is_none_or(Ticket::came_back)
    }

    /// Tells the asking node that there will be no answer.
    fn refuse(&self) {
        self.carrier.request(&self.id, Request::Terminate);
    }
}

impl<T> Drop for Reply<T> {
    #[inline]
    fn drop(&mut self) {
        match self.take() {
            Way::Remote(remote) if remote.is_mine() => remote.refuse(),
            Way::Returned(inlet) => inlet.finish(None),
            Way::Used | Way::Local(_) | Way::Lent(_) | Way::Remote(_) => {}
        }
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
        let inlet = match std::mem::replace(&mut *way, Way::Used) {
            Way::Local(sender) => Arc::new(ReplyInlet::new(sender)),
            Way::Lent(inlet) | Way::Returned(inlet) => inlet,
            Way::Remote(mut remote) => {
                let id = remote.id.clone();
                remote.passed_on = Some(Ticket::take());
                *way = Way::Remote(remote);
                return id.serialize(serializer);
            }
            Way::Used => return Err(S::Error::custom("the reply has been used")),
        };
        *way = Way::Lent(Arc::clone(&inlet));
        drop(way);
        exchange.export(inlet).serialize(serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for Reply<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = RemoteId::deserialize(deserializer)?;
        let exchange = remote::require_exchange().map_err(D::Error::custom)?;
        let way = match exchange.import(&id) {
            Imported::Remote(carrier) => Way::Remote(Box::new(RemoteReply {
                id,
                carrier,
                encode: remote::encode::<T>,
                passed_on: None,
            })),
            Imported::Local(inlet) => match inlet.as_any().downcast::<ReplyInlet<T>>() {
                Ok(inlet) => Way::Returned(inlet),
                Err(_) => {
                    let type_name = std::any::type_name::<T>();
                    return Err(D::Error::custom(format_args!(
                        "no {type_name} is awaited there"
                    )));
                }
            },
            Imported::Gone => Way::Used,
        };
        Ok(Reply {
            way: Mutex::new(way),
        })
    }
}

/// Where another node's answer comes in. Ends after one message.
struct ReplyInlet<T> {
    id: u64,
    state: Mutex<ReplyState<T>>,
}

struct ReplyState<T> {
    sender: Option<oneshot::Sender<T>>,
    watchers: Vec<OnExit>,
}

impl<T> ReplyInlet<T> {
    fn new(sender: oneshot::Sender<T>) -> Self {
        let state = ReplyState {
            sender: Some(sender),
            watchers: Vec::new(),
        };
        ReplyInlet {
            id: next_id(),
            state: Mutex::new(state),
        }
    }

    /// Answers, or ends without an answer. Only the first call counts.
    fn finish(&self, answer: Option<T>) {
        let (sender, watchers) = {
            let mut state = lock(&self.state);
            (state.sender.take(), std::mem::take(&mut state.watchers))
        };
        let exit = if answer.is_some() {
            Exit::Finished
        } else {
            Exit::Terminated
        };
        if let (Some(sender), Some(answer)) = (sender, answer) {
            let _ = sender.send(answer);
        }
        for watcher in watchers {
            watcher(exit.clone());
        }
    }
}

impl<T: Message> Inlet for ReplyInlet<T> {
    fn id(&self) -> u64 {
        self.id
    }

    fn receive(&self, payload: &[u8]) -> Result<(), CarryError> {
        if lock(&self.state).sender.is_none() {
            return Err(CarryError::Closed);
        }
        // An answer that cannot be read is no answer: whoever asks must not wait on.
        let (answer, result) = match remote::decode(payload) {
            Ok(answer) => (Some(answer), Ok(())),
            Err(error) => (None, Err(CarryError::Codec(error))),
        };
        self.finish(answer);
        result
    }

    fn deliver(&self, payload: &[u8]) -> BoxFuture<Result<(), CarryError>> {
        let received = self.receive(payload);
        Box::pin(async move { received })
    }

    fn watch(&self, on_exit: OnExit) {
        let mut state = lock(&self.state);
        if state.sender.is_some() {
            state.watchers.push(on_exit);
        } else {
            drop(state);
            on_exit(Exit::Finished);
        }
    }

    fn request(&self, request: Request) {
        if request == Request::Terminate {
            self.finish(None);
        }
    }

    fn undelivered(&self) {
        self.finish(None);
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}

/// Why a question got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The coroutine has ended.
    #[error("the coroutine has ended")]
    Closed,
    /// Its bounded mailbox is full.
    #[error("the coroutine's mailbox is full")]
    Full,
    /// The coroutine dropped the [`Reply`]: it does not answer, has ended, or the link to its
    /// node was lost.
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
    pub(crate) fn from_send<M>(error: SendError<M>) -> Self {
        match error {
            SendError::Full(_) => AskError::Full,
            SendError::Closed(_) => AskError::Closed,
            SendError::Disconnected(_, why) => AskError::Disconnected(why.into()),
            SendError::Codec(_, why) => AskError::Codec(*why),
        }
    }
}
