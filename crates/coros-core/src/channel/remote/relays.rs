//! The relays of this process: all handles of a channel that came by one way share one.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use super::home::Home;
use crate::channel::{Channel, Inner};
use crate::primitives::{Mutex, lock};
use crate::remote::{Carrier, Message, NodeId, RemoteId};

/// A channel of another node, and the type of its messages, in which a peer may err.
pub(super) type Key = (NodeId, u64, TypeId);

type Known = Weak<dyn Any + Send + Sync>;

/// Of one channel mostly one, by which the nodes of this process have different ways.
static RELAYS: LazyLock<Mutex<HashMap<Key, Vec<Known>>>> = LazyLock::new(Mutex::default);

/// The handle of a channel of another node.
pub(super) fn find<M: Message + Clone>(id: RemoteId, carrier: Arc<dyn Carrier>) -> Channel<M> {
    let key = (id.location.node, id.coroutine, TypeId::of::<M>());
    // Those looked at are dropped when the lock has been released.
    let mut others = Vec::new();
    let mut relays = lock(&RELAYS);
    let known = relays.entry(key).or_default();
    for inner in known.iter().filter_map(Weak::upgrade) {
        if let Ok(inner) = inner.downcast::<Inner<M>>() {
            let home = inner.home.as_ref();
            if home.is_some_and(|home| home.has_carrier(&carrier)) {
                return Channel { inner };
            }
            others.push(inner);
        }
    }
    let channel = Channel::relay(Home::new(id, carrier, key));
    let known_as: Arc<dyn Any + Send + Sync> = Arc::clone(&channel.inner) as _;
    known.push(Arc::downgrade(&known_as));
    drop(relays);
    drop(others);
    channel
}

/// A relay has been dropped.
pub(super) fn forget(key: &Key) {
    let mut relays = lock(&RELAYS);
    if let Some(known) = relays.get_mut(key) {
        known.retain(|relay| relay.strong_count() > 0);
        if known.is_empty() {
            relays.remove(key);
        }
    }
}
