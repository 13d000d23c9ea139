//! Broadcast: a message sent to a channel goes to every coroutine that has subscribed.
//!
//! A channel is a list of addresses and of further channels, and a send is a walk over that list.
//! The list is shared and copied on write: a send takes a reference to it under a short lock and
//! then works without any lock, so senders do not wait for each other, no code of the user ever
//! runs under a lock, and a send allocates nothing, however many subscribers there are. Only a
//! subscription that comes while a send is under way has to copy the list.
//!
//! A subscriber that has ended is noticed when it is next looked at (by a send, a delivery or a
//! count) and then let go.
//!
//! How a channel has subscribers on other nodes is in [`remote`].

mod broadcast;
mod count;
mod deliver;
mod error;
mod hierarchy;
mod life;
mod remote;
mod subscribe;
mod subscribers;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use indexmap::IndexMap;
use tokio::sync::Notify;

pub(crate) use self::remote::serde::{channel, channel_inlet};
pub use error::{ChannelError, SubscribeError};

use self::remote::Home;
use crate::address::Watch;
use crate::control::next_id;
use crate::primitives::{Mutex, lock};
use crate::remote::{NodeId, OnExit, RemoteId};
use broadcast::View;
use subscribe::Watched;
use subscribers::Subscribers;

type Transform<M> = Arc<dyn Fn(M) -> Option<M> + Send + Sync>;

/// Sends each message to all coroutines that have subscribed.
///
/// A channel is a cheap handle: its clones are the same channel. It has no task of its own; a
/// message is put into the subscribers' mailboxes by whoever sends it. The message is cloned for
/// all subscribers but one: put large payloads into an [`Arc`] or `Bytes`.
///
/// A channel can be part of a message to another node, as an [`Address`](crate::Address) can, and
/// works there the same. It stays where it was made, its home: there its
/// [transform](Self::set_transform) runs, and from there a message goes to each other node once,
/// however many subscribers it has there. What only the home can tell, a handle elsewhere
/// tells as far as it has been told; each method says what that means.
///
/// - **Subscribers** are coroutines, here or on other nodes, and channels. A channel that is
///   subscribed to another passes on what it gets; a cycle is refused. A coroutine that can be
///   reached by two ways gets a message twice, one for each way. Subscribing to the same channel
///   twice is subscribing once.
/// - **Order**: messages of one sender come to each subscriber in the order sent, also through
///   several channels. Messages of different senders may come to different subscribers in
///   different orders.
/// - **Lifetime**: a subscription holds an address, so a subscriber's
///   [`receive`](crate::Context::receive) does not return `None` while the channel exists. When
///   the channel is [closed](Self::close), or its last handle dropped, its subscribers are
///   released; on another node also when the session with the channel's home ends. A handle that
///   has gone to another node counts until the last is dropped there, or the session with that
///   node ends. (A coroutine that keeps a handle of a channel to which it has subscribed itself
///   keeps its own mailbox open.)
/// - **Room**: a subscriber's mailbox takes what comes through a channel as long as it has room, also
///   on other nodes: unlike with an [`Address`](crate::Address), what is under way is bounded only
///   until the subscriber's node has it. Give subscribers that may be slow a
///   [capacity](crate::Builder::capacity): they miss messages then, and hold up nobody.
/// - A subscriber that has **ended**, in whatever way, is not counted any more. Its address is
///   dropped by the next operation that comes across it: any send, delivery or count, and
///   subscriptions from time to time.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use coros_core::{Channel, Context};
///
/// let sum = async |mut me: Context<u32>| {
///     let mut sum = 0;
///     while let Some(n) = me.receive().await {
///         sum += n;
///     }
///     sum
/// };
/// let channel = Channel::new();
/// let (a, b) = (coros_core::spawn(sum), coros_core::spawn(sum));
/// channel.subscribe(&a).unwrap();
/// channel.subscribe(&b).unwrap();
///
/// assert_eq!(channel.send(20), Ok(2));
/// assert_eq!(channel.send(22), Ok(2));
/// channel.close();
/// assert_eq!((a.join().await, b.join().await), (Ok(42), Ok(42)));
/// # }
/// ```
pub struct Channel<M> {
    inner: Arc<Inner<M>>,
}

struct Inner<M> {
    id: u64,
    name: Option<Arc<str>>,
    /// Told of every new subscriber and of the end: deliveries that wait for more look again.
    changed: Arc<Notify>,
    /// Written under the lock of `state`.
    closed: AtomicBool,
    state: Mutex<State<M>>,
    /// Of a channel of another node: then this is the relay for its subscribers here.
    home: Option<Home<M>>,
}

struct State<M> {
    /// Whether the channel has ever been given a name to be found by.
    registered: bool,
    transform: Option<Transform<M>>,
    subscribers: Arc<Subscribers<M>>,
    /// So many addresses at which a subscription looks for those that have ended: twice as many
    /// as were alive last time, so that it costs constant time on average.
    look_at: usize,
    /// The subscribed coroutines of other nodes, and what takes back that their end is told, as
    /// soon as that is known.
    watched: IndexMap<Watched<M>, Option<Watch>>,
    afar: Afar,
}

