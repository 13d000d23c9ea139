//! What peers say of the members, and how much of it is believed.

use std::time::Instant;

use coros_core::remote::NodeId;
use foca::{Incarnation, Member, Message, State};

use super::Membership;
use super::packet::{Id, LEFT, Packet};
use super::signs::Doubt;

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
        if header.src.node() != from || header.dst.node() != own || header.src.life == LEFT {
            tracing::debug!(%from, "a membership packet from or for somebody else");
            return;
        }
        // A peer may know this node by an earlier life, and is answered all the same; but that it
        // takes that one for down is no news.
        let outdated = header.dst.life != self.foca.identity().life;
        if outdated && header.message == Message::TurnUndead {
            return;
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
            if !self.counts(from, &update, &mut refuted) {
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
    fn counts(&mut self, from: NodeId, update: &Member<Id>, refuted: &mut Vec<Member<Id>>) -> bool {
        let (id, own) = (update.id(), self.foca.identity());
        let node = id.node();
        if node == own.node() {
            // Of an earlier life nothing matters any more. A later one is somebody's invention, and
            // has to be outbid, or nobody would listen to this node.
            if id.life > own.life {
                self.outbid(id.life);
            }
            return id.life == self.foca.identity().life;
        }
        if node == from {
            return true;
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
        let known = self.members.get(&node).map(|id| id.life);
        let Some(link) = self.linked.get_mut(&node) else {
            return true;
        };
        let Some(known) = known else {
            // A peer that is no member, or none yet, speaks for itself.
            return false;
        };
        if update.state() == State::Down && id.life >= known {
            if id.life == LEFT {
                link.leaving = true;
            } else if link.told != Some(id.life) {
                link.told = Some(id.life);
                let to = id.clone();
                self.tell(&Packet::turn_undead(self.foca.identity().clone(), to));
            }
            return false;
        }
        id.life == known
    }

    /// Asks the suspect, or others.
    fn suspected(&mut self, suspicion: &Member<Id>) {
        let id = suspicion.id();
        if self.linked.contains_key(&id.node()) {
            let own = self.foca.identity().clone();
            self.tell(&Packet::gossip(own, id.clone(), vec![suspicion.clone()]));
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
            let own = self.foca.identity().clone();
            self.tell(&Packet::gossip(own, to, refuted));
        }
    }

    fn outbid(&mut self, life: u32) {
        let Some(life) = life.checked_add(1).filter(|life| *life != LEFT) else {
            return;
        };
        let location = self.foca.identity().location.clone();
        let id = Id { location, life };
        self.with_foca(|foca, effects| foca.change_identity(id, effects));
        self.tell_own_life();
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
