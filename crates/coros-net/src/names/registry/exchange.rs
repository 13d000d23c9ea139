//! What nodes tell each other of names, and what is made of it.

use std::collections::BTreeMap;

use coros_core::remote::{Location, NodeId};
use tokio::time::Instant;

use super::{
    ALLOWANCE, ASK_AGAIN, DOUBT, Doubt, MAX_AGE, PER_DIGEST, PER_SECOND, Partial, Reaction,
    Registry,
};
use crate::names::launch::{Applied, Launch, Room};
use crate::names::notice::{Age, Digest, Known, MAX_KNOWN, Notice, Reach, Spread, Update};

impl Registry {
    /// Whether this node has nothing to tell others: it can only ask.
    pub(crate) fn is_empty(&self) -> bool {
        self.launches.len() == 1 && self.mine().reach().version == 0
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
            let reach = names.reach();
            let told = reach.version > 0 && self.is_shown(launch);
            told.then(|| Known {
                launch,
                reach,
                age: self.age(now, launch),
            })
        })
    }

    fn reach(&self, launch: NodeId) -> Reach {
        let launch = self.launches.get(&launch);
        launch.map_or(Reach::default(), Launch::reach)
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
                && launch.reach().is_whole()
            {
                let since = Reach::whole(since);
                if launch.has_forgotten(since) {
                    // All of it is more than news: those who lack it ask, and get it bit by bit.
                    self.learned = true;
                    continue;
                }
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
            .map(|it| (it.launch, it.reach))
            .collect();
        if (digest.first..=digest.last).contains(&from) {
            let says = theirs.get(&from).copied().unwrap_or_default();
            self.believe_itself(now, from, says.goal);
            self.itself_again(from);
        }
        let mut behind = false;
        for known in &digest.known {
            self.mentioned(now, known.launch, known.age);
            let ours = self.reach(known.launch);
            behind |= known.reach.can_tell(ours) && self.may_hear_of(from, known.launch, known.age);
        }
        let mut reaction = Reaction::default();
        let ahead: Vec<_> = self
            .known(now, digest.first, digest.last)
            .map(|ours| (ours, theirs.get(&ours.launch).copied().unwrap_or_default()))
            .filter(|(ours, theirs)| ours.reach.can_tell(*theirs) && ours.launch != from)
            .filter(|(ours, _)| !self.partial.contains_key(&ours.launch))
            .collect();
        let all = PER_DIGEST.min(self.allowance(now, from));
        let mut budget = all;
        let count = ahead.len();
        let mut whole = 0;
        for (ours, theirs) in ahead {
            let launch = &self.launches[&ours.launch];
            let updates = launch.since(theirs, ours.age, false, &mut budget);
            whole += usize::from(updates.last().is_some_and(|it| it.upto == it.latest));
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
            let rest = self.partial_digest(now, from, digest.first, digest.last);
            reaction.replies.extend(rest);
        }
        reaction
    }

    /// What this node knows of some launches, for a peer to tell it the rest; as far as that is worth it.
    fn partial_digest(
        &mut self,
        now: Instant,
        to: NodeId,
        first: NodeId,
        last: NodeId,
    ) -> Option<Notice> {
        if self.allowance(now, to) == 0 {
            return None;
        }
        let known: Vec<_> = self.known(now, first, last).take(MAX_KNOWN).collect();
        let last = match known.last() {
            Some(last) if known.len() == MAX_KNOWN => last.launch,
            _ => last,
        };
        let notice = Notice::Digest(Digest {
            first,
            last,
            known,
            mutual: false,
        });
        self.spend(to, notice.write().len());
        Some(notice)
    }

    fn update(&mut self, now: Instant, from: &Location, update: &Update) -> Reaction {
        let mut reaction = Reaction::default();
        let id = update.home.node;
        if !self.may_hear_of(from.node, id, update.age) {
            return reaction;
        }
        let hearsay = id != from.node;
        if !hearsay {
            self.itself_again(id);
        }
        let home = if hearsay { &update.home } else { from };
        if !self.launches.contains_key(&id) {
            let unknown = !self.peers.contains_key(&id);
            if self.launches.len() > self.limits.launches
                || unknown && self.heard.len() >= self.limits.hearsay
            {
                return reaction;
            }
            self.launches.insert(id, Launch::new(home.clone()));
        }
        self.mentioned(now, id, update.age);
        let version = self.reach(id).version;
        if !hearsay {
            self.change_launch(id, |launch| launch.says(update.latest));
        }
        let room = Room {
            names: self.limits.names,
            bytes: self.launches[&id].bytes() + self.bytes_left(false),
            hearsay: self.launches[&id].hearsay() + self.bytes_left(true),
        };
        match self.change_launch(id, |launch| launch.apply(update, room)) {
            Applied::Known => {}
            Applied::Gap => reaction
                .replies
                .extend(self.ask_for_the_rest(now, from.node, id)),
            Applied::News {
                appeared,
                vanished,
                left_out,
            } => {
                if let Some(first) = left_out.first()
                    && self.keep_a_part(now, id, first - 1, hearsay)
                {
                    tracing::warn!(
                        %from,
                        %home,
                        left_out = left_out.len(),
                        most_names = room.names,
                        most_bytes = room.bytes,
                        "more names of a node than there is room for: it is not found under all of them"
                    );
                }
                self.limit_gone();
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
                        let last = NodeId(u128::MAX);
                        let rest = self.partial_digest(now, from.node, id, last);
                        reaction.replies.extend(rest);
                    }
                }
                if self.is_shown(id) {
                    reaction.appeared = appeared;
                }
            }
        }
        reaction
    }

    /// There was no room for all that the launch itself, or others, told of what came after a version; whether
    /// there was before.
    fn keep_a_part(&mut self, now: Instant, id: NodeId, whole: u64, hearsay: bool) -> bool {
        let known = self.partial.len();
        let new = Partial {
            since: now,
            whole,
            hearsay,
        };
        let partial = self.partial.entry(id).or_insert(new);
        partial.whole = partial.whole.min(whole);
        self.partial.len() > known
    }

    /// A launch tells of itself, for which there is more room than for what others told of it.
    fn itself_again(&mut self, id: NodeId) {
        if self.partial.get(&id).is_some_and(|it| it.hearsay) {
            self.start_again(id, false);
        }
    }

    /// Something of a launch is missing: asks for it, once, however many notices come too early.
    fn ask_for_the_rest(&mut self, now: Instant, whom: NodeId, launch: NodeId) -> Option<Notice> {
        let reach = self.reach(launch);
        let asked = self.asked.get(&launch);
        if asked.is_some_and(|&(at, then)| then == reach && now < at + ASK_AGAIN) {
            return None;
        }
        self.asked.insert(launch, (now, reach));
        self.partial_digest(now, whom, launch, launch)
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
        if self.launches.contains_key(&id) {
            self.change_launch(id, |launch| launch.says(says));
        }
        let known = self.reach(id).goal;
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
}
