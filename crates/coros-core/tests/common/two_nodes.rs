//! Two nodes, between which messages go when the test says so.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use coros_core::remote::{
    self, BoxFuture, Carrier, CarryError, Encode, Exchange, Imported, Inlet, Location, NodeId,
    OnExit, RemoteId, Request, Unwatch,
};
use coros_core::{Channel, Exit};

/// What a node has told others of.
pub(crate) type Exports = Arc<Mutex<std::collections::BTreeMap<u64, Arc<dyn Inlet>>>>;

/// By the number of the coroutine.
pub(crate) type Numbered<T> = Arc<Mutex<Vec<(u64, T)>>>;

/// One of two nodes, and what is under way to it.
#[derive(Clone)]
pub(crate) struct Side {
    pub(crate) id: NodeId,
    pub(crate) exports: Exports,
    pub(crate) queue: Numbered<Vec<u8>>,
    pub(crate) watchers: Numbered<OnExit>,
    pub(crate) full: Arc<AtomicBool>,
    pub(crate) broken: Arc<Mutex<bool>>,
    /// As many of its ends are waited for as may be.
    pub(crate) unwatched: Arc<AtomicBool>,
    session: Arc<tokio::sync::Notify>,
}

impl Side {
    fn new(id: u128) -> Self {
        Side {
            id: NodeId(id),
            exports: Exports::default(),
            queue: Arc::default(),
            watchers: Arc::default(),
            full: Arc::default(),
            broken: Arc::default(),
            unwatched: Arc::default(),
            session: Arc::default(),
        }
    }

    fn location(&self) -> Location {
        Location {
            node: self.id,
            name: "side".into(),
            endpoint: None,
        }
    }
}

/// The way to a side from the other.
pub(crate) struct Wire {
    from: Side,
    to: Side,
}

pub(crate) struct View(Arc<Wire>);

impl Exchange for View {
    fn export(&self, inlet: Arc<dyn Inlet>) -> RemoteId {
        let coroutine = inlet.id();
        let mut exports = self.0.from.exports.lock().unwrap();
        exports.entry(coroutine).or_insert(inlet);
        RemoteId {
            location: self.0.from.location(),
            coroutine,
        }
    }

    fn import(&self, id: &RemoteId) -> Imported {
        if id.location.node != self.0.from.id {
            return Imported::Remote(Arc::clone(&self.0) as Arc<dyn Carrier>);
        }
        let exports = self.0.from.exports.lock().unwrap();
        match exports.get(&id.coroutine) {
            Some(inlet) => Imported::Local(Arc::clone(inlet)),
            None => Imported::Gone,
        }
    }

    fn peer(&self) -> Option<NodeId> {
        Some(self.0.to.id)
    }

    fn session_over(&self) -> Option<BoxFuture<()>> {
        Some(Box::pin(Arc::clone(&self.0.from.session).notified_owned()))
    }
}

impl Carrier for Wire {
    fn send(&self, to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        if self.to.full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(CarryError::Full);
        }
        if *self.to.broken.lock().unwrap() {
            return Err(CarryError::Disconnected(Box::new(
                "the cable is out".into(),
            )));
        }
        let exchange: Arc<dyn Exchange> = Arc::new(View(Arc::new(Wire {
            from: self.from.clone(),
            to: self.to.clone(),
        })));
        let mut bytes = Vec::new();
        remote::with_exchange(&exchange, || encode(&mut bytes))?;
        let mut queue = self.to.queue.lock().unwrap();
        queue.push((to.coroutine, bytes));
        Ok(())
    }

    fn deliver(&self, to: &RemoteId, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        if self.to.full.load(std::sync::atomic::Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        let sent = self.send(to, encode);
        Box::pin(async move { sent })
    }

    fn watch(&self, to: &RemoteId, on_exit: OnExit) -> Option<Unwatch> {
        if self.to.unwatched.load(std::sync::atomic::Ordering::SeqCst) {
            on_exit(Exit::Unwatched);
            return None;
        }
        let mut watchers = self.to.watchers.lock().unwrap();
        watchers.push((to.coroutine, on_exit));
        None
    }

    fn request(&self, _to: &RemoteId, _request: Request) {}
}

