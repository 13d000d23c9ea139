//! The two tables by which an address is released, with messages under way between them that may
//! cross: a coroutine is held as long as there is a handle of it or a message that names it, and
//! no longer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use coros_core::remote::{Inlet, NodeId};
use proptest::prelude::*;

use crate::exports::Exports;
use crate::exports::tests::Watched;
use crate::imports::Imports;

const PEER: NodeId = NodeId(7);

/// What handles share; says when it is gone.
#[derive(Debug)]
struct Shared {
    coroutine: u64,
    gone: Arc<Mutex<Vec<u64>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.gone.lock().unwrap().push(self.coroutine);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The home sends a message that names a coroutine.
    Name(u64),
    /// The same, but it is given up before it has been sent.
    TakeBack(u64),
    /// The peer gets the next message, and keeps a handle or not.
    Arrive { keep: bool },
    /// The peer drops one of its handles.
    Drop(usize),
    /// What the peer has noticed to be gone is queued.
    Notice,
    /// The home gets the next release.
    Released,
    /// The peer uses a coroutine that it has a handle of.
    Use(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1024..1027_u64).prop_map(Step::Name),
        1 => (1024..1027_u64).prop_map(Step::TakeBack),
        4 => any::<bool>().prop_map(|keep| Step::Arrive { keep }),
        3 => any::<usize>().prop_map(Step::Drop),
        3 => Just(Step::Notice),
        3 => Just(Step::Released),
        1 => any::<usize>().prop_map(Step::Use),
    ]
}

#[derive(Default)]
struct Scene {
    exports: Arc<Exports>,
    imports: Imports<Shared>,
    messages: VecDeque<u64>,
    handles: Vec<Arc<Shared>>,
    gone: Arc<Mutex<Vec<u64>>>,
    releases: VecDeque<(u64, u64)>,
}

impl Scene {
    fn step(&mut self, step: Step) {
        match step {
            Step::Name(coroutine) => {
                self.name(coroutine);
                self.messages.push_back(coroutine);
            }
            Step::TakeBack(coroutine) => {
                let named = self.name(coroutine);
                drop(self.exports.take_back(&named, PEER));
            }
            Step::Arrive { keep } => {
                let Some(coroutine) = self.messages.pop_front() else {
                    return;
                };
                let gone = Arc::clone(&self.gone);
                let handle = self
                    .imports
                    .named(coroutine, || Arc::new(Shared { coroutine, gone }));
                if keep {
                    self.handles.push(handle);
                }
            }
            Step::Drop(at) => {
                if !self.handles.is_empty() {
                    let at = at % self.handles.len();
                    drop(self.handles.swap_remove(at));
                }
            }
            Step::Notice => {
                let gone = std::mem::take(&mut *self.gone.lock().unwrap());
                for coroutine in gone {
                    let named = self.imports.dropped(coroutine);
                    self.releases.extend(named.map(|named| (coroutine, named)));
                }
            }
            Step::Released => {
                let released = self.releases.pop_front();
                drop(self.exports.released(released.into_iter(), PEER));
            }
            Step::Use(at) => {
                // In the lane of the releases: it arrives when those before it have.
                if self.releases.is_empty() && !self.handles.is_empty() {
                    let at = at % self.handles.len();
                    let coroutine = self.handles[at].coroutine;
                    drop(self.exports.find_and_hold(coroutine, PEER));
                }
            }
        }
    }

    fn name(&self, coroutine: u64) -> Vec<(Arc<dyn Inlet>, bool)> {
        let inlet: Arc<dyn Inlet> = Watched::new(coroutine);
        let named = vec![(inlet, true)];
        drop(self.exports.name(&named, PEER));
        named
    }

    fn check(&self) {
        let wanted = self.messages.iter().copied();
        let wanted = wanted.chain(self.handles.iter().map(|handle| handle.coroutine));
        for coroutine in wanted {
            assert!(self.exports.is_held_by(coroutine, PEER), "{coroutine}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn held_as_long_as_there_is_a_handle_or_a_message_and_no_longer(
        steps in prop::collection::vec(step(), 0..200)
    ) {
        let mut scene = Scene::default();
        for step in steps {
            scene.step(step);
            scene.check();
        }
        // All that is under way arrives, and nobody keeps anything.
        while !scene.messages.is_empty() {
            scene.step(Step::Arrive { keep: false });
        }
        scene.handles.clear();
        scene.step(Step::Notice);
        while !scene.releases.is_empty() {
            scene.step(Step::Released);
        }
        prop_assert_eq!(scene.exports.len(), 0);
        prop_assert_eq!(scene.imports.len(), 0);
    }
}

#[test]
fn a_peer_that_releases_what_it_was_not_told_of_harms_only_itself() {
    let scene = Scene::default();
    scene.name(1024);
    let other = NodeId(8);
    drop(scene.exports.name(&scene.name(1024), other));
    let lies = (0..5000).map(|id| (id, u64::MAX));
    drop(scene.exports.released(lies, PEER));
    assert!(!scene.exports.is_held_by(1024, PEER));
    assert!(scene.exports.is_held_by(1024, other));
    // What it is told of later counts.
    scene.name(1024);
    drop(scene.exports.released([(1024, 0)].into_iter(), PEER));
    assert!(scene.exports.is_held_by(1024, PEER));
}
