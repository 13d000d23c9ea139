//! Who is registered under which name on the network, as far as one node knows: the names of its
//! own launch, and those of others, as they and others have told.
//!
//! Sans-io: notices and what is known of peers go in, notices come out.
//!
//! # How names spread
//!
//! Each node owns the names of its launch; nobody else changes them ([`Launch`]). A change is
//! told at once to some linked peers, and by each who did not know it to some more. Whatever is
//! missed by that is found by comparing digests: when a link comes up, and every second with a few peers.
//! Whoever knows less gets what it lacks.
//!
//! # Whose names are shown
//!
//! Those of this node, and of launches that are *present*: linked, or alive as the membership has it. Those
//! of a launch that has been lost, that is whose session is over, are hidden until it returns, and forgotten after [`KEPT`];
//! those of one that has left are gone for good. Of a launch of which this node knows by its names only (it
//! is linked to some peer, and to no member of the gossip), the names are shown while they are *young*: each
//! mention says how long ago anybody heard from the launch itself, and that only grows by being passed on, so
//! within [`MAX_AGE`] of its end nobody mentions it any more.
//!
//! # Who is trusted
//!
//! Peers have proved that they belong to the network, and what they pass on about third parties is
//! believed: a member that lies can hide names of others, or make up some. It cannot do so
//! about this node, nor for longer than until the launch itself has been linked for some seconds: its own
//! word counts above all others' ([`Doubt`]); nor can a name lead to another node than it says, which proves who it is when it is
//! dialled. What one can make this node keep is bounded ([`Limits`]): names for each launch ([`MAX_NAMES`]), what
//! all of them take ([`MAX_BYTES`]; half of it is kept for what launches say of themselves: a name is hearsay until its launch says that it has
//! come so far), those that were taken back, launches, and among them those that nobody but the names tells of; and what
//! it can make this node send, by an allowance.

mod exchange;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::{Location, NodeId};
use tokio::time::Instant;

use super::launch::{Launch, OVERHEAD};
use super::notice::{Entry, MAX_TYPE, Notice, Reach};

/// How long names of a launch are shown that nobody who could know has heard from.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(60);
/// How long names of a lost launch are kept for its return.
const KEPT: Duration = Duration::from_secs(600);
/// So many launches that have left are remembered, for the rumours about them.
const MAX_LEFT: usize = 4096;
/// How many bytes a peer may ask for, or make this node ask with, at once and each second.
const ALLOWANCE: f64 = (8 << 20) as f64;
const PER_SECOND: f64 = (2 << 20) as f64;
/// Whoever was asked for the rest of a launch has that long to answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// For so long a launch may say less of itself than others have told: what it says may have been on
/// its way for longer than what they say.
const DOUBT: Duration = Duration::from_secs(2);
/// So long a launch alone is believed about itself, when others have made up names of it.
const DISBELIEF: Duration = Duration::from_secs(60);
/// What a name takes at most, in bytes.
const LARGEST: usize = OVERHEAD + super::MAX_NAME + MAX_TYPE;
/// How many bytes answer one digest; then it is the peer's turn. (Few in unit tests.)
const PER_DIGEST: usize = if cfg!(test) { 1500 } else { 512 << 10 };

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Names of one launch.
    pub(crate) names: usize,
    /// What all names may take, in bytes. Those of this node count, and are kept in any case. Those of which only
    /// others than their launch have told may fill half of it.
    pub(crate) bytes: usize,
    /// Names in all that were taken back: with more of them, each launch keeps its share of half as many.
    pub(crate) gone: usize,
    /// Launches with names.
    pub(crate) launches: usize,
    /// Those among them that are known by their names only: anybody can make them up.
    pub(crate) hearsay: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            names: super::MAX_NAMES,
            bytes: super::MAX_BYTES,
            gone: 1 << 16,
            launches: 1 << 14,
            hearsay: 1 << 12,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Registry {
    me: NodeId,
    limits: Limits,
    launches: BTreeMap<NodeId, Launch>,
    /// Launches that have a name.
    by_name: HashMap<Arc<str>, BTreeSet<NodeId>>,
    /// What all names take, but those that were taken back.
    bytes: usize,
    /// What those take of which only others than their launch have told.
    hearsay: usize,
    gone: usize,
    peers: BTreeMap<NodeId, Peer>,
    left: Left,
    /// Launches known by their names only: when anybody heard from them last.
    heard: BTreeMap<NodeId, Instant>,
    /// What has changed and has not been passed on: since which version.
    news: BTreeMap<NodeId, u64>,
    /// Launches that say less of themselves than is known of them here.
    doubts: BTreeMap<NodeId, Doubt>,
    /// Launches with more names than there was room for.
    partial: BTreeMap<NodeId, Partial>,
    /// When somebody was asked for the rest of a launch, and what was known of it then.
    asked: BTreeMap<NodeId, (Instant, Reach)>,
    /// Whether something has been learned that is no news: others may lack it too.
    learned: bool,
}

