//! Finding other nodes: from where a node starts to know the network.
//!
//! A [`Source`] tells which endpoints there are, again and again: addresses that were given
//! ([`fixed`]), whatever a name stands for in the DNS ([`dns`]), a file ([`mod@file`]), whoever announces
//! himself on the local network ([`multicast`]). For
//! each a [`Dialler`] makes links with what it tells, in time and without haste; no more than [`DIALS`] dials are under
//! way for all that were given. One found member is enough: the membership knows the others.

mod announced;
mod dialler;
mod dns;
mod file;
mod fixed;
mod host_port;
mod lookup;
mod multicast;
mod turns;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::NodeId;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Semaphore, mpsc};

use self::dialler::{Dialler, Outcome};
pub(crate) use self::dns::Dns;
pub use self::dns::{Resolve, SystemResolver};
pub(crate) use self::file::File;
pub use self::file::PeersFileError;
#[cfg(feature = "fuzzing")]
pub(crate) use self::file::peers_of;
pub(crate) use self::fixed::Fixed;
pub use self::host_port::{HostPort, NotHostPort};
pub(crate) use self::multicast::Multicast;
use crate::HandshakeError;
use crate::clock::{self, now};
use crate::greeting;
use crate::node::{ConnectError, Inner};
use crate::roster::Fact;
use crate::unheard::{self, Trouble};

/// So many dials are under way at once, for all sources that were given. Those of strangers wait for nobody, and
/// nobody for them.
const DIALS: usize = 64;
/// How long somebody who was not given may take to show that he is of the network: he is near.
const STRANGE: Duration = Duration::from_secs(1);
/// What is heard waits for its turn where it comes from: more is told than anyone would keep.
const QUEUED: usize = 4;

/// What a source tells.
#[derive(Debug)]
pub(crate) enum Heard {
    /// These are all endpoints that there are.
    Given(BTreeSet<SocketAddr>),
    /// It is not known where some of it is, and why. What was found of it before may be there still.
    NotFound(HostPort, Arc<str>),
    /// What was said since the last time.
    Announced(Vec<Said>),
    /// Nothing that was announced counts any more.
    Nothing,
}

/// Where somebody says that a node is: at none of any endpoints if it has left.
pub(crate) type Said = (NodeId, BTreeSet<SocketAddr>);

/// Where endpoints of other nodes come from.
pub(crate) trait Source: Send {
    /// What there is to tell; resolves when there is something, and when it may have changed. Cancel safe.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Heard> + Send + '_>>;

    /// Whether somebody who runs this node has named them. Else anybody may tell anything.
    fn is_given(&self) -> bool {
        true
    }

    /// Nobody asks any more.
    fn end(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async {})
    }
}

/// Who is not there any more, if that is what the fact says; whether it has said goodbye.
fn absent(node: &Inner, fact: &Fact) -> Option<(NodeId, bool)> {
    let (peer, left) = match fact {
        Fact::Left(peer) | Fact::Gone(peer) => (peer, true),
        Fact::Broke(peer, _) | Fact::Lost(peer, _) | Fact::Down(peer, _) => (peer, false),
        Fact::Linked(_)
        | Fact::Up(_)
        | Fact::Idle(_)
        | Fact::Refused(..)
        | Fact::Unreachable(..)
        | Fact::NotFound(..) => return None,
    };
    // What is to be told of whoever is there tells itself.
    (!node.events.is_present(peer.node)).then_some((peer.node, left))
}

/// Looks for other nodes until this one leaves: for what each source tells by itself, so that one that
/// is flooded by strangers keeps no other from being heard.
pub(crate) fn start(node: &Arc<Inner>, sources: Vec<Box<dyn Source>>) {
    let dials = Arc::new(Semaphore::new(DIALS));
    for source in sources {
        let dials = source.is_given().then(|| Arc::clone(&dials));
        // Not by the events that users get: what those do with them holds up no dials.
        let facts = node.events.tap();
        node.tasks
            .spawn(look(Arc::clone(node), source, dials, facts));
    }
}

