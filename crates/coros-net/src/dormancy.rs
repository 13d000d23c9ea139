//! What happens while a session is dormant: it is kept for its next use, though perhaps nobody
//! here has an address of the peer any more.
//!
//! Without a link nobody sees a peer die. The membership tells of its members; of all others a
//! link is made now and then, which shows whether they are there. So a peer that has gone without
//! a word is not kept for ever, nor what it was told of. And however many there are, or say that
//! they are, so many are kept: beyond that the one whose link was closed first is let go, as if it
//! was lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::node::Inner;
use crate::peer::Peer;

/// A link is made after so many times of what makes a link idle.
const PERIODS: u32 = 20;

/// So many peers are kept that are no members, of which there is a limit as well: as many as the
/// largest clusters have workers, at some 4 KiB each. Each start of a process is another peer, so
/// there may be any number in time. (Few in unit tests, which get there.)
const MAX_KEPT: usize = if cfg!(test) { 3 } else { 65_536 };

/// The peers with a dormant session that are no members, in the order in which their links were
/// closed.
#[derive(Debug, Default)]
pub(crate) struct Dormant {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    peers: BTreeMap<u64, Weak<Peer>>,
}

/// The place of one among them.
struct Place {
    node: Arc<Inner>,
    number: u64,
}

/// Keeps a peer until its session is not dormant any more.
pub(crate) fn spawn(peer: Arc<Peer>) {
    let node = Arc::clone(peer.node());
    let limit = node.config.timing.idle.saturating_mul(PERIODS);
    let place = (!is_member(&peer)).then(|| enter(&peer));
    let keeping = async move {
        let _place = place;
        loop {
            tokio::select! {
                biased;
                () = peer.awake() => return,
                () = tokio::time::sleep(limit) => {}
            }
            if !is_member(&peer) {
                peer.doubt();
            }
        }
    };
    node.tasks.spawn_on(keeping, &node.runtime);
}

fn is_member(peer: &Peer) -> bool {
    peer.node().has_member(peer.id())
}

/// Gives a peer a place, for which another may have to go.
fn enter(peer: &Arc<Peer>) -> Place {
    let node = Arc::clone(peer.node());
    let (number, pushed_out) = {
        let mut kept = node.dormant.lock();
        kept.last += 1;
        let number = kept.last;
        kept.peers.insert(number, Arc::downgrade(peer));
        let is_full = kept.peers.len() > MAX_KEPT;
        (number, is_full.then(|| kept.peers.pop_first()).flatten())
    };
    let pushed_out = pushed_out.and_then(|(_, peer)| peer.upgrade());
    // It may have become a member.
    if let Some(peer) = pushed_out.filter(|peer| !is_member(peer)) {
        peer.let_go("too many others have been used since");
    }
    Place { node, number }
}

impl Dormant {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.node.dormant.lock().peers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use coros_core::{Address, Context, SendError};
    use tokio::sync::mpsc;
    use tokio::time::sleep;

    use super::*;
    use crate::sim::SimNetwork;
    use crate::{Builder, Node, PeerEvent};

    /// By which a link that nobody uses is closed.
    const CLOSED: Duration = Duration::from_secs(35);

    /// A desk, and nodes that it uses by a coroutine at each.
    struct Scene {
        desk: Node,
        farms: Vec<(Node, Address<u32>)>,
        told: mpsc::UnboundedReceiver<PeerEvent>,
    }

    impl Scene {
        async fn set(number: usize, options: impl Fn(Builder) -> Builder) -> Self {
            let network = SimNetwork::new(1);
            let start = async |name: &str| {
                let builder = options(network.host(name).builder());
                builder.build().await.expect("it starts")
            };
            let desk = start("desk").await;
            let (tell, told) = mpsc::unbounded_channel();
            desk.on_peer_event(move |event| drop(tell.send(event)));
            let mut farms = Vec::new();
            for n in 0..number {
                let farm = start(&format!("farm{n}")).await;
                let coro = coros_core::spawn(
                    async |mut me: Context<u32>| {
                        while me.receive().await.is_some() {}
                    },
                );
                let bytes = farm.encode(&coro.address()).expect("it can travel");
                let address = desk.decode(&bytes).expect("it is one");
                farms.push((farm, address));
            }
            Scene { desk, farms, told }
        }

        /// Uses the link with a farm, and none until all are closed.
        async fn use_one(&self, farm: usize) {
            let delivered = self.farms[farm].1.deliver(1).await;
            delivered.expect("it can be reached");
            sleep(CLOSED).await;
            assert_eq!(self.desk.links(), []);
        }

        /// The farms that have been lost, in order.
        fn lost(&mut self) -> Vec<usize> {
            let mut lost = Vec::new();
            while let Ok(event) = self.told.try_recv() {
                if let PeerEvent::Lost(peer, why) = event {
                    assert!(why.contains("too many others"), "{why}");
                    let mut farms = self.farms.iter();
                    lost.extend(farms.position(|(farm, _)| farm.location() == peer));
                }
            }
            lost
        }

        fn sessions(&self) -> usize {
            self.desk.census().sessions
        }
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_kept_and_the_one_longest_unused_goes() {
        let mut scene = Scene::set(5, |builder| builder.member(false)).await;
        for farm in [0, 1, 2, 0] {
            scene.use_one(farm).await;
        }
        assert_eq!((scene.sessions(), scene.lost()), (3, vec![]));
        for (farm, lost) in [(3, 1), (4, 2), (0, usize::MAX), (1, 3)] {
            scene.use_one(farm).await;
            assert_eq!(scene.sessions(), MAX_KEPT);
            assert!(scene.lost().iter().eq((lost < 5).then_some(&lost)));
        }
        // A session that is in use takes no place.
        let watched = scene.farms[4].1.clone();
        let _watching = tokio::spawn(async move { watched.exit().await });
        sleep(CLOSED).await;
        assert_eq!(scene.desk.links().len(), 1);
        for (_, address) in &scene.farms[..3] {
            address.deliver(1).await.expect("it can be reached");
        }
        sleep(CLOSED).await;
        assert_eq!((scene.sessions(), scene.lost()), (4, vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_been_let_go_finds_out_and_begins_anew() {
        let scene = Scene::set(5, |builder| builder.member(false)).await;
        let coro =
            coros_core::spawn(async |mut me: Context<u32>| while me.receive().await.is_some() {});
        let bytes = scene.desk.encode(&coro.address()).expect("it can travel");
        let farm = &scene.farms[0].0;
        let remote: Address<u32> = farm.decode(&bytes).expect("it is one");
        for farm in 0..4 {
            scene.use_one(farm).await;
        }
        let lost = remote.deliver(1).await;
        assert!(
            matches!(lost, Err(SendError::Disconnected(1, _))),
            "{lost:?}"
        );
        remote.deliver(2).await.expect("it can be reached");
    }

    #[tokio::test(start_paused = true)]
    async fn members_take_no_place() {
        const MEMBERS: usize = 20;
        // They look after each other, and have links for that, but by far not all.
        let period = Duration::from_secs(15);
        let mut scene = Scene::set(MEMBERS, |builder| builder.probe(period)).await;
        for (_, address) in &scene.farms {
            address.deliver(1).await.expect("it can be reached");
        }
        for _ in 0..4 {
            sleep(CLOSED).await;
            let links = scene.desk.links().len();
            assert!(MEMBERS - links > 2 * MAX_KEPT, "{links} links");
            assert_eq!((scene.sessions(), scene.lost()), (MEMBERS, vec![]));
        }
    }
}
