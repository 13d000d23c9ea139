//! A node as its messages see it, alone on its network: what it sends is kept, nothing comes but what
//! the input says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use coros_core::Exit;
use coros_core::remote::{
    self, BoxFuture, Carrier, CarryError, CodecError, Encode, Exchange, Imported, Inlet, Location,
    NodeId, OnExit, RemoteId, Request, Unwatch,
};

/// The node that reads an input, and the one that it comes from.
pub(super) const HERE: NodeId = NodeId(7);
pub(super) const THERE: NodeId = NodeId(8);

pub(super) struct Desk {
    location: Location,
    peer: NodeId,
    way: Arc<Way>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    exported: BTreeMap<u64, Arc<dyn Inlet>>,
    sent: Vec<(u64, Vec<u8>)>,
    watching: Vec<OnExit>,
}

impl Desk {
    /// One node whose messages all come from another.
    pub(super) fn new(node: NodeId, peer: NodeId) -> Arc<Self> {
        Arc::new_cyclic(|desk| Desk {
            location: location(node),
            peer,
            way: Arc::new(Way(desk.clone())),
            state: Mutex::default(),
        })
    }

    /// The way to all other nodes.
    pub(super) fn way(&self) -> Arc<dyn Carrier> {
        Arc::clone(&self.way) as _
    }

    /// Encodes or decodes what goes to the peer or comes from it.
    pub(super) fn exchanging<T>(self: &Arc<Self>, f: impl FnOnce() -> T) -> T {
        remote::with_exchange(&(Arc::clone(self) as Arc<dyn Exchange>), f)
    }

    /// What the peer has been told of, in the order of their numbers.
    pub(super) fn exported(&self) -> Vec<Arc<dyn Inlet>> {
        self.lock().exported.values().cloned().collect()
    }

    /// What has been sent since the last call, each with the coroutine that it is for.
    pub(super) fn sent(&self) -> Vec<(u64, Vec<u8>)> {
        std::mem::take(&mut self.lock().sent)
    }

    /// The sessions end, and the node.
    pub(super) fn close(&self) {
        let state = std::mem::take(&mut *self.lock());
        for watcher in state.watching {
            watcher(Exit::Disconnected);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn location(node: NodeId) -> Location {
    Location {
        node,
        name: "desk".into(),
        endpoint: Some(([127, 0, 0, 1], 7000).into()),
    }
}

impl Exchange for Desk {
    fn export(&self, inlet: Arc<dyn Inlet>) -> RemoteId {
        let coroutine = inlet.id();
        let before = self.lock().exported.insert(coroutine, inlet);
        drop(before);
        RemoteId {
            location: self.location.clone(),
            coroutine,
        }
    }

    fn import(&self, id: &RemoteId) -> Imported {
        if id.location.node != self.location.node {
            return Imported::Remote(self.way());
        }
        let inlet = self.lock().exported.get(&id.coroutine).cloned();
        inlet.map_or(Imported::Gone, Imported::Local)
    }

    fn peer(&self) -> Option<NodeId> {
        Some(self.peer)
    }
}

struct Way(Weak<Desk>);

impl Way {
    fn carry(&self, to: &RemoteId, encode: Encode<'_>) -> Result<(), CodecError> {
        if let Some(desk) = self.0.upgrade() {
            let mut bytes = Vec::new();
            desk.exchanging(|| encode(&mut bytes))?;
            desk.lock().sent.push((to.coroutine, bytes));
        }
        Ok(())
    }
}

impl Carrier for Way {
    fn send(&self, to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        Ok(self.carry(to, encode)?)
    }

    fn deliver(&self, to: &RemoteId, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        let sent = self.send(to, encode);
        Box::pin(async move { sent })
    }

    fn watch(&self, _: &RemoteId, on_exit: OnExit) -> Option<Unwatch> {
        match self.0.upgrade() {
            Some(desk) => desk.lock().watching.push(on_exit),
            None => on_exit(Exit::Disconnected),
        }
        None
    }

    fn request(&self, _: &RemoteId, _: Request) {}
}
