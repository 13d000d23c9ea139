//! Names by which coroutines are found from anywhere on the network.
//!
//! Every node has a registry of all names that there are ([`registry`]); nodes keep each other's up to
//! date by gossip ([`gossip`]), so [`locate`](Node::locate) looks into the own one and asks nobody.
//! What is found works at once, also when there has never been a link to its node: it opens at first use.
//!
//! Core has names too ([`coros_core::locate`]), within one process and for messages of any type. Those
//! here are given by a node, to what can travel.

mod error;
pub(crate) mod gossip;
mod launch;
mod named;
mod notice;
mod own;
mod question;
mod registry;
#[cfg(test)]
mod registry_tests;
mod waiting;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coros_core::remote::Location;
use coros_core::schema::Schema;
use tokio::sync::Notify;

pub use error::{LocateError, RegisterError, WrongType};
pub use named::Named;
pub(crate) use named::{Access, Handle, Unfit};
pub(crate) use notice::{check_type, type_name};

use crate::Node;
use crate::node::Inner;
use notice::Entry;
#[cfg(feature = "fuzzing")]
pub(crate) use notice::Notice;
use own::{Holder, Own};
use registry::{Limits, Registry};
use waiting::Waiting;

/// The longest name, in bytes.
pub(crate) const MAX_NAME: usize = 255;
/// How many names a node may have.
pub(crate) const MAX_NAMES: usize = 1 << 16;
/// What all the names that a node knows of may take, in bytes, with about half a KiB for each besides its text;
/// those of which only others than their node have told, half of that.
pub(crate) const MAX_BYTES: usize = 256 << 20;

impl Node {
    /// Gives a coroutine, a channel or a function of this node a name by which all nodes of the network
    /// find it.
    ///
    /// It keeps the name until [`unregister`](Node::unregister), until it has ended, or until the node
    /// closes. It may have several, and nodes may give the same name to different ones: then
    /// [`locate_all`](Node::locate_all) shows all. A name counts as an address: it keeps a mailbox
    /// open. It takes a moment until other nodes know it: those linked to this one as long
    /// as a message takes, others as long as several do, and whoever misses that a second or two.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use coros_core::{Address, Context};
    /// use coros_net::{Node, Secret};
    ///
    /// let secret = Secret::random();
    /// let desk = Node::builder().name("desk").secret(secret.clone()).build().await?;
    /// let farm = Node::builder().name("farm").secret(secret).build().await?;
    ///
    /// let adder = coros_core::spawn(async |mut me: Context<(u32, u32)>| {
    ///     me.receive().await.map(|(a, b)| a + b)
    /// });
    /// farm.register("adder", &adder.address())?;
    ///
    /// desk.connect(farm.location().endpoint.unwrap()).await?;
    /// let found: Address<(u32, u32)> = desk.locate("adder").await?;
    /// found.send((40, 2))?;
    /// assert_eq!(adder.join().await?, Some(42));
    /// # desk.close().await; farm.close().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`RegisterError`]: another one of this node has the name, … Nothing when the same one has it already.
    pub fn register<T: Named>(&self, name: impl AsRef<str>, what: &T) -> Result<(), RegisterError> {
        self.inner().register(&name.as_ref().into(), what)
    }

    /// Takes a name of this node back. False when there was none.
    pub fn unregister(&self, name: &str) -> bool {
        self.inner().unregister(name, |_| true)
    }

    /// Whoever is registered under a name on any node of the network; waits until there is somebody.
    ///
    /// When several have it: the one of this node if it has one, else the one whose node has the smallest
    /// launch id, so that all nodes that know of the same ones choose the same. One of
    /// another type counts only if there is none of the right type.
    ///
    /// # Errors
    /// [`LocateError::WrongType`] when somebody has it who does not take the messages of `T`,
    /// [`LocateError::Closed`] when this node closes.
    ///
    /// # Cancel safety
    /// Dropping the future is harmless.
    pub async fn locate<T: Named>(&self, name: &str) -> Result<T, LocateError> {
        let node = self.inner();
        let schema = named::schema::<T>();
        if let Some(found) = node.find(name, schema)? {
            return Ok(found);
        }
        let waiter = node.names.waiter(name);
        gossip::start(node);
        loop {
            // What appears from here on is noticed; what did before is found below.
            let mut appeared = std::pin::pin!(waiter.appeared());
            appeared.as_mut().enable();
            if let Some(found) = node.find(name, schema)? {
                return Ok(found);
            }
            appeared.await;
        }
    }

    /// [`locate`](Node::locate) with a time limit.
    ///
    /// # Errors
    /// As [`locate`](Node::locate), and [`LocateError::TimedOut`].
    ///
    /// # Cancel safety
    /// Dropping the future is harmless.
    pub async fn locate_timeout<T: Named>(
        &self,
        name: &str,
        limit: Duration,
    ) -> Result<T, LocateError> {
        match tokio::time::timeout(limit, self.locate(name)).await {
            Ok(found) => found,
            Err(_) => Err(LocateError::TimedOut {
                name: name.into(),
                limit,
            }),
        }
    }

