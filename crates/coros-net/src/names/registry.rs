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
//! dialled. What one can make this node keep is bounded: names for each launch ([`MAX_NAMES`]),
//! names in all, launches; and what it can make this node send, by an allowance.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::{Location, NodeId};
use tokio::time::Instant;

use super::launch::{Applied, Launch};
use super::notice::{Age, Digest, Entry, Known, MAX_KNOWN, Notice, Spread, Update};

/// How long names of a launch are shown that nobody who could know has heard from.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(60);
/// How long names of a lost launch are kept for its return.
const KEPT: Duration = Duration::from_secs(600);
/// So many launches that have left are remembered, for the rumours about them.
const MAX_LEFT: usize = 4096;
/// How many bytes a peer may ask for at once, and each second.
const ALLOWANCE: f64 = (8 << 20) as f64;
const PER_SECOND: f64 = (2 << 20) as f64;
/// Whoever was asked for the rest of a launch has that long to answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// For so long a launch may say less of itself than others have told: what it says may have been on
/// its way for longer than what they say.
const DOUBT: Duration = Duration::from_secs(2);
/// So long a launch alone is believed about itself, when others have made up names of it.
const DISBELIEF: Duration = Duration::from_secs(60);
/// How many bytes answer one digest; then it is the peer's turn. (Few in unit tests.)
const PER_DIGEST: usize = if cfg!(test) { 1500 } else { 512 << 10 };

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Names of one launch.
    pub(crate) names: usize,
    /// Names in all.
    pub(crate) total: usize,
    /// Launches with names.
    pub(crate) launches: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            names: super::MAX_NAMES,
            total: 1 << 20,
            launches: 1 << 14,
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
    total: usize,
    peers: BTreeMap<NodeId, Peer>,
    left: Left,
    /// Launches known by their names only: when anybody heard from them last.
    heard: BTreeMap<NodeId, Instant>,
    /// What has changed and has not been passed on: since which version.
    news: BTreeMap<NodeId, u64>,
    /// Launches that say less of themselves than is known of them here.
    doubts: BTreeMap<NodeId, Doubt>,
    /// Launches with more names than there is room for, since when.
    partial: BTreeMap<NodeId, Instant>,
    /// When somebody was asked for the rest of a launch, and what was known of it then.
    asked: BTreeMap<NodeId, (Instant, u64)>,
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
            total: 0,
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
        let before = self.mine().version();
        let launch = self
            .launches
            .get_mut(&me)
            .expect("this node is always known");
        let counted = launch.len();
        let has = entry.is_some();
        launch.change(Arc::clone(name), entry);
        self.total = self.total + launch.len() - counted;
        self.news.entry(me).or_insert(before);
        if has {
            self.index(name, me);
        } else {
            self.unindex(name, me);
        }
    }

    fn mine(&self) -> &Launch {
        self.launches
            .get(&self.me)
            .expect("this node is always known")
    }

    /// How many names there are in all.
    #[cfg(test)]
    pub(super) fn counted(&self) -> usize {
        let counted = self.launches.values().map(Launch::len).sum();
        assert_eq!(self.total, counted);
        let indexed: usize = self.by_name.values().map(BTreeSet::len).sum();
        assert_eq!(indexed, counted);
        counted
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
        if self.total < self.limits.total {
            // Perhaps all of it fits now: it is asked for once more.
            let again = self.partial.iter().filter(|(_, at)| since(at) > KEPT);
            old.extend(again.map(|(id, _)| *id));
        }
        for id in old {
            self.forget(id);
        }
        self.doubts.retain(|_, doubt| {
            let kept = if doubt.proven { DISBELIEF } else { KEPT };
            since(&doubt.since) <= kept
        });
    }

    fn forget(&mut self, id: NodeId) {
        self.heard.remove(&id);
        self.news.remove(&id);
        self.asked.remove(&id);
        self.partial.remove(&id);
        if let Some(launch) = self.launches.remove(&id) {
            self.total -= launch.len();
            for name in launch.names() {
                self.unindex(name, id);
            }
        }
    }

    // ---- gossip

    /// Whether this node has nothing to tell others: it can only ask.
    pub(crate) fn is_empty(&self) -> bool {
        self.launches.len() == 1 && self.mine().version() == 0
    }

    /// What this node knows, in as many notices as it takes; one that says so, if that is nothing.
    pub(crate) fn digests(&self, now: Instant) -> Vec<Notice> {
        let known: Vec<Known> = self.known(now, NodeId(0), NodeId(u128::MAX)).collect();
        let mut first = NodeId(0);
        if known.is_empty() {
            return vec![Notice::Digest(Digest {
                first,
                last: NodeId(u128::MAX),
                known,
                mutual: true,
            })];
        }
        let mut notices = Vec::new();
        let mut chunks = known.chunks(MAX_KNOWN).peekable();
        while let Some(chunk) = chunks.next() {
            let last = match (chunks.peek(), chunk.last()) {
                (Some(_), Some(known)) => known.launch,
                _ => NodeId(u128::MAX),
            };
            notices.push(Notice::Digest(Digest {
                first,
                last,
                known: chunk.to_vec(),
                mutual: true,
            }));
            first = NodeId(last.0.wrapping_add(1));
        }
        notices
    }

    fn known(&self, now: Instant, first: NodeId, last: NodeId) -> impl Iterator<Item = Known> {
        let launches = self.launches.range(first..=last);
        launches.filter_map(move |(&launch, names)| {
            let version = names.version();
            let told = version > 0 && self.is_shown(launch);
            told.then(|| Known {
                launch,
                version,
                age: self.age(now, launch),
            })
        })
    }

    fn age(&self, now: Instant, launch: NodeId) -> Age {
        let heard = self.heard.get(&launch);
        heard.map_or(Age::NONE, |heard| {
            Age::new(now.saturating_duration_since(*heard))
        })
    }

    /// What has happened since this was called last, to be told to some peers.
    pub(crate) fn news(&mut self, now: Instant) -> Vec<Notice> {
        let news = std::mem::take(&mut self.news);
        let mut notices = Vec::new();
        for (id, since) in news {
            if self.is_shown(id)
                && !self.partial.contains_key(&id)
                && let Some(launch) = self.launches.get(&id)
            {
                let mut all = usize::MAX;
                let updates = launch.since(since, self.age(now, id), true, &mut all);
                notices.extend(updates.into_iter().map(Notice::Update));
            }
        }
        notices
    }

    /// Whether something has been learned since this was asked last, other than by news: then it
    /// is time to compare with others.
    pub(crate) fn take_learned(&mut self) -> bool {
        std::mem::take(&mut self.learned)
    }

    /// A notice has come from a peer.
    pub(crate) fn handle(&mut self, now: Instant, from: &Location, notice: &Notice) -> Reaction {
        match notice {
            Notice::Digest(digest) => self.digest(now, from.node, digest),
            Notice::Update(update) => self.update(now, from, update),
        }
    }

    fn digest(&mut self, now: Instant, from: NodeId, digest: &Digest) -> Reaction {
        let theirs: BTreeMap<_, _> = digest
            .known
            .iter()
            .map(|it| (it.launch, it.version))
            .collect();
        if (digest.first..=digest.last).contains(&from) {
            self.believe_itself(now, from, theirs.get(&from).copied().unwrap_or(0));
        }
        let mut behind = false;
        for known in &digest.known {
            self.mentioned(now, known.launch, known.age);
            let ours = self.launches.get(&known.launch).map_or(0, Launch::version);
            behind |= ours < known.version && self.may_hear_of(from, known.launch, known.age);
        }
        let mut reaction = Reaction::default();
        let ahead: Vec<_> = self
            .known(now, digest.first, digest.last)
            .map(|ours| (ours, theirs.get(&ours.launch).copied().unwrap_or(0)))
            .filter(|(ours, theirs)| ours.version > *theirs && ours.launch != from)
            .filter(|(ours, _)| !self.partial.contains_key(&ours.launch))
            .collect();
        let all = PER_DIGEST.min(self.allowance(now, from));
        let mut budget = all;
        let count = ahead.len();
        let mut whole = 0;
        for (ours, theirs) in ahead {
            let launch = &self.launches[&ours.launch];
            let updates = launch.since(theirs, ours.age, false, &mut budget);
            whole += usize::from(updates.last().is_some_and(|it| it.upto == launch.version()));
            reaction
                .replies
                .extend(updates.into_iter().map(Notice::Update));
            if budget == 0 {
                break;
            }
        }
        if whole < count
            && let Some(Notice::Update(last)) = reaction.replies.last_mut()
        {
            last.spread = Spread::Part;
        }
        self.spend(from, all - budget);
        if behind && digest.mutual {
            reaction
                .replies
                .push(self.partial_digest(now, digest.first, digest.last));
        }
        reaction
    }

    /// What this node knows of some launches, to be told the rest.
    fn partial_digest(&self, now: Instant, first: NodeId, last: NodeId) -> Notice {
        let known: Vec<_> = self.known(now, first, last).take(MAX_KNOWN).collect();
        let last = match known.last() {
            Some(last) if known.len() == MAX_KNOWN => last.launch,
            _ => last,
        };
        Notice::Digest(Digest {
            first,
            last,
            known,
            mutual: false,
        })
    }

    fn update(&mut self, now: Instant, from: &Location, update: &Update) -> Reaction {
        let mut reaction = Reaction::default();
        let id = update.home.node;
        if !self.may_hear_of(from.node, id, update.age) {
            return reaction;
        }
        let has = self.launches.get(&id).map_or(0, Launch::len);
        let most = self
            .limits
            .names
            .min(has + self.limits.total.saturating_sub(self.total));
        let home = if id == from.node { from } else { &update.home };
        if !self.launches.contains_key(&id) {
            if self.launches.len() > self.limits.launches {
                return reaction;
            }
            self.launches.insert(id, Launch::new(home.clone()));
        }
        self.mentioned(now, id, update.age);
        let launch = self
            .launches
            .get_mut(&id)
            .expect("it has just been looked at");
        let (version, counted) = (launch.version(), launch.len());
        match launch.apply(update, most) {
            Applied::Known => {}
            Applied::Gap => reaction.replies.extend(self.ask_for_the_rest(now, id)),
            Applied::News {
                appeared,
                vanished,
                left_out,
            } => {
                if left_out > 0 && self.partial.insert(id, now).is_none() {
                    tracing::warn!(
                        %from,
                        %home,
                        left_out,
                        "more names of a node than there is room for: it is not found under new ones"
                    );
                }
                self.total = self.total + launch.len() - counted;
                for name in &vanished {
                    self.unindex(name, id);
                }
                for name in &appeared {
                    self.index(name, id);
                }
                match update.spread {
                    Spread::News => {
                        self.news.entry(id).or_insert(version);
                    }
                    Spread::Answer => self.learned = true,
                    Spread::Part => {
                        let rest = self.partial_digest(now, id, NodeId(u128::MAX));
                        reaction.replies.push(rest);
                    }
                }
                if self.is_shown(id) {
                    reaction.appeared = appeared;
                }
            }
        }
        reaction
    }

    /// Something of a launch is missing: asks for it, once, however many notices come too early.
    fn ask_for_the_rest(&mut self, now: Instant, launch: NodeId) -> Option<Notice> {
        let version = self.launches.get(&launch).map_or(0, Launch::version);
        let asked = self.asked.get(&launch);
        if asked.is_some_and(|&(at, then)| then == version && now < at + ASK_AGAIN) {
            return None;
        }
        self.asked.insert(launch, (now, version));
        Some(self.partial_digest(now, launch, launch))
    }

    /// Whether what a peer tells of names of a launch counts.
    fn may_hear_of(&self, from: NodeId, launch: NodeId, age: Age) -> bool {
        let doubted = || self.doubts.get(&launch).is_some_and(|it| it.proven);
        let known_to_be = || launch == from || !doubted();
        self.may_be(launch, age) && known_to_be()
    }

    /// Whether a launch that somebody mentions may be there.
    fn may_be(&self, launch: NodeId, age: Age) -> bool {
        launch != self.me && !self.left.ids.contains(&launch) && age.get() <= MAX_AGE
    }

    /// Somebody has told of a launch.
    fn mentioned(&mut self, now: Instant, launch: NodeId, age: Age) {
        if self.peers.contains_key(&launch) || !self.launches.contains_key(&launch) {
            return;
        }
        if !self.may_be(launch, age) {
            return;
        }
        // Nothing is older than the clock.
        let then = now.checked_sub(age.get()).unwrap_or(now);
        let heard = self.heard.entry(launch).or_insert(then);
        *heard = then.max(*heard);
    }

    /// What a launch says of itself counts: when it goes on saying less than is known here, somebody else has
    /// told more than there is.
    fn believe_itself(&mut self, now: Instant, id: NodeId, says: u64) {
        let known = self.launches.get(&id).map_or(0, Launch::version);
        if known <= says {
            // What is proven stays so for a while: the others may not have heard.
            self.doubts.retain(|it, doubt| *it != id || doubt.proven);
            return;
        }
        let new = Doubt {
            since: now,
            known,
            proven: false,
        };
        let doubt = self.doubts.entry(id).or_insert(new);
        if says >= doubt.known {
            // It has caught up with what was doubted then; this is another doubt.
            *doubt = new;
        } else if now >= doubt.since + DOUBT {
            tracing::warn!(node = %id, "somebody has made up names of this node");
            *doubt = Doubt {
                since: now,
                proven: true,
                ..new
            };
            self.forget(id);
        }
    }

    fn allowance(&mut self, now: Instant, peer: NodeId) -> usize {
        let Some(peer) = self.peers.get_mut(&peer) else {
            // It has a link, or this would not have come: the news of that are on their way.
            return PER_DIGEST;
        };
        let since = now.saturating_duration_since(peer.refilled);
        peer.refilled = now;
        peer.allowance = (peer.allowance + since.as_secs_f64() * PER_SECOND).min(ALLOWANCE);
        peer.allowance as usize
    }

    fn spend(&mut self, peer: NodeId, bytes: usize) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.allowance -= bytes as f64;
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