/// What is known of a peer from its links and from the membership.
#[derive(Debug)]
struct Peer {
    lost: Option<Instant>,
    allowance: f64,
    refilled: Instant,
}

/// A launch has said less of itself than was known of it here.
///
/// That alone proves nothing: news travel by more than one way, and may overtake. When it says as little
/// after a while, others have made up the rest.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    since: Instant,
    /// What was known of it then.
    known: u64,
    /// It was so: others are not believed about it.
    proven: bool,
}

/// Not all names of a launch are kept.
#[derive(Clone, Copy, Debug)]
struct Partial {
    since: Instant,
    /// All up to this version are.
    whole: u64,
    /// Others told of it, for whom there is less room than for itself.
    hearsay: bool,
}

#[derive(Debug, Default)]
struct Left {
    ids: BTreeSet<NodeId>,
    order: VecDeque<NodeId>,
}

/// What follows from a notice.
#[derive(Debug, Default)]
pub(crate) struct Reaction {
    /// For whoever sent it.
    pub(crate) replies: Vec<Notice>,
    /// Names under which there is somebody now who was not there.
    pub(crate) appeared: Vec<Arc<str>>,
}

impl Registry {
    pub(crate) fn new(me: Location, limits: Limits) -> Self {
        let id = me.node;
        Registry {
            me: id,
            limits,
            launches: BTreeMap::from([(id, Launch::new(me))]),
            by_name: HashMap::new(),
            bytes: 0,
            hearsay: 0,
            gone: 0,
            peers: BTreeMap::new(),
            left: Left::default(),
            heard: BTreeMap::new(),
            news: BTreeMap::new(),
            doubts: BTreeMap::new(),
            partial: BTreeMap::new(),
            asked: BTreeMap::new(),
            learned: false,
        }
    }

    // ---- names of this node

    /// How many names this node has, and may have.
    pub(crate) fn room(&self) -> (usize, usize) {
        (self.mine().len(), self.limits.names)
    }

    /// Somebody here has a name now, or `None`: nobody any more.
    pub(crate) fn change(&mut self, name: &Arc<str>, entry: Option<Entry>) {
        let me = self.me;
        let before = self.mine().reach().version;
        let has = entry.is_some();
        self.change_launch(me, |launch| launch.change(Arc::clone(name), entry));
        self.news.entry(me).or_insert(before);
        if has {
            self.index(name, me);
        } else {
            self.unindex(name, me);
        }
    }

    /// Changes what is known of a launch, and counts it.
    fn change_launch<T>(&mut self, id: NodeId, f: impl FnOnce(&mut Launch) -> T) -> T {
        let launch = self.launches.get_mut(&id).expect("whoever asks knows it");
        let (bytes, hearsay, gone) = (launch.bytes(), launch.hearsay(), launch.gone());
        let result = f(launch);
        self.bytes = self.bytes + launch.bytes() - bytes;
        self.hearsay = self.hearsay + launch.hearsay() - hearsay;
        self.gone = self.gone + launch.gone() - gone;
        result
    }

    fn mine(&self) -> &Launch {
        self.launches
            .get(&self.me)
            .expect("this node is always known")
    }

    /// How many names there are in all.
    #[cfg(test)]
    pub(super) fn counted(&self) -> usize {
        self.launches.values().for_each(Launch::check);
        let bytes: usize = self.launches.values().map(Launch::bytes).sum();
        assert_eq!(self.bytes, bytes);
        let hearsay: usize = self.launches.values().map(Launch::hearsay).sum();
        assert_eq!(self.hearsay, hearsay);
        let counted = self.launches.values().map(Launch::len).sum();
        assert_eq!(self.gone, self.launches.values().map(Launch::gone).sum());
        let indexed: usize = self.by_name.values().map(BTreeSet::len).sum();
        assert_eq!(indexed, counted);
        counted
    }

