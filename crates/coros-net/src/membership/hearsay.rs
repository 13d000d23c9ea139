//! What peers say of the members, and how much of it is believed.

use std::collections::BTreeSet;
use std::time::Instant;

use coros_core::remote::NodeId;
use foca::{Incarnation, Member, Message, State, Timer};

use super::effects::Effects;
use super::news::KEPT;
use super::packet::{self, Id, Packet};
use super::signs::Doubt;
use super::{Due, Membership};

/// After that there is one incarnation more, under which nobody can contradict.
const LAST: Incarnation = Incarnation::MAX - 1;

/// What is to be said to what a packet tells.
#[derive(Debug, Default)]
struct Replies {
    /// What is known better.
    refuted: Vec<Member<Id>>,
    /// Peers that there is a link with, and that are said to be down.
    accused: BTreeSet<NodeId>,
}

impl Membership {
    pub(super) fn notice(&mut self, now: Instant, from: NodeId, payload: &[u8]) {
        let mut packet = match Packet::parse(payload) {
            Ok(packet) => packet,
            Err(error) => {
                tracing::debug!(%from, %error, "a membership packet is not one");
                return;
            }
        };
        let own = self.foca.identity().node();
        let header = &packet.header;
        if header.src.node() != from || header.dst.node() != own || header.src.has_left() {
            tracing::debug!(%from, "a membership packet from or for somebody else");
            return;
        }
        // A peer may know this node by another life, and is answered all the same.
        let own_life = self.foca.identity().life;
        let outdated = header.dst.life != own_life;
        let known = self.is_known(from);
        let room = self.room();
        if room == 0 && !known {
            tracing::debug!(%from, "there are as many members as this node remembers");
            return;
        }
        if !self.own_word(&header.src) {
            return;
        }
        // Whatever it is for, it tells of its sender.
        let void = match &header.message {
            Message::TurnUndead => {
                // Foca would take another life at once.
                if !outdated {
                    self.outbid = self.outbid.max(Some(own_life));
                }
                true
            }
            // Else whoever asks could have this node dial anybody, however many, or itself.
            Message::PingReq { target, .. } | Message::IndirectAck { target, .. } => {
                !self.is_known(target.node())
            }
            _ => false,
        };
        if void {
            packet.header.message = Message::Gossip;
        }
        let newcomer = self.members.is_empty();
        // The sender may be new, too.
        let mut room = room - usize::from(!known);
        let count = packet.updates.len();
        let updates = std::mem::take(&mut packet.updates);
        let accuses = |update: &Member<Id>| {
            let id = update.id();
            id.node() == own && id.life >= own_life && update.state() != State::Alive
        };
        let accused = updates.iter().any(accuses);
        let mut replies = Replies::default();
        for update in updates {
            if !self.counts(now, from, &update, &mut replies) {
                continue;
            }
            let node = update.id().node();
            if !self.is_known(node) {
                if self.refusing && !self.linked.contains_key(&node) {
                    continue;
                }
                let Some(less) = room.checked_sub(1) else {
                    continue;
                };
                room = less;
            }
            packet.updates.push(update);
        }
        self.contradict(from, replies.refuted);
        for peer in replies.accused {
            self.tell_accused(now, peer);
        }
        let filtered = packet.updates.len() < count;
        packet.header.dst = self.foca.identity().clone();
        let mut changed = (filtered || outdated || void).then(|| packet.encode());
        // This node may have a longer name, or life, than the sender knew.
        while changed
            .as_ref()
            .is_some_and(|it| it.len() > packet::MAX_PACKET)
            && packet.updates.pop().is_some()
        {
            changed = Some(packet.encode());
        }
        let payload = changed.as_deref().unwrap_or(payload);
        self.with_foca(|foca, effects| foca.handle_data(payload, effects));
        self.signs.seen(now, from);
        if let Some(link) = self.linked.get_mut(&from) {
            link.leaving = false;
        }
        self.alive(now, &packet.header.src, packet.header.src_incarnation);
        for update in &packet.updates {
            if update.state() == State::Alive {
                self.alive(now, update.id(), update.incarnation());
            }
        }
        if newcomer && packet.header.message == Message::Feed {
            // What the first member that it meets knows is no news to the others.
            self.collect(now);
            self.news.forget();
        }
        if matches!(packet.header.message, Message::Ping(_)) {
            self.answer_with_news(packet.header.src.clone());
        }
        self.renew(now);
        if accused || outdated && packet.header.message == Message::Gossip {
            self.answer_accuser(now, packet.header.src);
        }
    }

