//! Who is on the network: SWIM, by [foca], over the links.
//!
//! Every member probes another one each [period](Settings::period), in turns that are shuffled, and
//! asks three others to do so when it gets no answer. Who answers nobody is suspected, and is down
//! unless it contradicts in time. What members have heard of each other (who is new, suspected,
//! down) rides along with probes and answers, a limited number of times; so all of them hear all.
//!
//! # What is done here beside foca
//!
//! - **News goes over the links there are.** What a member learns it passes on, within a tenth of a period, to
//!   a few members that it has a link with, and to none that it would have to dial: that reaches nearly
//!   all. Whoever sends a probe hears what it has missed: that reaches the rest (see `news`).
//! - **Links bear witness.** A link that breaks puts its peer under suspicion at once. While there is one,
//!   its peer is alive: whatever others say against it is not believed, and it is told so that
//!   it can contradict.
//! - **Not everybody can dial everybody.** Two behind two routers know each other by the rest: that one of them
//!   cannot reach the other is no evidence while others can (see `signs`).
//! - **Those who leave say so**, and are not sought. Those who are down are, for [ten minutes](REMEMBERED), and
//!   come back if they were only cut off.
//!
//! # How soon
//!
//! With `p` the period and `n` members, a member that dies is known to be down by all the others
//!
//! - once its death breaks a link (a closed connection at once, silence after
//!   [`Builder::silence`](crate::Builder::silence) and a tenth): within `p * (3 * log10(n + 1) + 4)`,
//! - else, which takes that none has a link with it, within `p * (3 * log10(n + 1) + 46)`: for 30 periods its last
//!   sign of life counts, and the chance that none of the others probes it within 12 more is less than 1 in
//!   100,000.
//!
//! `log10` counts as 1 for less than nine members. Three times it is the time of suspicion; the rest
//! is for probing, and for news to spread by probes where no link carried it. Those who have a link
//! know by that, much earlier.
//!
//! # How many links
//!
//! Probes are all that opens links: one each period to a member without one, so that a node has,
//! beside those that it uses, two on average for each period in which an idle link stays open (its
//! own and those of whoever probes it), and hardly ever three, however many members there are. A link
//! that is probed before it would be closed stays, so in a network with fewer members all do.
//!
//! # Whom it believes
//!
//! Members prove who they are, and speak for themselves: a packet counts only when it comes from the
//! launch that it names as its sender.
//!
//! - **What a launch says itself counts more than all that others say of it.** Whoever is heard over a link is
//!   there, in the life that it speaks in, whatever was said of it before; and it hears what that was.
//! - **What members say of others is hearsay**, which they are trusted with, within bounds. Nobody can speak for this
//!   node or against a peer that it has a link with; names, endpoints and sizes are checked; the number of
//!   members is [limited](Settings::limit); and a life goes up only so far that the launch can outbid what is
//!   made up.
//! - **Whoever hears that it is taken for down contradicts**, by going on under another life: once a period,
//!   whatever is said how often.
//!
//! So a member that lies can have another one counted as down, or as one that has left, by those who do not hear
//! from it, until it has heard of that and contradicted. That takes some periods for each in which the liar
//! went on; only a newcomer that has not heard of a member yet, and that cannot be dialled by it, can be told
//! of a life that it does not reach within the [ten minutes](REMEMBERED). And a member that lies can have one that is
//! dead counted as alive, for as long as it lies.
//!
//! Sans-io: [`Membership`] takes inputs with the time, and says what to send and what has changed.
//! `shell` is the task around it.