    #[cfg(test)]
    pub(super) fn remembered_gone(&self) -> usize {
        self.gone
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub(super) fn launches(&self) -> usize {
        self.launches.len()
    }

    // ---- whom others look for

    /// Who has a name, in the order of the launches.
    pub(crate) fn find<'a>(
        &'a self,
        name: &str,
    ) -> impl Iterator<Item = (&'a Location, &'a Entry)> + use<'a> {
        let launches = self.by_name.get(name);
        let name: Arc<str> = name.into();
        launches.into_iter().flatten().filter_map(move |id| {
            let launch = self.launches.get(id).filter(|_| self.is_shown(*id))?;
            Some((&launch.home, launch.get(&name)?))
        })
    }

    fn is_shown(&self, launch: NodeId) -> bool {
        launch == self.me
            || match self.peers.get(&launch) {
                Some(peer) => peer.lost.is_none(),
                None => self.heard.contains_key(&launch),
            }
    }

    // ---- what is known of peers

    /// A peer is there. Names that are shown again.
    pub(crate) fn present(&mut self, now: Instant, peer: &Location) -> Vec<Arc<str>> {
        let id = peer.node;
        self.left.forget(id);
        self.heard.remove(&id);
        // What comes over a link that was made again may have waited for it.
        self.doubts.remove(&id);
        let shown = self.is_shown(id);
        let entry = self.peers.entry(id).or_insert_with(|| Peer {
            lost: None,
            allowance: ALLOWANCE,
            refilled: now,
        });
        entry.lost = None;
        match self.launches.get_mut(&id) {
            Some(launch) => {
                launch.home = peer.clone();
                if shown {
                    Vec::new()
                } else {
                    launch.names().cloned().collect()
                }
            }
            None => Vec::new(),
        }
    }

    /// There is no sign of life from a peer.
    pub(crate) fn lost(&mut self, now: Instant, peer: NodeId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.lost.get_or_insert(now);
        }
    }

    /// A peer has shut down, or nobody wants to know of it any more.
    pub(crate) fn left(&mut self, peer: NodeId) {
        self.peers.remove(&peer);
        self.doubts.remove(&peer);
        self.left.remember(peer);
        self.forget(peer);
    }

    /// Time has passed.
    pub(crate) fn expire(&mut self, now: Instant) {
        let since = |then: &Instant| now.saturating_duration_since(*then);
        let old = self.heard.extract_if(.., |_, heard| since(heard) > MAX_AGE);
        let mut old: Vec<_> = old.map(|(id, _)| id).collect();
        let lost = self.peers.extract_if(.., |_, peer| {
            peer.lost.is_some_and(|lost| since(&lost) > KEPT)
        });
        old.extend(lost.map(|(id, _)| id));
        for id in old {
            self.forget(id);
        }
        // Perhaps all of it fits now.
        let again = self
            .partial
            .iter()
            .filter(|(_, it)| since(&it.since) > KEPT);
        for (id, hearsay) in again.map(|(id, it)| (*id, it.hearsay)).collect::<Vec<_>>() {
            self.start_again(id, hearsay);
        }
        self.doubts.retain(|_, doubt| {
            let kept = if doubt.proven { DISBELIEF } else { KEPT };
            since(&doubt.since) <= kept
        });
    }

    /// What is missing of a launch of which only a part is kept is asked for once more, if there is room for a name.
    fn start_again(&mut self, id: NodeId, hearsay: bool) {
        if self.bytes_left(hearsay) >= LARGEST
            && let Some(partial) = self.partial.remove(&id)
            && let Some(launch) = self.launches.get_mut(&id)
        {
            launch.start_again(partial.whole);
        }
    }

    /// How much room there is for what a launch says of itself, or others of it.
    fn bytes_left(&self, hearsay: bool) -> usize {
        let all = self.limits.bytes.saturating_sub(self.bytes);
        if hearsay {
            all.min((self.limits.bytes / 2).saturating_sub(self.hearsay))
        } else {
            all
        }
    }

    fn forget(&mut self, id: NodeId) {
        self.heard.remove(&id);
        self.news.remove(&id);
        self.asked.remove(&id);
        self.partial.remove(&id);
        if let Some(launch) = self.launches.remove(&id) {
            self.bytes -= launch.bytes();
            self.hearsay -= launch.hearsay();
            self.gone -= launch.gone();
            for name in launch.names() {
                self.unindex(name, id);
            }
        }
    }

    /// When more names that were taken back are remembered than there is room for, the oldest of each launch
    /// are forgotten: whoever has not heard of those is told all of the launch once more.
    fn limit_gone(&mut self) {
        if self.gone > self.limits.gone {
            let share = self.limits.gone / 2 / self.launches.len();
            self.gone = 0;
            for launch in self.launches.values_mut() {
                launch.forget(share);
                self.gone += launch.gone();
            }
        }
    }

    // ---- which launches have a name

    fn index(&mut self, name: &Arc<str>, launch: NodeId) {
        let launches = self.by_name.entry(Arc::clone(name)).or_default();
        launches.insert(launch);
    }

    fn unindex(&mut self, name: &Arc<str>, launch: NodeId) {
        if let Some(launches) = self.by_name.get_mut(name) {
            launches.remove(&launch);
            if launches.is_empty() {
                self.by_name.remove(name);
            }
        }
    }
}

impl Left {
    fn remember(&mut self, id: NodeId) {
        if self.ids.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > MAX_LEFT
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    fn forget(&mut self, id: NodeId) {
        if self.ids.remove(&id) {
            self.order.retain(|it| *it != id);
        }
    }
}