async fn look(
    node: Arc<Inner>,
    source: Box<dyn Source>,
    dials: Option<Arc<Semaphore>>,
    mut facts: UnboundedReceiver<Fact>,
) {
    // Without random numbers there is no TLS either.
    let random = SmallRng::seed_from_u64(getrandom::u64().unwrap_or_default());
    let mut dialler = Dialler::new(now(), source.is_given(), random);
    let (tell, mut heard) = mpsc::channel(QUEUED);
    let (over, mut dialled) = mpsc::channel(QUEUED);
    node.tasks.spawn(ask(Arc::clone(&node), source, tell));
    let present = |peer| node.events.is_present(peer);
    loop {
        let due = clock::until(dialler.deadline());
        tokio::select! {
            biased;
            () = node.leaving.cancelled() => return,
            Some((endpoint, outcome, trouble)) = dialled.recv() => {
                if let Some(why) = dialler.dialled(now(), endpoint, outcome, present) {
                    if let Some(trouble) = trouble {
                        unheard::say(trouble, format_args!("trying on: {why}"));
                    }
                    node.events.tell(Fact::Unreachable(endpoint, why));
                }
            }
            Some(heard) = heard.recv() => match heard {
                Heard::Given(endpoints) => dialler.given(now(), &endpoints),
                Heard::NotFound(name, why) => {
                    let trouble = Trouble::NotFound(name.clone());
                    unheard::say(trouble, format_args!("trying on: {why}"));
                    node.events.tell(Fact::NotFound(name, why));
                }
                Heard::Announced(nodes) => for (id, endpoints) in nodes {
                    dialler.announced(now(), id, &endpoints, present);
                },
                Heard::Nothing => dialler.forget_all(),
            },
            Some(fact) = facts.recv() => if let Some((peer, left)) = absent(&node, &fact) {
                dialler.absent(now(), peer, left);
            },
            () = due => {}
        }
        while let Some((endpoint, who)) = dialler.next(now()) {
            let (node, dials, over) = (Arc::clone(&node), dials.clone(), over.clone());
            let tasks = node.tasks.clone();
            tasks.spawn(async move {
                let dialled = dial(&node, endpoint, who, dials.as_deref()).await;
                if let Some((outcome, trouble)) = dialled {
                    let _ = over.send((endpoint, outcome, trouble)).await;
                }
            });
        }
    }
}

async fn ask(node: Arc<Inner>, mut source: Box<dyn Source>, tell: mpsc::Sender<Heard>) {
    loop {
        tokio::select! {
            biased;
            () = node.leaving.cancelled() => break,
            heard = source.next() => {
                if tell.send(heard).await.is_err() {
                    break;
                }
            }
        }
    }
    source.end().await;
}

/// `None` when the node leaves before its turn has come. Without turns it is a stranger.
async fn dial(
    node: &Arc<Inner>,
    endpoint: SocketAddr,
    who: Option<NodeId>,
    dials: Option<&Semaphore>,
) -> Option<(Outcome, Option<Trouble>)> {
    let own = [node.location.endpoint, node.listening];
    if own.contains(&Some(endpoint)) {
        return Some((Outcome::Itself, None));
    }
    let (_turn, patience) = match dials {
        None => (None, STRANGE),
        Some(dials) => tokio::select! {
            biased;
            () = node.leaving.cancelled() => return None,
            turn = dials.acquire() => (Some(turn.ok()?), Duration::MAX),
        },
    };
    // Looked for only now: it may have come meanwhile.
    if let Some(peer) = node.events.whoever_is_at(endpoint) {
        return Some((Outcome::Known(peer), None));
    }
    if let Some(peer) = who.filter(|who| node.events.is_present(*who)) {
        return Some((Outcome::NoNeed(peer), None));
    }
    Some(match greeting::connect(node, endpoint, patience).await {
        Ok(peer) => (Outcome::Known(peer.node), None),
        Err(ConnectError::Itself { .. }) => (Outcome::Itself, None),
        Err(error) => {
            let trouble = Trouble::unreachable(endpoint, &error);
            (failed(&error), Some(trouble))
        }
    })
}

