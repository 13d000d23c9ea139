//! The registry on the network: the task that talks to peers, and what comes from them.
//!
//! Links are used that are there anyway; only a node without any opens one. So that the known names
//! of two parts of the network that no link joins come together, now and then the partner is any peer at all.
//!
//! As long as no name is given or looked for anywhere nobody says anything. The first who does tells
//! all peers that it is linked with, those who hear of that theirs, and from then on each node tells
//! whoever it links with.

use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::Location;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::notice::Notice;
use super::question::Answers;
use crate::node::Inner;
use crate::parts::{Notices, Part};
use crate::peer::Peer;
use crate::roster::Fact;

/// How often digests are compared ...
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
/// ... but no sooner than this after the last time, when much is learned ...
const PAUSE: Duration = Duration::from_millis(20);
/// ... and with how many linked peers.
const PARTNERS: usize = 3;
/// Every so often with any peer.
const ANYBODY: u64 = 10;
/// How many linked peers are told of news.
const TELL: usize = 4;

/// A node starts: it answers from now on.
pub(crate) fn open(node: &Arc<Inner>) {
    node.parts.on_notice(Part::Names, Arc::new(Hear));
    node.parts
        .serve(Part::Names, Arc::new(Answers(Arc::downgrade(node))));
    let facts = node.events.tap();
    node.tasks
        .spawn_on(follow(Arc::clone(node), facts), &node.runtime);
}

/// There is a name, somebody looks for one, or a peer has heard of that.
pub(super) fn start(node: &Arc<Inner>) {
    if node.names.is_first() && !node.is_closing() {
        node.tasks.spawn_on(run(Arc::clone(node)), &node.runtime);
    }
}

/// Hears of peers. Not by the events that users get: what those do with them holds up no names.
async fn follow(node: Arc<Inner>, mut facts: UnboundedReceiver<Fact>) {
    loop {
        tokio::select! {
            biased;
            () = node.stop.cancelled() => return,
            fact = facts.recv() => match fact {
                Some(fact) => on_fact(&node, fact),
                None => return,
            }
        }
    }
}

fn on_fact(node: &Arc<Inner>, fact: Fact) {
    let now = Instant::now();
    match fact {
        Fact::Linked(peer) | Fact::Up(peer) => appears(node, now, &peer),
        Fact::Lost(peer, _) => node.names.lock().registry.lost(now, peer.node),
        Fact::Left(peer) => node.names.lock().registry.left(peer.node),
        // Whoever has a session with it knows better, by its end; and if one has come since, so will
        // the fact.
        Fact::Down(peer, _)
            if !node.events.is_present(peer.node) && !node.shares_session(peer.node) =>
        {
            node.names.lock().registry.lost(now, peer.node);
        }
        Fact::Gone(peer) if !node.events.is_present(peer.node) => {
            node.names.lock().registry.left(peer.node);
        }
        // Sessions outlast links, and names go with sessions.
        Fact::Broke(..)
        | Fact::Idle(_)
        | Fact::Down(..)
        | Fact::Gone(_)
        | Fact::Refused(..)
        | Fact::Unreachable(..)
        | Fact::NotFound(..) => {}
    }
}

fn appears(node: &Arc<Inner>, now: Instant, peer: &Location) {
    let digests = {
        let mut state = node.names.lock();
        let appeared = state.registry.present(now, peer);
        for name in &appeared {
            state.waiting.wake(name);
        }
        state.registry.digests(now)
    };
    let peer = node.peer(peer);
    if node.names.gossips() && peer.linked().is_some() {
        tell(&peer, &digests);
    }
}

struct Hear;

impl Notices for Hear {
    fn notice(&self, from: &Arc<Peer>, payload: &[u8]) {
        let node = from.node();
        let location = from.location();
        let notice = match Notice::read(payload) {
            Ok(notice) => notice,
            Err(error) => {
                tracing::warn!(peer = %location, error, "a notice about names was dropped");
                return;
            }
        };
        let replies = {
            let mut state = node.names.lock();
            let reaction = state.registry.handle(Instant::now(), &location, &notice);
            for name in &reaction.appeared {
                state.waiting.wake(name);
            }
            reaction.replies
        };
        tell(from, &replies);
        start(node);
        node.names.news.notify_one();
    }
}

fn tell(peer: &Peer, notices: &[Notice]) {
    for notice in notices {
        if let Err(error) = peer.notify(Part::Names, &notice.write()) {
            tracing::debug!(peer = %peer.location(), %error, "a notice about names was lost");
            return;
        }
    }
}