    /// What a launch says itself counts more than what others have said of it: a later life, or that it is down.
    /// That is forgotten, and the launch hears of it, to outbid it for those who do not hear the launch. Whether
    /// the packet counts: what comes when the link is over was sent before.
    fn own_word(&mut self, src: &Id) -> bool {
        let node = src.node();
        let past = self.past.get(&node).map(|(_, past)| past);
        let past = past.filter(|past| past.life >= src.life).cloned();
        let later = self.members.get(&node).filter(|id| id.life > src.life);
        let later = later.cloned().map(Member::alive);
        let Some(said) = past.map(Member::down).or(later) else {
            return true;
        };
        if !self.linked.contains_key(&node) {
            return false;
        }
        // Foca forgets only those that are down, and of all this nothing is news.
        let id = said.id().clone();
        let (down, forget) = (Member::down(id.clone()), Timer::RemoveDown(id));
        self.with_foca(|foca, _| {
            let mut nothing = Effects::default();
            foca.apply_many(std::iter::once(down), false, &mut nothing)?;
            foca.handle_timer(forget, &mut nothing)
        });
        self.gossip(src.clone(), vec![said]);
        true
    }

    /// Whether an update is to reach foca.
    fn counts(
        &mut self,
        now: Instant,
        from: NodeId,
        update: &Member<Id>,
        replies: &mut Replies,
    ) -> bool {
        let id = update.id();
        let node = id.node();
        if node == self.foca.identity().node() {
            return self.concerns(update);
        }
        if node == from {
            return true;
        }
        let down = update.state() == State::Down;
        if let Some((_, past)) = self.past.get(&node)
            && past.life > id.life
            && !down
        {
            // Whoever has a link with it tells it.
            replies.refuted.push(Member::down(past.clone()));
            return false;
        }
        let known = self.members.get(&node).map(|id| id.life);
        if update.state() == State::Suspect {
            match self.signs.doubt(update, from) {
                Some(Doubt::Refuted(as_alive)) => {
                    replies.refuted.push(as_alive);
                    return false;
                }
                Some(Doubt::New) => self.suspected(update),
                Some(Doubt::Old) | None => {}
            }
            if self.linked.contains_key(&node) {
                return false;
            }
        }
        let Some(link) = self.linked.get_mut(&node) else {
            return self.may_follow(now, update);
        };
        // It speaks for itself, also as one that is no member, or none yet; and hears what others say.
        let Some(known) = known else {
            return false;
        };
        if down && id.life >= known {
            link.leaving |= id.has_left();
            if link.said.as_ref().is_none_or(|said| said.life < id.life) {
                link.said = Some(id.clone());
            }
            replies.accused.insert(node);
            return false;
        }
        id.life == known
    }

    /// Whether what is said of this node itself is to reach foca. Of an earlier life nothing matters any more;
    /// what cannot be contradicted in this one has to be outbid, or others would not listen to this node, as
    /// has a later one, which is somebody's invention.
    fn concerns(&mut self, update: &Member<Id>) -> bool {
        let (life, own) = (update.id().life, self.foca.identity().life);
        let last = match update.state() {
            State::Alive => false,
            State::Suspect => update.incarnation() >= LAST,
            State::Down => true,
        };
        if life > own || life == own && last {
            self.outbid = self.outbid.max(Some(life));
            return false;
        }
        life == own
    }

    /// Whether others are believed what they say of a member that there is no link with.
    fn may_follow(&mut self, now: Instant, update: &Member<Id>) -> bool {
        let (life, node) = (update.id().life, update.id().node());
        let down = update.state() == State::Down;
        let past = self.past.get(&node).map(|(_, id)| id);
        let Some(last) = self.members.get(&node).or(past).map(|id| id.life) else {
            return life < if down { packet::JUMP } else { packet::FIRST };
        };
        if life <= last | 1 {
            return true;
        }
        if now >= self.rises_until {
            self.rises.clear();
            self.rises_until = now + self.settings.period;
        }
        let most = self.rises.entry(node);
        let most = *most.or_insert(last.saturating_add(packet::MISSED));
        life <= most && !(down && life >= last.saturating_add(packet::JUMP))
    }

