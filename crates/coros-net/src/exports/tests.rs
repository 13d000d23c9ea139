use std::any::Any;
use std::sync::Mutex;

use coros_core::remote::{BoxFuture, CarryError, OnExit, Request};

use super::*;

/// A coroutine of which only its watchers matter.
pub(crate) struct Watched(u64, Mutex<Vec<OnExit>>);

impl Watched {
    pub(crate) fn new(id: u64) -> Arc<Self> {
        Arc::new(Watched(id, Mutex::default()))
    }
}

impl Inlet for Watched {
    fn id(&self) -> u64 {
        self.0
    }

    fn receive(&self, _: &[u8]) -> Result<(), CarryError> {
        Ok(())
    }

    fn deliver(&self, _: &[u8]) -> BoxFuture<Result<(), CarryError>> {
        Box::pin(async { Ok(()) })
    }

    fn watch(&self, on_exit: OnExit) {
        self.1.lock().unwrap().push(on_exit);
    }

    fn request(&self, _: Request) {}

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

#[test]
fn however_often_it_is_told_of_a_coroutine_is_watched_once() {
    let exports = Arc::<Exports>::default();
    let coroutine = Watched::new(7);
    let inlet = Arc::clone(&coroutine) as Arc<dyn Inlet>;
    for peer in 1..100 {
        exports.keep(&inlet, Some(NodeId(peer)));
        assert_eq!(exports.release(NodeId(peer)).len(), 1);
    }
    let watchers = std::mem::take(&mut *coroutine.1.lock().unwrap());
    assert_eq!(watchers.len(), 1);
    exports.keep(&inlet, Some(NodeId(1)));
    for watcher in watchers {
        watcher(Exit::Finished);
    }
    let Some(Found::Ended(Some(exit))) = exports.find(7, NodeId(1)) else {
        panic!("its end is remembered");
    };
    assert_eq!(exit, Exit::Finished);
}

/// An answer of which only its watchers matter.
struct Answer(Watched);

impl Inlet for Answer {
    fn id(&self) -> u64 {
        self.0.id()
    }

    fn receive(&self, payload: &[u8]) -> Result<(), CarryError> {
        self.0.receive(payload)
    }

    fn deliver(&self, payload: &[u8]) -> BoxFuture<Result<(), CarryError>> {
        self.0.deliver(payload)
    }

    fn is_reply(&self) -> bool {
        true
    }

    fn watch(&self, on_exit: OnExit) {
        self.0.watch(on_exit);
    }

    fn request(&self, request: Request) {
        self.0.request(request);
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

#[test]
fn answers_do_not_push_out_how_coroutines_ended() {
    let exports = Arc::<Exports>::default();
    let end = |watched: &Watched| {
        for watcher in std::mem::take(&mut *watched.1.lock().unwrap()) {
            watcher(Exit::Finished);
        }
    };
    let coroutine = Watched::new(7);
    let inlet = Arc::clone(&coroutine) as Arc<dyn Inlet>;
    exports.keep(&inlet, Some(NodeId(1)));
    end(&coroutine);
    for id in 0..2 * REMEMBERED as u64 {
        let answer = Arc::new(Answer(Watched(100 + id, Mutex::default())));
        let inlet = Arc::clone(&answer) as Arc<dyn Inlet>;
        exports.keep(&inlet, Some(NodeId(1)));
        end(&answer.0);
    }
    assert_eq!(exports.len(), 0);
    let found = exports.find(7, NodeId(1));
    assert!(matches!(found, Some(Found::Ended(Some(Exit::Finished)))));
}

#[test]
fn a_peer_that_has_left_is_not_told_and_leaves_nothing_behind() {
    let exports = Arc::<Exports>::default();
    let coroutine = Watched::new(7);
    let inlet = Arc::clone(&coroutine) as Arc<dyn Inlet>;
    let (told, exits) = std::sync::mpsc::channel();
    for peer in 1..=3 {
        exports.keep(&inlet, Some(NodeId(peer)));
        let told = told.clone();
        let tell: Watcher = Box::new(move |exit| told.send((peer, exit)).unwrap());
        assert!(exports.watch(7, NodeId(peer), 1, false, tell).is_ok());
    }
    drop(told);
    assert!(exports.release(NodeId(2)).is_empty());
    for watcher in std::mem::take(&mut *coroutine.1.lock().unwrap()) {
        watcher(Exit::Terminated);
    }
    let told: Vec<_> = exits.iter().collect();
    assert_eq!(told, [(1, Exit::Terminated), (3, Exit::Terminated)]);
}