async fn run(node: Arc<Inner>) {
    // Any sequence that differs from node to node will do.
    let mut random = Random(node.location.node.0 as u64);
    let mut round = 0;
    let mut next = Instant::now();
    let digests = node.names.lock().registry.digests(next);
    for peer in linked(&node) {
        tell(&peer, &digests);
        next = Instant::now() + INTERVAL;
    }
    loop {
        match turn(&node, next).await {
            Turn::Leave => return,
            Turn::Compare => {
                round += 1;
                compare(&node, &mut random, round);
                next = Instant::now() + INTERVAL;
            }
            Turn::News => {
                spread_news(&node, &mut random);
                if node.names.lock().registry.take_learned() {
                    // What this node lacked others may lack too.
                    next = next.min(Instant::now() + PAUSE);
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Leave,
    Compare,
    News,
}

/// What is to be done next. Peers that send without end make no news more urgent than comparing.
async fn turn(node: &Inner, next: Instant) -> Turn {
    tokio::select! {
        biased;
        () = node.leaving.cancelled() => Turn::Leave,
        () = tokio::time::sleep_until(next) => Turn::Compare,
        () = node.names.news.notified() => Turn::News,
    }
}

fn spread_news(node: &Arc<Inner>, random: &mut Random) {
    let news = node.names.lock().registry.news(Instant::now());
    if news.is_empty() {
        return;
    }
    for peer in random.some(linked(node), TELL) {
        tell(&peer, &news);
    }
}

fn compare(node: &Arc<Inner>, random: &mut Random, round: u64) {
    let now = Instant::now();
    let (digests, wanted) = {
        let mut state = node.names.lock();
        state.registry.expire(now);
        let wanted = !state.registry.is_empty() || state.waiting.is_anybody();
        (state.registry.digests(now), wanted)
    };
    let mut partners = random.some(linked(node), PARTNERS);
    // No link is made for a node that has nothing to tell and wants to know nothing.
    if wanted && (partners.is_empty() || round.is_multiple_of(ANYBODY)) {
        let present: Vec<Location> = node.events.present();
        let anybody = random.some(present, 1);
        partners.extend(anybody.iter().map(|peer| node.peer(peer)));
    }
    for peer in partners {
        tell(&peer, &digests);
    }
}

fn linked(node: &Inner) -> Vec<Arc<Peer>> {
    let mut peers = node.all_peers();
    peers.retain(|peer| peer.linked().is_some());
    peers
}

/// SplitMix64: good enough to choose partners.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At most so many of them.
    fn some<T>(&mut self, mut all: Vec<T>, most: usize) -> Vec<T> {
        for chosen in 0..most.min(all.len()) {
            let left = (all.len() - chosen) as u64;
            all.swap(chosen, chosen + (self.next() % left) as usize);
        }
        all.truncate(most);
        all
    }
}

#[cfg(test)]
mod tests {
    use coros_core::{Address, Context};
    use tokio::time::timeout;

    use super::*;
    use crate::Node;
    use crate::sim::SimNetwork;

    #[tokio::test(start_paused = true)]
    async fn notices_without_end_keep_no_digests_from_being_compared() {
        let network = SimNetwork::new(1);
        let node = network.host("n").builder().build().await;
        let node = node.expect("it starts");
        let inner = node.inner();
        let later = Instant::now() + INTERVAL;
        for _ in 0..10 {
            inner.names.news.notify_one();
            assert_eq!(turn(inner, Instant::now()).await, Turn::Compare);
        }
        assert_eq!(turn(inner, later).await, Turn::News);
        assert_eq!(turn(inner, later).await, Turn::Compare);
        node.close().await;
        assert_eq!(turn(inner, later).await, Turn::Leave);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_gossips_before_somebody_uses_names_and_then_all_do() {
        let network = SimNetwork::new(1);
        let latency = Duration::from_millis(20);
        network.latency(latency..=latency);
        let mut nodes: Vec<Node> = Vec::new();
        for number in 0..31 {
            let builder = network.host(&format!("n{number}")).builder().member(false);
            let node = builder.build().await.expect("it starts");
            if let Some(hub) = nodes.first() {
                let hub = hub.location().endpoint.expect("it listens");
                node.connect(hub).await.expect("it is there");
            }
            nodes.push(node);
        }
        let gossiping = || {
            let gossips = |node: &&Node| node.inner().names.gossips();
            nodes.iter().filter(gossips).count()
        };
        tokio::time::sleep(10 * INTERVAL).await;
        assert_eq!(gossiping(), 0);

        // Also those learn of it who neither have a name nor wait for one.
        let coro = coros_core::spawn(async |mut me: Context<u32>| me.receive().await);
        let address = coro.address();
        nodes[1].register("x", &address).expect("it is the first");
        let knows = |node: &Node| node.try_locate::<Address<u32>>("x").is_ok();
        let all_know = async {
            while !nodes.iter().all(knows) {
                tokio::time::sleep(latency).await;
            }
        };
        let known = timeout(2 * INTERVAL, all_know).await;
        assert!(known.is_ok(), "not all know within two rounds");
        assert_eq!(gossiping(), nodes.len());
    }
}