    /// Whoever is registered under a name now, as far as this node knows.
    ///
    /// # Errors
    /// [`LocateError::NotFound`], and as [`locate`](Node::locate).
    pub fn try_locate<T: Named>(&self, name: &str) -> Result<T, LocateError> {
        let found = self.inner().find(name, named::schema::<T>())?;
        found.ok_or_else(|| LocateError::NotFound { name: name.into() })
    }

    /// All that are registered under a name now, as far as this node knows, each with the node it
    /// lives on; in the order of launch ids, after the one of this node. Those that are of another
    /// type come with the error that [`locate`](Node::locate) would give.
    #[must_use]
    pub fn locate_all<T: Named>(&self, name: &str) -> Vec<(Location, Result<T, LocateError>)> {
        self.inner().find_all(name, named::schema::<T>())
    }

    /// Whoever is registered under a name on one node: asks that node, whatever this one knows, and
    /// opens a link to it if there is none.
    ///
    /// # Errors
    /// [`LocateError::NotFound`], [`LocateError::WrongType`]; [`LocateError::NoAnswer`] when the
    /// node cannot be reached, or its link is lost before the answer.
    ///
    /// # Cancel safety
    /// Dropping the future is harmless.
    pub async fn locate_at<T: Named>(&self, node: &Location, name: &str) -> Result<T, LocateError> {
        self.inner().ask_for(node, name, named::schema::<T>()).await
    }
}

/// The names that one node knows of.
pub(crate) struct Names {
    state: Mutex<State>,
    /// Wakes the task that tells others of what has happened.
    news: Notify,
    /// Whether that task runs. It starts with the first name, wish for one, or word of either.
    gossips: AtomicBool,
}

struct State {
    registry: Registry,
    own: Own,
    waiting: Waiting,
    closed: bool,
}

impl Names {
    pub(crate) fn new(me: Location) -> Self {
        let state = State {
            registry: Registry::new(me, Limits::default()),
            own: Own::default(),
            waiting: Waiting::default(),
            closed: false,
        };
        Names {
            state: Mutex::new(state),
            news: Notify::new(),
            gossips: AtomicBool::new(false),
        }
    }

    /// The node has closed: whoever waits is told, and all names are gone.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let own = std::mem::take(&mut state.own);
        state.waiting.wake_all();
        drop(state);
        // The last address of a coroutine may be in there.
        drop(own);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gossips(&self) -> bool {
        self.gossips.load(Ordering::SeqCst)
    }

    fn is_first(&self) -> bool {
        !self.gossips.swap(true, Ordering::SeqCst)
    }
}

impl Inner {
    /// The best match.
    fn find<T: Named>(
        self: &Arc<Self>,
        name: &str,
        schema: Schema,
    ) -> Result<Option<T>, LocateError> {
        let mut wrong = None;
        let right = {
            let state = self.names.lock();
            if state.closed {
                return Err(LocateError::Closed);
            }
            if let Some(own) = state.own.get(name) {
                if let Some(holder) = own.holder() {
                    return Ok(Some(holder));
                }
                wrong = Some((self.location.clone(), own.entry().clone()));
            }
            let others = state.registry.find(name);
            let mut others = others.filter(|(home, _)| home.node != self.location.node);
            let right = others.find(|(home, entry)| {
                let is_right = entry.schema == schema.hash();
                if !is_right && wrong.is_none() {
                    wrong = Some(((*home).clone(), (*entry).clone()));
                }
                is_right
            });
            right.map(|(home, entry)| (home.clone(), entry.number))
        };
        match (right, wrong) {
            (Some((home, number)), _) => Ok(Some(T::import(&Access(self), &home, number, name))),
            (None, Some((home, entry))) => Err(self.wrong_type(name, home, &entry, schema)),
            (None, None) => Ok(None),
        }
    }

    fn find_all<T: Named>(
        self: &Arc<Self>,
        name: &str,
        schema: Schema,
    ) -> Vec<(Location, Result<T, LocateError>)> {
        let (own, mut found) = {
            let state = self.names.lock();
            let own = state.own.get(name).map(Holder::holder::<T>);
            let found = state.registry.find(name);
            let found = found.map(|(home, entry)| (home.clone(), entry.clone()));
            (own, found.collect::<Vec<_>>())
        };
        found.sort_by_key(|(home, _)| home.node != self.location.node);
        let import = |(home, entry): (Location, Entry)| {
            let holder = if home.node == self.location.node {
                own.clone().flatten()
            } else if entry.schema == schema.hash() {
                Some(T::import(&Access(self), &home, entry.number, name))
            } else {
                None
            };
            let wrong = || self.wrong_type(name, home.clone(), &entry, schema);
            let holder = holder.ok_or_else(wrong);
            (home, holder)
        };
        found.into_iter().map(import).collect()
    }

    fn wrong_type(
        &self,
        name: &str,
        holder: Location,
        entry: &Entry,
        schema: Schema,
    ) -> LocateError {
        LocateError::WrongType(Box::new(WrongType {
            name: name.into(),
            holder,
            found: entry.type_name.to_string(),
            asker: self.location.clone(),
            wanted: type_name(schema.type_name()).to_string(),
        }))
    }
}
