//! What peers say of the members, and how much of it is believed.

use std::time::Instant;

use coros_core::remote::NodeId;
use foca::{Incarnation, Member, Message, State};

use super::Membership;
use super::packet::{self, Id, Packet};
use super::signs::Doubt;

/// So often in a period others are believed that a member has another life.
const RISES: u8 = 4;

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
        // A peer may know this node by an earlier life, and is answered all the same; but that it
        // takes that one for down is no news.
        let outdated = header.dst.life != self.foca.identity().life;
        if header.message == Message::TurnUndead && (outdated || !self.may_renew(now)) {
            return;
        }
        if let Some((_, past)) = self.past.get(&from)
            && past.life > header.src.life
        {
            // It does not know what others have told of it, and cannot contradict that.
            let past = Member::down(past.clone());
            return self.gossip(packet.header.src, vec![past]);
        }
        let room = self.room();
        if room == 0 && !self.is_known(from) {
            tracing::debug!(%from, "there are as many members as this node remembers");
            return;
        }
        let newcomer = self.members.is_empty();
        // The sender may be new, too.
        let mut room = room - usize::from(!self.is_known(from));
        let count = packet.updates.len();
        let updates = std::mem::take(&mut packet.updates);
        let mut refuted = Vec::new();
        for update in updates {
            if !self.counts(now, from, &update, &mut refuted) {
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
        self.contradict(from, refuted);
        let filtered = packet.updates.len() < count;
        packet.header.dst = self.foca.identity().clone();
        let changed = (filtered || outdated).then(|| packet.encode());
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
        let mut about_own = packet
            .updates
            .iter()
            .filter(|update| update.id().node() == own);
        let suspected = about_own.any(|update| update.state() != State::Alive);
        if suspected || outdated && packet.header.message == Message::Gossip {
            // Which says that it is alive, and in which life.
            self.announce(packet.header.src);
        }
    }

    /// Whether an update is to reach foca. What is known better goes to `refuted`.
    fn counts(
        &mut self,
        now: Instant,
        from: NodeId,
        update: &Member<Id>,
        refuted: &mut Vec<Member<Id>>,
    ) -> bool {
        let (id, own) = (update.id(), self.foca.identity());
        let node = id.node();
        if node == own.node() {
            // Of an earlier life nothing matters any more. A later one is somebody's invention, and
            // has to be outbid, or nobody would listen to this node.
            if id.life > own.life {
                self.outbid(now, id.life);
                return false;
            }
            let concerns = id.life == own.life;
            return concerns && (update.state() != State::Down || self.may_renew(now));
        }
        if node == from {
            return true;
        }
        let known = self.members.get(&node).map(|id| id.life);
        let past = self.past.get(&node).map(|(_, id)| id.life);
        let last = known.or(past);
        if !id.can_follow(last)
            || last.is_some_and(|last| id.life > last) && !self.may_rise(now, node)
        {
            return false;
        }
        if update.state() == State::Suspect {
            match self.signs.doubt(update, from) {
                Some(Doubt::Refuted(as_alive)) => {
                    refuted.push(as_alive);
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
            return true;
        };
        let Some(known) = known else {
            // A peer that is no member, or none yet, speaks for itself.
            return false;
        };
        if update.state() == State::Down && id.life >= known {
            link.leaving = id.has_left();
            if link.told != Some(id.life) {
                link.told = Some(id.life);
                if id.has_left() {
                    self.gossip(id.clone(), vec![update.clone()]);
                } else {
                    let own = self.foca.identity().clone();
                    self.tell(&Packet::turn_undead(own, id.clone()));
                }
            }
            return false;
        }
        id.life == known
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

    fn contradict(&mut self, doubter: NodeId, refuted: Vec<Member<Id>>) {
        if let Some(to) = self.members.get(&doubter).cloned()
            && !refuted.is_empty()
        {
            self.gossip(to, refuted);
        }
    }

    /// Goes on under a life that outbids one that somebody has made up, if that is not too far ahead;
    /// else towards it, as others only believe so much.
    fn outbid(&mut self, now: Instant, life: u32) {
        let own = self.foca.identity();
        let life = life.min(own.life.saturating_add(u32::from(RISES) * packet::MISSED));
        let location = own.location.clone();
        if let Some(id) = (Id { location, life }).next()
            && self.may_renew(now)
        {
            self.with_foca(|foca, effects| foca.change_identity(id, effects));
            self.tell_own_life();
        }
    }

    /// Whether this node may go on under another life, as it then does: once a period, whoever says what.
    fn may_renew(&mut self, now: Instant) -> bool {
        let may = self.renew_at.is_none_or(|at| at <= now);
        if may {
            self.renew_at = Some(now + self.settings.period);
        }
        may
    }

    /// Whether others are believed that a member has another life, which may be so more often than it happens,
    /// and not so often that the member could not outbid what is made up.
    fn may_rise(&mut self, now: Instant, node: NodeId) -> bool {
        if now >= self.rises_until {
            self.rises.clear();
            self.rises_until = now + self.settings.period;
        }
        let rises = self.rises.entry(node).or_default();
        *rises = rises.saturating_add(1);
        *rises <= RISES
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