pub(crate) struct Pair {
    pub(crate) home: Side,
    pub(crate) away: Side,
    pub(crate) at_home: Arc<dyn Exchange>,
    pub(crate) at_away: Arc<dyn Exchange>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let (home, away) = (Side::new(1), Side::new(2));
        let view = |from: &Side, to: &Side| {
            Arc::new(View(Arc::new(Wire {
                from: from.clone(),
                to: to.clone(),
            }))) as Arc<dyn Exchange>
        };
        Pair {
            at_home: view(&home, &away),
            at_away: view(&away, &home),
            home,
            away,
        }
    }

    /// A channel of the home as the other sees it.
    pub(crate) fn remote(&self, channel: &Channel<u32>) -> Channel<u32> {
        let mut bytes = Vec::new();
        remote::with_exchange(&self.at_home, || remote::encode(channel, &mut bytes)).unwrap();
        remote::with_exchange(&self.at_away, || remote::decode(&bytes)).unwrap()
    }

    /// Lets everything arrive that is under way, both ways; how many messages came to the home and
    /// to the other. With tokio's clock paused: time goes on when all tasks have done what they can.
    pub(crate) async fn flow(&self) -> (usize, usize) {
        let mut count = (0, 0);
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            let to_home = std::mem::take(&mut *self.home.queue.lock().unwrap());
            let to_away = std::mem::take(&mut *self.away.queue.lock().unwrap());
            if to_home.is_empty() && to_away.is_empty() {
                return count;
            }
            count.0 += to_home.len();
            count.1 += to_away.len();
            arrive(&self.home, &self.at_home, to_home);
            arrive(&self.away, &self.at_away, to_away);
        }
    }

    /// Each side lets go of what it has lent, but for the channel, and tells those who watch.
    pub(crate) fn end_session(&self) {
        let lent = std::mem::take(&mut *self.away.exports.lock().unwrap());
        drop(lent);
        for side in [&self.home, &self.away] {
            let watchers = std::mem::take(&mut *side.watchers.lock().unwrap());
            for (_, watcher) in watchers {
                watcher(Exit::Disconnected);
            }
            side.session.notify_waiters();
        }
    }

    /// The home is told of the end of whatever has ended on the other side.
    pub(crate) fn tell_home(&self) {
        let watchers = std::mem::take(&mut *self.away.watchers.lock().unwrap());
        for (id, watcher) in watchers {
            let inlet = self.away.exports.lock().unwrap().get(&id).cloned();
            inlet.unwrap().watch(watcher);
        }
    }
}

/// As when a session ends; the sides hold each other.
impl Drop for Pair {
    fn drop(&mut self) {
        for side in [&self.home, &self.away] {
            let watchers = std::mem::take(&mut *side.watchers.lock().unwrap());
            let exports = std::mem::take(&mut *side.exports.lock().unwrap());
            drop((watchers, exports));
        }
    }
}

pub(crate) fn arrive(side: &Side, exchange: &Arc<dyn Exchange>, messages: Vec<(u64, Vec<u8>)>) {
    for (target, bytes) in messages {
        let inlet = side.exports.lock().unwrap().get(&target).cloned();
        if let Some(inlet) = inlet {
            let _ = remote::with_exchange(exchange, || inlet.receive(&bytes));
        }
    }
}

pub(crate) fn reader() -> coros_core::Coro<u32, Vec<u32>> {
    coros_core::spawn(async |mut me: coros_core::Context<u32>| {
        let mut all = Vec::new();
        while let Some(n) = me.receive().await {
            all.push(n);
        }
        all
    })
}
