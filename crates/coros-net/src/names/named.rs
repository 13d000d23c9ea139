//! What can have a name on the network.

use std::sync::Arc;

use coros_core::remote::{self, Carrier, Inlet, Location, Message, RemoteId};
use coros_core::schema::Schema;
use coros_core::{Address, Channel, Exit};
use serde::de::DeserializeOwned;

use crate::node::Inner;

/// What can be registered under a name and located by it: an [`Address`], a channel, a function that
/// peers may start. The types of their messages have to be such that they can travel.
pub trait Named: Handle {}

impl<T: Handle> Named for T {}

/// Who would have a name cannot have it.
#[derive(Debug)]
pub enum Unfit {
    /// It has ended.
    Ended,
    /// It lives on another node.
    Remote,
}

/// The side of [`Named`] that nobody else can implement: how a thing gets its place in the
/// registry, and how it is made from what the registry of another node says.
///
/// Its schema is that of the handle itself, which leads to what it takes.
pub trait Handle: Clone + DeserializeOwned + Send + Sync + 'static {
    /// Where it is reached by peers, for as long as it has a name.
    ///
    /// # Errors
    /// [`Unfit`]: it has ended, or lives elsewhere.
    #[doc(hidden)]
    fn inlet(&self) -> Result<Arc<dyn Inlet>, Unfit>;

    /// For people.
    #[doc(hidden)]
    fn text(&self) -> String;

    /// Whether both are the same.
    #[doc(hidden)]
    fn is(&self, other: &Self) -> bool;

    /// What reaches the one with this number at another node, which was found by this name.
    #[doc(hidden)]
    fn import(node: &Access<'_>, home: &Location, number: u64, name: &str) -> Self;
}

/// A node, to those who make handles.
pub struct Access<'a>(pub(super) &'a Arc<Inner>);

impl Access<'_> {
    /// What carries messages to something of another node, for as long as there are handles of it.
    pub(crate) fn carrier(&self, id: &RemoteId) -> Arc<dyn Carrier> {
        self.0.import(id)
    }
}

impl<M: Message> Handle for Address<M> {
    fn inlet(&self) -> Result<Arc<dyn Inlet>, Unfit> {
        if self.is_closed() {
            return Err(Unfit::Ended);
        }
        remote::inlet(self).ok_or(Unfit::Remote)
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn is(&self, other: &Self) -> bool {
        self == other
    }

    fn import(node: &Access<'_>, home: &Location, number: u64, _: &str) -> Self {
        let id = RemoteId {
            location: home.clone(),
            coroutine: number,
        };
        let carrier = node.carrier(&id);
        remote::address(id, carrier)
    }
}

impl<M: Message + Clone> Handle for Channel<M> {
    fn inlet(&self) -> Result<Arc<dyn Inlet>, Unfit> {
        if self.remote_id().is_some() {
            return Err(Unfit::Remote);
        }
        if self.is_closed() {
            return Err(Unfit::Ended);
        }
        remote::channel_inlet(self).ok_or(Unfit::Remote)
    }

    fn text(&self) -> String {
        format!("channel {self}")
    }

    fn is(&self, other: &Self) -> bool {
        self == other
    }

    fn import(node: &Access<'_>, home: &Location, number: u64, _: &str) -> Self {
        let id = RemoteId {
            location: home.clone(),
            coroutine: number,
        };
        let carrier = node.carrier(&id);
        remote::channel(id, carrier)
    }
}

/// What a type is called, and its schema.
pub(super) fn schema<T: Handle>() -> Schema {
    Schema::of::<T>()
}

/// Calls `f` when the one behind an inlet has ended.
pub(super) fn on_end(inlet: &Arc<dyn Inlet>, f: impl FnOnce() + Send + 'static) {
    inlet.watch(Box::new(move |_: Exit| f()));
}
