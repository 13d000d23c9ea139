//! The names of this node, and what holds them.
//!
//! Whoever has a name can be reached by all peers, as if each had been told of its address: it is
//! exported for as long as it has the name, to a holder that stands for that one registration.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coros_core::remote::{Inlet, NodeId};

use super::named::{self, Handle, Named, Unfit};
use super::notice::{self, Entry, check_name};
use super::{RegisterError, gossip};
use crate::node::Inner;

#[derive(Default)]
pub(super) struct Own {
    names: BTreeMap<Arc<str>, Holder>,
    /// Those whose end will be told.
    watched: BTreeSet<u64>,
    registrations: u64,
}

pub(super) struct Holder {
    thing: Box<dyn Any + Send + Sync>,
    text: String,
    entry: Entry,
    pin: NodeId,
}

impl Own {
    pub(super) fn get(&self, name: &str) -> Option<&Holder> {
        self.names.get(name)
    }

    /// Stands for a registration where peers stand that hold an export. Launch ids are hashes:
    /// none is so large.
    fn next_pin(&mut self) -> NodeId {
        self.registrations += 1;
        NodeId(u128::MAX - u128::from(self.registrations))
    }
}

impl Holder {
    pub(super) fn holder<T: Handle>(&self) -> Option<T> {
        self.thing.downcast_ref().cloned()
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Inner {
    pub(super) fn register<T: Named>(
        self: &Arc<Self>,
        name: &Arc<str>,
        what: &T,
    ) -> Result<(), RegisterError> {
        let bad = |_| RegisterError::BadName {
            name: Arc::clone(name),
        };
        check_name(name).map_err(bad)?;
        let inlet = what.inlet().map_err(|unfit| refused(&unfit, name, what))?;
        let schema = named::schema::<T>();
        let entry = Entry {
            number: inlet.id(),
            schema: schema.hash(),
            type_name: notice::type_name(schema.type_name()),
        };
        let pin = self.names.lock().own.next_pin();
        // Before anybody hears of it.
        self.exports.keep(&inlet, Some(pin));
        let entered = self.enter(name, what, entry, pin);
        match entered {
            Ok(true) => {}
            not_entered => {
                self.exports.let_go(inlet.id(), pin);
                return not_entered.map(|_| ());
            }
        }
        self.watch_end(&inlet);
        gossip::start(self);
        self.names.news.notify_one();
        Ok(())
    }

    /// False when it has the name already.
    fn enter<T: Named>(
        &self,
        name: &Arc<str>,
        what: &T,
        entry: Entry,
        pin: NodeId,
    ) -> Result<bool, RegisterError> {
        let mut state = self.names.lock();
        if state.closed || self.is_closing() {
            return Err(RegisterError::Closed);
        }
        if let Some(other) = state.own.names.get(name) {
            if other.thing.downcast_ref().is_some_and(|it| what.is(it)) {
                return Ok(false);
            }
            return Err(RegisterError::Taken {
                name: Arc::clone(name),
                holder: other.text.clone(),
            });
        }
        let (has, limit) = state.registry.room();
        if has >= limit {
            return Err(RegisterError::TooMany {
                name: Arc::clone(name),
                limit,
            });
        }
        let holder = Holder {
            thing: Box::new(what.clone()),
            text: what.text(),
            entry: entry.clone(),
            pin,
        };
        state.own.names.insert(Arc::clone(name), holder);
        state.registry.change(name, Some(entry));
        state.waiting.wake(name);
        Ok(true)
    }

    /// The names of what is behind an inlet go with it; each is watched once.
    fn watch_end(self: &Arc<Self>, inlet: &Arc<dyn Inlet>) {
        let number = inlet.id();
        if !self.names.lock().own.watched.insert(number) {
            return;
        }
        let node = Arc::downgrade(self);
        named::on_end(inlet, move || {
            if let Some(node) = node.upgrade() {
                node.ended(number);
            }
        });
    }

    fn ended(&self, number: u64) {
        let mut state = self.names.lock();
        state.own.watched.remove(&number);
        let of_it = |(_, holder): &(&Arc<str>, &Holder)| holder.entry.number == number;
        let names = state.own.names.iter().filter(of_it);
        let names: Vec<_> = names.map(|(name, _)| Arc::clone(name)).collect();
        drop(state);
        for name in names {
            self.unregister(&name, |holder| holder.entry.number == number);
        }
    }

    /// Takes a name back from the right holder.
    pub(super) fn unregister(&self, name: &str, is_right: impl FnOnce(&Holder) -> bool) -> bool {
        let mut state = self.names.lock();
        if !state.own.names.get(name).is_some_and(is_right) {
            return false;
        }
        let Some((name, holder)) = state.own.names.remove_entry(name) else {
            return false;
        };
        state.registry.change(&name, None);
        drop(state);
        self.names.news.notify_one();
        self.exports.let_go(holder.entry.number, holder.pin);
        true
    }
}

fn refused<T: Named>(unfit: &Unfit, name: &Arc<str>, what: &T) -> RegisterError {
    let (name, holder) = (Arc::clone(name), what.text());
    match unfit {
        Unfit::Ended => RegisterError::Ended { name, holder },
        Unfit::Remote => RegisterError::Remote { name, holder },
    }
}