mod config;
mod effects;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod hearsay;
mod news;
mod packet;
mod shell;
mod signs;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use coros_core::remote::{Location, NodeId};
use foca::{
    Foca, Incarnation, Member, NoCustomBroadcast, OwnedNotification, PostcardCodec, State, Timer,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use self::config::REMEMBERED;
pub(crate) use self::config::Settings;
use self::effects::Effects;
use self::news::{Heard, News};
use self::packet::{Id, Packet, Probe};
pub(crate) use self::shell::Shell;
use self::signs::Signs;

/// So many linked members are told of news at once.
const TOLD: usize = 4;
/// In so many parts of a period news is gathered: when a crowd comes, each of it is not a packet.
const GATHER: u32 = 10;
/// So often a suspect hears of the suspicion.
const REMINDERS: u32 = 3;
/// How often members that are down are sought, and how many of them.
const SEEK: Duration = Duration::from_secs(10);
const SOUGHT: usize = 2;

/// What happens to a member.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    /// There is a link to this peer.
    Linked(Location),
    /// There is none any more.
    Unlinked {
        peer: NodeId,
        /// It broke.
        broken: bool,
    },
    /// A peer has sent a packet.
    Notice { from: NodeId, payload: &'a [u8] },
    /// The time of [`Membership::deadline`] has come, or any other time.
    Timeout,
    /// This node takes no new members, or does again.
    Refuse(bool),
    /// This node shuts down.
    Leave,
}

/// What is to be done, and what is new.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Send a packet, over a new link if there is none: one that looks after another needs it again.
    Send(Location, Vec<u8>),
    /// Send one that is no reason to keep a link.
    Tell(Location, Vec<u8>),
    /// A node is on the network.
    Up(Location),
    /// It gives no sign of life.
    Down(Location),
    /// It has shut down.
    Gone(Location),
}

/// A member of the network; see the [module](self).
pub(crate) struct Membership {
    settings: Settings,
    /// No notice is taken of new members, other than those that there are links with.
    refusing: bool,
    foca: Foca<Id, PostcardCodec, SmallRng, NoCustomBroadcast>,
    effects: Effects,
    rng: SmallRng,
    /// What is to be done when; the number keeps apart what is due at the same time.
    timers: BTreeMap<(Instant, u64), Due>,
    timers_made: u64,
    /// Of foca's timers that still count.
    token: foca::TimerToken,
    /// When members that are down are sought next.
    seek: Instant,
    /// Those that are there, as foca has them.
    members: BTreeMap<NodeId, Id>,
    /// Those that are down or have left, and when they are forgotten.
    past: BTreeMap<NodeId, (Instant, Id)>,
    /// Those that there is a link with, members or not.
    linked: BTreeMap<NodeId, Linked>,
    signs: Signs,
    /// When this node may go on under another life.
    renew_at: Instant,
    /// The greatest life in which others take this node for down, or of which they have told, if it has not
    /// gone on since.
    outbid: Option<u32>,
    /// The greatest life of a member that others are believed, until then.
    rises: BTreeMap<NodeId, u32>,
    rises_until: Instant,
    /// What is new here, to be passed on, and when.
    news: News,
    spread_at: Option<Instant>,
    outputs: VecDeque<Output>,
    left: bool,
}

#[derive(Debug)]
enum Due {
    Foca(Timer<Id>),
    /// Tell a suspect that it is one, if it still is.
    Remind(Id, Incarnation),
    /// Tell a peer what others have said of it since it was told last.
    Accused(NodeId),
}

#[derive(Debug)]
struct Linked {
    /// The greatest life in which others take it for down, if it has not been told.
    said: Option<Id>,
    /// In which life it was last told of that, and until when it hears no more in that life.
    told: Option<(u32, Instant)>,
    /// Until when it hears nothing to what it says against this node.
    answered_until: Option<Instant>,
    /// Others say that it has left.
    leaving: bool,
    heard: Heard,
}

impl Membership {
    pub(crate) fn new(now: Instant, own: Location, settings: Settings) -> Self {
        let seed = own.node.0;
        let rng = |salt: u128| {
            let mut bytes = [0; 32];
            bytes[..16].copy_from_slice(&(seed ^ salt).to_le_bytes());
            SmallRng::from_seed(bytes)
        };
        let id = Id {
            location: own,
            life: 0,
        };
        Membership {
            settings,
            refusing: false,
            foca: Foca::new(
                id,
                config::config(settings.period, 0),
                rng(0),
                PostcardCodec,
            ),
            effects: Effects::default(),
            rng: rng(1),
            timers: BTreeMap::new(),
            timers_made: 0,
            token: foca::TimerToken::default(),
            seek: now + SEEK,
            members: BTreeMap::new(),
            past: BTreeMap::new(),
            linked: BTreeMap::new(),
            signs: Signs::default(),
            renew_at: now,
            outbid: None,
            rises: BTreeMap::new(),
            rises_until: now,
            news: News::default(),
            spread_at: None,
            outputs: VecDeque::new(),
            left: false,
        }
    }

