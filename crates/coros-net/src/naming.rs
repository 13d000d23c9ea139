//! What a message names: taken note of while it is encoded, counted when it is queued.
//!
//! Until then the message holds what it names by itself, so one that is never queued leaves nothing
//! behind. What it names of other nodes it holds on, as long as it waits.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;

use coros_core::remote::{Carrier, Inlet, NodeId, RemoteId};

use crate::wire;

scoped_tls::scoped_thread_local! {
    /// Of the message that is being encoded, if one is.
    static NAMING: RefCell<Option<Naming>>
}

/// Most messages name nothing, and this is moved about.
#[derive(Default)]
pub(crate) struct Naming(Option<Box<Named>>);

#[derive(Default)]
struct Named {
    /// As they go with the message.
    ids: Vec<u64>,
    /// Those of this node, and whether the receiver will say when it has let go of them.
    own: Vec<(Arc<dyn Inlet>, bool)>,
    /// Handles of coroutines of third nodes.
    passed: Vec<Passed>,
    /// Handles of coroutines of the receiver.
    held: Vec<Arc<dyn Carrier>>,
}

/// A coroutine of one node, of which a second tells a third.
pub(crate) struct Passed {
    pub(crate) id: (NodeId, u64),
    pub(crate) carrier: Arc<dyn Carrier>,
}

impl Naming {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn ids(&self) -> &[u64] {
        self.0.as_ref().map_or(&[], |named| &named.ids)
    }

    pub(crate) fn own(&self) -> &[(Arc<dyn Inlet>, bool)] {
        self.0.as_ref().map_or(&[], |named| &named.own)
    }

    pub(crate) fn take_passed(&mut self) -> Vec<Passed> {
        let passed = |named: &mut Box<Named>| mem::take(&mut named.passed);
        self.0.as_mut().map_or_else(Vec::new, passed)
    }

    /// Keeps another handle while the message waits.
    pub(crate) fn hold(&mut self, carrier: Arc<dyn Carrier>) {
        self.named().held.push(carrier);
    }

    fn named(&mut self) -> &mut Named {
        self.0.get_or_insert_default()
    }

    fn name(&mut self, inlet: Arc<dyn Inlet>, is_new: bool) {
        let counted = !inlet.is_reply();
        let new = if is_new { wire::NEW } else { 0 };
        let mark = new | if counted { wire::COUNTED } else { 0 };
        let listed = self.list(inlet.id() | mark);
        self.named().own.push((inlet, counted && listed));
    }

    /// False when the list is full.
    fn list(&mut self, id: u64) -> bool {
        let ids = &mut self.named().ids;
        let has_room = ids.len() < wire::MAX_IDS;
        if has_room {
            ids.push(id);
        }
        has_room
    }
}

/// Calls `f`, which encodes a message, or something else; what a message names.
pub(crate) fn during<T>(is_message: bool, f: impl FnOnce() -> T) -> (T, Naming) {
    let naming = RefCell::new(is_message.then(Naming::default));
    let result = NAMING.set(&naming, f);
    (result, naming.into_inner().unwrap_or_default())
}

/// A coroutine of this node is named: gives it back if not in a message.
pub(crate) fn own(inlet: Arc<dyn Inlet>, is_new: bool) -> Option<Arc<dyn Inlet>> {
    let mut inlet = Some(inlet);
    in_message(|naming| {
        if let Some(inlet) = inlet.take() {
            naming.name(inlet, is_new);
        }
    });
    inlet
}

/// A coroutine of another node is named: false if not in a message.
pub(crate) fn others(to: Option<NodeId>, id: &RemoteId, carrier: &Arc<dyn Carrier>) -> bool {
    in_message(|naming| {
        let carrier = Arc::clone(carrier);
        if to == Some(id.location.node) {
            naming.list(id.coroutine | wire::YOURS);
            naming.hold(carrier);
        } else {
            let id = (id.location.node, id.coroutine);
            naming.named().passed.push(Passed { id, carrier });
        }
    })
}

/// Calls `f` with what the message names that is being encoded; false if none is.
fn in_message(f: impl FnOnce(&mut Naming)) -> bool {
    NAMING.is_set() && NAMING.with(|naming| naming.borrow_mut().as_mut().map(f).is_some())
}