/// What a channel keeps on behalf of other nodes.
#[derive(Default)]
struct Afar {
    /// Told of the end.
    watchers: Vec<OnExit>,
    /// The nodes of relays, each of them watched.
    watched: HashSet<NodeId>,
    /// For how many things that they have asked for nodes wait.
    turns: HashMap<Option<NodeId>, usize>,
    /// Whether a task tells relays how many subscribers there are.
    telling: bool,
    /// What takes back that the end of a subscribed coroutine of this node is told. `None` as long as
    /// no other node has to know how many there are.
    ends: Option<HashMap<u64, Watch>>,
}

impl<M> State<M> {
    fn view(&self) -> View<M> {
        View {
            transform: self.transform.clone(),
            subscribers: Arc::clone(&self.subscribers),
        }
    }
}

impl<M> Channel<M> {
    /// A channel without subscribers.
    #[must_use]
    pub fn new() -> Self {
        Self::make(next_id(), None, None)
    }

    /// A channel with a name for people: in errors, logs and `Display`. It need not be unique.
    #[must_use]
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self::make(next_id(), Some(name.into()), None)
    }

    /// The relay of a channel of another node.
    fn relay(home: Home<M>) -> Self {
        Self::make(home.id().coroutine, None, Some(home))
    }

    fn make(id: u64, name: Option<Arc<str>>, home: Option<Home<M>>) -> Self {
        let state = State {
            registered: false,
            transform: None,
            subscribers: Arc::default(),
            look_at: subscribers::LOOK_AT_LEAST,
            watched: IndexMap::new(),
            afar: Afar {
                ends: home.is_some().then(HashMap::new),
                ..Afar::default()
            },
        };
        Channel {
            inner: Arc::new(Inner {
                id,
                name,
                changed: Arc::default(),
                closed: AtomicBool::new(false),
                state: Mutex::new(state),
                home,
            }),
        }
    }

    /// The channel's number, unique within a run of its node.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// The name given by [`named`](Self::named). Unknown for a channel of another node.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.inner.name.as_deref()
    }

    /// Where the channel lives, if that is not in this process.
    #[must_use]
    pub fn remote_id(&self) -> Option<&RemoteId> {
        self.inner.home.as_ref().map(Home::id)
    }

    /// What a send needs, unless the channel is closed.
    fn view(&self) -> Option<View<M>> {
        let state = lock(&self.inner.state);
        (!self.is_closed()).then(|| state.view())
    }
}

impl<M: Clone + Send + 'static> Channel<M> {
    /// Sets what is done to each message before it goes out: it may be changed, or dropped by
    /// returning `None`. Replaces an earlier transform.
    ///
    /// It runs where the channel lives, and possibly in several threads at once: on the task of
    /// whoever sends there, and for messages from another node on the task that reads the link with
    /// it. So it must not block: nothing of that node would be read meanwhile, and in the end it
    /// would count as lost. When it panics,
    /// the panic is logged as an error, that message goes no further, and the channel works on:
    /// a sender should not end because of a channel that others have subscribed to its own.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use coros_core::{Channel, Context};
    ///
    /// let channel = Channel::new();
    /// channel.set_transform(|n: u32| (n % 2 == 0).then_some(n / 2));
    /// let coro = coros_core::spawn(async |mut me: Context<u32>| me.receive().await);
    /// channel.subscribe(&coro).unwrap();
    /// assert_eq!(channel.send(3), Ok(0));
    /// assert_eq!(channel.send(84), Ok(1));
    /// assert_eq!(coro.join().await, Ok(Some(42)));
    /// # }
    /// ```
    ///
    /// False, and nothing has been done but to log an error, for a channel of another node: it runs
    /// at home, and a function does not travel.
    pub fn set_transform(
        &self,
        transform: impl Fn(M) -> Option<M> + Send + Sync + 'static,
    ) -> bool {
        if self.inner.home.is_some() {
            tracing::error!(
                "channel {self} keeps its transform: it can only be set on the channel's own node"
            );
            return false;
        }
        let old = {
            let mut state = lock(&self.inner.state);
            state.transform.replace(Arc::new(transform))
        };
        drop(old);
        true
    }

    /// Lets messages through as they are again. False for a channel of another node.
    pub fn clear_transform(&self) -> bool {
        let old = lock(&self.inner.state).transform.take();
        drop(old);
        self.inner.home.is_none()
    }
}

impl<M> Default for Channel<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> Clone for Channel<M> {
    fn clone(&self) -> Self {
        Channel {
            inner: Arc::clone(&self.inner),
        }
    }
}

/// The same channel.
impl<M> PartialEq for Channel<M> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl<M> Eq for Channel<M> {}

impl<M> Hash for Channel<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

/// `name#12`, `#12`, or `#12@node@127.0.0.1:4000`.
impl<M> fmt::Display for Channel<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name().unwrap_or(""), self.id())?;
        match self.remote_id() {
            Some(id) => write!(f, "@{}", id.location),
            None => Ok(()),
        }
    }
}

impl<M> fmt::Debug for Channel<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, spawn};

    #[tokio::test]
    async fn subscriptions_alone_let_go_of_those_that_ended() {
        let channel = Channel::new();
        for _ in 0..1000 {
            let coro = spawn(async |mut me: Context<u32>| me.receive().await);
            channel.subscribe(&coro).unwrap();
            coro.terminate();
            coro.exit().await;
        }
        let kept = channel.view().unwrap().subscribers.addresses.len();
        assert!(kept <= subscribers::LOOK_AT_LEAST, "{kept} are kept");
    }
}