    /// The members that are there.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Location> {
        self.members.values().map(|id| &id.location)
    }

    /// Whether it is one of the members that are there.
    pub(crate) fn is_member(&self, peer: NodeId) -> bool {
        self.members.contains_key(&peer)
    }

    /// When to call with [`Input::Timeout`] if nothing happens before; `None` once it has left.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.left {
            return None;
        }
        let timer = self.timers.first_key_value().map(|((due, _), _)| *due);
        let others = timer.into_iter().chain(self.spread_at);
        Some(others.fold(self.seek, Instant::min))
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input<'_>) {
        if self.left {
            return;
        }
        match input {
            Input::Linked(peer) => self.linked(peer),
            Input::Unlinked { peer, broken } => self.unlinked(now, peer, broken),
            Input::Notice { from, payload } => {
                // What is due in this life is done before somebody says what ends it.
                self.timeout(now);
                self.notice(now, from, payload);
            }
            Input::Timeout => self.timeout(now),
            Input::Refuse(refuse) => self.refusing = refuse,
            Input::Leave => return self.leave(),
        }
        // It starts and stops with the number of members, which any of this may have changed.
        self.with_foca(|foca, effects| foca.apply_many(std::iter::empty(), false, effects));
        self.settle(now);
        if self.news.is_fresh() {
            let gathered = now + self.settings.period / GATHER;
            self.spread_at.get_or_insert(gathered);
        } else {
            self.spread_at = None;
        }
    }

    // ---- inputs

    fn linked(&mut self, peer: Location) {
        let link = Linked {
            said: None,
            told: None,
            answered_until: None,
            leaving: false,
            heard: Heard::default(),
        };
        self.linked.insert(peer.node, link);
        if !self.members.contains_key(&peer.node) && peer.endpoint.is_some() {
            // It answers with whom it knows, if it is a member. One that counted as down here says
            // something, and hears that it has to take a new life.
            let past = self.past.get(&peer.node);
            let life = past.map_or(0, |(_, id)| id.life);
            let id = Id {
                location: peer,
                life,
            };
            // Whoever has left is there no more; so it has not.
            self.announce(id.present());
        }
    }

    fn unlinked(&mut self, now: Instant, peer: NodeId, broken: bool) {
        // That of none is no sign of anything: a session may end long after its link.
        let Some(link) = self.linked.remove(&peer) else {
            return;
        };
        if broken {
            self.signs.missed(peer);
        } else {
            self.signs.seen(now, peer);
        }
        let Some(id) = self.members.get(&peer).cloned() else {
            return;
        };
        if link.leaving && !broken {
            self.apply(Member::down(id.left()));
        } else if broken {
            let known = self.foca.iter_members().find(|member| *member.id() == id);
            let Some(incarnation) = known.map(Member::incarnation) else {
                return;
            };
            self.apply(Member::new(id.clone(), incarnation, State::Suspect));
            let timer = Timer::ChangeSuspectToDown {
                member_id: id,
                incarnation,
                token: self.token,
            };
            let patience = config::suspicion(self.settings.period, self.members.len());
            self.effects.timers.push((timer, patience));
        }
    }

    fn timeout(&mut self, now: Instant) {
        self.forgive_standstill(now);
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            match entry.remove() {
                // Whoever has a link is alive, and whoever has spoken since, in whatever life.
                Due::Foca(Timer::ChangeSuspectToDown {
                    member_id,
                    incarnation,
                    ..
                }) if self.linked.contains_key(&member_id.node())
                    || !self.suspects(&member_id, incarnation) => {}
                Due::Foca(mut timer) => {
                    // A suspicion outlasts a renewal of this node.
                    if let Timer::ChangeSuspectToDown { token, .. } = &mut timer {
                        *token = self.token;
                    }
                    self.with_foca(|foca, effects| foca.handle_timer(timer, effects));
                    self.settle(now);
                }
                Due::Remind(id, incarnation) => self.remind(id, incarnation),
                Due::Accused(peer) => self.tell_accused(now, peer),
            }
        }
        // Now that what was due in this life is done.
        self.renew(now);
        if self.spread_at.is_some_and(|at| at <= now) {
            self.spread();
        }
        if self.seek <= now {
            self.seek = now + SEEK;
            self.forget(now);
            let down = self.past.values().filter(|(_, id)| !id.has_left());
            let down = down.map(|(_, id)| id.clone()).collect();
            for id in self.choose(SOUGHT, down) {
                self.announce(id);
            }
        }
    }

    /// If it was this process that stood still, nobody is late.
    fn forgive_standstill(&mut self, now: Instant) {
        let Some(((due, _), _)) = self.timers.first_key_value() else {
            return;
        };
        let late = now.saturating_duration_since(*due);
        if late > self.settings.period {
            let timers = std::mem::take(&mut self.timers);
            let later = |((due, number), timer)| ((due + late, number), timer);
            self.timers = timers.into_iter().map(later).collect();
        }
    }

    fn leave(&mut self) {
        self.left = true;
        let gone = Member::down(self.foca.identity().left());
        let linked = self.linked_members();
        let told = if linked.is_empty() {
            self.members.values().cloned().collect()
        } else {
            linked
        };
        for to in self.choose(TOLD, told) {
            self.gossip(to, vec![gone.clone()]);
        }
    }

    fn with_foca<T>(
        &mut self,
        f: impl FnOnce(
            &mut Foca<Id, PostcardCodec, SmallRng, NoCustomBroadcast>,
            &mut Effects,
        ) -> Result<T, foca::Error>,
    ) {
        if let Err(error) = f(&mut self.foca, &mut self.effects) {
            tracing::debug!(%error, "membership");
        }
    }

    fn apply(&mut self, update: Member<Id>) {
        self.news.push(update.clone());
        self.with_foca(|foca, effects| foca.apply_many(std::iter::once(update), true, effects));
    }

    fn announce(&mut self, to: Id) {
        self.with_foca(|foca, effects| foca.announce(to, effects));
    }

    /// Does what foca wants done.
    fn settle(&mut self, now: Instant) {
        self.collect(now);
        for (timer, after) in std::mem::take(&mut self.effects.timers) {
            match &timer {
                Timer::ProbeRandomMember(token) => self.token = *token,
                Timer::ChangeSuspectToDown {
                    member_id,
                    incarnation,
                    ..
                } => {
                    if !self.linked.contains_key(&member_id.node()) {
                        let suspect = Member::new(member_id.clone(), *incarnation, State::Suspect);
                        self.news.push(suspect);
                    }
                    for reminder in 0..REMINDERS {
                        let after = after * reminder / REMINDERS;
                        self.due(now + after, Due::Remind(member_id.clone(), *incarnation));
                    }
                }
                // One for each that is down still, not one for each time that it was.
                Timer::RemoveDown(id) => {
                    if !self.members.contains_key(&id.node()) {
                        self.past.insert(id.node(), (now + REMEMBERED, id.clone()));
                    }
                    continue;
                }
                _ => {}
            }
            self.due(now + after, Due::Foca(timer));
        }
        let mut answers = Vec::new();
        for (to, packet) in std::mem::take(&mut self.effects.packets) {
            // Nobody is there any more.
            if to.has_left() {
                continue;
            }
            match Packet::probe(&packet) {
                Some(Probe::Ping(number)) if !self.linked.contains_key(&to.node()) => {
                    // It may be one that cannot be dialled: then that says nothing, and brings no news.
                    self.ask_for_news();
                    if self.signs.is_fresh(now, to.node(), self.settings.period) {
                        let own = self.foca.identity().clone();
                        answers.push(Packet::answer(to.clone(), own, number));
                    }
                }
                Some(Probe::Answer(packet::QUESTION)) => {
                    self.outputs.push_back(Output::Tell(to.location, packet));
                    continue;
                }
                _ => {}
            }
            self.outputs.push_back(Output::Send(to.location, packet));
        }
        if !answers.is_empty() {
            for answer in answers {
                let answer = answer.encode();
                self.with_foca(|foca, effects| foca.handle_data(&answer, effects));
            }
            self.settle(now);
        }
    }

    fn due(&mut self, at: Instant, due: Due) {
        self.timers_made += 1;
        self.timers.insert((at, self.timers_made), due);
    }

    /// A suspect that hears of it can contradict.
    fn remind(&mut self, id: Id, incarnation: Incarnation) {
        if self.suspects(&id, incarnation) {
            let suspect = Member::new(id.clone(), incarnation, State::Suspect);
            self.gossip(id, vec![suspect]);
        }
    }

    fn suspects(&self, id: &Id, incarnation: Incarnation) -> bool {
        let suspect = Member::new(id.clone(), incarnation, State::Suspect);
        self.foca.iter_members().any(|member| *member == suspect)
    }

    /// Takes note of what foca has noticed.
    fn collect(&mut self, now: Instant) {
        let before = self.members.len();
        for change in std::mem::take(&mut self.effects.changes) {
            match change {
                OwnedNotification::MemberUp(id) => self.up(now, id),
                OwnedNotification::MemberDown(id) => self.down(&id),
                OwnedNotification::Rename(_, id) => self.renamed(id),
                _ => {}
            }
        }
        if self.members.len() != before {
            let config = config::config(self.settings.period, self.members.len());
            let changed = self.foca.set_config(config);
            changed.expect("what may not be changed is the same");
        }
    }

    fn up(&mut self, now: Instant, id: Id) {
        self.signs.up(now, &id);
        self.past.remove(&id.node());
        self.news.push(Member::alive(id.clone()));
        // (It may be one of which others had made up a later life.)
        let location = id.location.clone();
        if self.members.insert(id.node(), id).is_none() {
            self.outputs.push_back(Output::Up(location));
        }
    }

    fn down(&mut self, id: &Id) {
        self.members.remove(&id.node());
        self.signs.down(id.node());
        let location = id.location.clone();
        self.outputs.push_back(if id.has_left() {
            Output::Gone(location)
        } else {
            Output::Down(location)
        });
        self.news.push(Member::down(id.clone()));
    }

    /// A member goes on under another life, or the last one of a member that was down already is known.
    fn renamed(&mut self, id: Id) {
        if id.has_left() {
            if !self.members.contains_key(&id.node()) {
                self.down(&id);
            }
        } else if let Some(member) = self.members.get_mut(&id.node()) {
            *member = id.clone();
            self.news.push(Member::alive(id));
        }
    }

    /// Those that have been down for long are forgotten.
    fn forget(&mut self, now: Instant) {
        let over = self.past.values().filter(|(until, _)| *until <= now);
        let over: BTreeSet<NodeId> = over.map(|(_, id)| id.node()).collect();
        for node in over {
            if let Some((_, id)) = self.past.remove(&node) {
                let timer = Timer::RemoveDown(id);
                self.with_foca(|foca, effects| foca.handle_timer(timer, effects));
            }
        }
    }

    // ---- packets

    /// All that have a link hear of this node's new life from itself, as from nobody else.
    fn tell_own_life(&mut self) {
        for to in self.linked_members() {
            self.gossip(to, Vec::new());
        }
        // Also those that it takes for down in their turn: which is how two parts of the network
        // that could not reach each other find together.
        let linked = self.linked.keys();
        let past = linked.filter_map(|node| self.past.get(node));
        let past: Vec<Id> = past.map(|(_, id)| id.clone()).collect();
        for id in past {
            self.announce(id);
        }
    }

    fn linked_members(&self) -> Vec<Id> {
        let linked = self.linked.keys();
        let members = linked.filter_map(|node| self.members.get(node));
        members.cloned().collect()
    }

    fn choose(&mut self, count: usize, mut from: Vec<Id>) -> Vec<Id> {
        for place in 0..count.min(from.len()) {
            let other = self.rng.random_range(place..from.len());
            from.swap(place, other);
        }
        from.truncate(count);
        from
    }

    fn gossip(&mut self, to: Id, updates: Vec<Member<Id>>) {
        let own = self.foca.identity().clone();
        self.tell(&Packet::gossip(own, to, updates));
    }

    fn tell(&mut self, packet: &Packet) {
        let to = packet.header.dst.location.clone();
        self.outputs.push_back(Output::Tell(to, packet.encode()));
    }
}

#[cfg(test)]
mod tests;