    /// Tells a peer that there is a link with that others say that it is down, once a period and life of its own:
    /// in the greatest life that they have said since.
    pub(super) fn tell_accused(&mut self, now: Instant, peer: NodeId) {
        let (Some(link), Some(member)) = (self.linked.get_mut(&peer), self.members.get(&peer))
        else {
            return;
        };
        let (life, until) = link.told.unwrap_or((member.life, now));
        let quiet = now < until;
        if quiet && life == member.life {
            return;
        }
        // (It may have outbid that.)
        let Some(said) = link.said.take_if(|said| said.life >= member.life) else {
            return;
        };
        let until = if quiet {
            until
        } else {
            now + self.settings.period
        };
        link.told = Some((member.life, until));
        if !quiet {
            self.due(until, Due::Accused(peer));
        }
        self.gossip(said.clone(), vec![Member::down(said)]);
    }

    /// Says to one that says something against this node that it is alive, and in which life: once a period.
    fn answer_accuser(&mut self, now: Instant, accuser: Id) {
        if let Some(link) = self.linked.get_mut(&accuser.node()) {
            if link.answered_until.is_some_and(|until| now < until) {
                return;
            }
            link.answered_until = Some(now + self.settings.period);
        }
        self.announce(accuser);
    }

    /// Asks the suspect, or others.
    fn suspected(&mut self, suspicion: &Member<Id>) {
        let id = suspicion.id();
        if self.linked.contains_key(&id.node()) {
            self.gossip(id.clone(), vec![suspicion.clone()]);
        } else {
            self.news.push(suspicion.clone());
        }
    }

    /// A member is alive as that: whoever has doubted it here hears so.
    fn alive(&mut self, now: Instant, id: &Id, incarnation: Incarnation) {
        for doubter in self.signs.alive(now, id, incarnation) {
            let alive = Member::new(id.clone(), incarnation, State::Alive);
            self.contradict(doubter, vec![alive]);
        }
    }

    fn contradict(&mut self, doubter: NodeId, mut refuted: Vec<Member<Id>>) {
        refuted.truncate(KEPT);
        if let Some(to) = self.members.get(&doubter).cloned()
            && !refuted.is_empty()
        {
            self.gossip(to, refuted);
        }
    }

    /// Goes on under a life that outbids what others say of this node, or towards that if it is far ahead,
    /// as others only believe so much: once a period, whoever says what.
    pub(super) fn renew(&mut self, now: Instant) {
        // (Each life begins with a probe, so a timeout comes when the period is over.)
        if self.renew_at > now {
            return;
        }
        let Some(life) = self.outbid.take() else {
            return;
        };
        let own = self.foca.identity();
        let life = life.min(own.life.saturating_add(packet::JUMP - 1));
        let location = own.location.clone();
        if let Some(id) = (Id { location, life }).next() {
            self.renew_at = now + self.settings.period;
            self.with_foca(|foca, effects| {
                foca.change_identity(id, &mut *effects)?;
                foca.apply_many(std::iter::empty(), false, &mut *effects)?;
                // At once: else the next life could begin, again and again, before any probe is over.
                let probe = |(timer, _): &mut (_, _)| matches!(timer, Timer::ProbeRandomMember(_));
                let probe = effects.timers.extract_if(.., probe).last();
                probe.map_or(Ok(()), |(probe, _)| foca.handle_timer(probe, effects))
            });
            self.tell_own_life();
        }
    }

    fn is_known(&self, node: NodeId) -> bool {
        self.members.contains_key(&node) || self.past.contains_key(&node)
    }

    /// How many more are remembered.
    fn room(&self) -> usize {
        let remembered = self.foca.iter_membership_state().len();
        self.settings.limit.saturating_sub(remembered)
    }

    // ---- foca
}