fn failed(error: &ConnectError) -> Outcome {
    use HandshakeError::{Connection, Refused, TimedOut};
    match error {
        ConnectError::Handshake {
            // It shuts down, say: another launch may be there soon.
            why: Connection { .. } | TimedOut(_) | Refused(_),
            ..
        } => Outcome::Unreachable(error.to_string().into()),
        // Nothing that mends itself soon.
        ConnectError::Handshake { .. } => Outcome::Refused(error.to_string().into()),
        _ => Outcome::Unreachable(error.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::sim::SimNetwork;
    use crate::transport::Transport as _;

    /// Tells it once, as one who hears it from strangers.
    struct Strangers(Option<Vec<Said>>);

    impl Source for Strangers {
        fn next(&mut self) -> Pin<Box<dyn Future<Output = Heard> + Send + '_>> {
            Box::pin(async {
                match self.0.take() {
                    Some(said) => Heard::Announced(said),
                    None => std::future::pending().await,
                }
            })
        }

        fn is_given(&self) -> bool {
            false
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_given_waits_for_no_stranger() {
        let network = SimNetwork::new(1);
        let [desk, farm, wall] = ["desk", "farm", "wall"].map(|name| network.host(name));
        // They let others come, and say nothing.
        let endpoints: Vec<_> = (1..=DIALS as u16)
            .map(|port| SocketAddr::from((wall.ip(), port)))
            .collect();
        let mut listeners = Vec::new();
        for endpoint in &endpoints {
            listeners.push(wall.listen(*endpoint).await.unwrap());
        }
        let there = SocketAddr::from((farm.ip(), 7000));
        let farm = farm.builder().listen(there).member(false);
        let farm = farm.build().await.unwrap();
        let desk = desk.builder().member(false).build().await.unwrap();
        let mut facts = desk.inner().events.tap();
        let strangers = (1..).map(NodeId).zip(&endpoints[..8]);
        let strangers = strangers.map(|(id, at)| (id, [*at].into())).collect();
        let mut sources: Vec<Box<dyn Source>> = vec![Box::new(Strangers(Some(strangers)))];
        // With the farm as many as may be dialled at once.
        for given in endpoints[1..].iter().chain([&there]) {
            sources.push(Box::new(Fixed::new(*given)));
        }
        let start = Instant::now();
        super::start(desk.inner(), sources);
        let mut fact = async || facts.recv().await.unwrap();
        loop {
            if let Fact::Linked(peer) = fact().await {
                assert_eq!(peer, farm.location());
                break;
            }
        }
        assert!(start.elapsed() < STRANGE / 2, "{:?}", start.elapsed());
        // A stranger has less time than one who is given.
        loop {
            if let Fact::Unreachable(endpoint, why) = fact().await {
                assert!(endpoints[..8].contains(&endpoint));
                assert!(why.contains("within 1.0s"), "{why}");
                break;
            }
        }
        assert!(start.elapsed() < 2 * STRANGE, "{:?}", start.elapsed());
    }
    #[tokio::test(start_paused = true)]
    async fn the_last_word_is_not_the_only_one() {
        let network = SimNetwork::new(1);
        let [desk, farm, wall] = ["desk", "farm", "wall"].map(|name| network.host(name));
        let there = SocketAddr::from((farm.ip(), 7000));
        let farm = farm.builder().listen(there).member(false);
        let farm = farm.build().await.unwrap();
        let desk = desk.builder().member(false).build().await.unwrap();
        let mut facts = desk.inner().events.tap();
        let who = farm.location().node;
        let nowhere = SocketAddr::from((wall.ip(), 7000));
        let said = vec![(who, [there].into()), (who, [nowhere].into())];
        start(desk.inner(), vec![Box::new(Strangers(Some(said)))]);
        loop {
            if let Fact::Linked(peer) = facts.recv().await.unwrap() {
                assert_eq!(peer, farm.location());
                break;
            }
        }
    }
}
