//! What is new, for those that there is a link with.
//!
//! It is passed on twice: at once to a few, chosen by chance, which reaches most of a network within a few
//! such steps; and to whoever asks, by a probe, everything since it asked last, which reaches the
//! rest: also those that few can dial, and that chance may leave out for long.

use std::collections::VecDeque;

use foca::Member;

use super::packet::{Id, Packet};
use super::{Membership, TOLD};

/// So many of the last news are kept; as many go into one packet, far below [`MAX_PACKET`](super::packet::MAX_PACKET).
pub(super) const KEPT: usize = 64;

/// The last news, in order.
#[derive(Debug, Default)]
pub(super) struct News {
    last: VecDeque<Member<Id>>,
    /// How many there have been.
    count: u64,
    /// How many of them have been spread.
    spread: u64,
}

/// How many news somebody has heard.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard(u64);

impl News {
    pub(super) fn push(&mut self, news: Member<Id>) {
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(news);
        self.count += 1;
    }

    /// Whether there are some that have not been spread.
    pub(super) fn is_fresh(&self) -> bool {
        self.spread < self.count
    }

    /// Those that have not been spread, which they are then.
    pub(super) fn spread(&mut self) -> Vec<Member<Id>> {
        let spread = std::mem::replace(&mut self.spread, self.count);
        self.since(spread)
    }

    /// All that there is, is known to everybody.
    pub(super) fn forget(&mut self) {
        self.last.clear();
        self.spread = self.count;
    }

    /// What somebody has not heard, which it does now.
    pub(super) fn tell(&self, heard: &mut Heard) -> Vec<Member<Id>> {
        let before = std::mem::replace(&mut heard.0, self.count);
        self.since(before)
    }

    fn since(&self, before: u64) -> Vec<Member<Id>> {
        let missed = usize::try_from(self.count - before).unwrap_or(usize::MAX);
        let known = self.last.len().saturating_sub(missed);
        self.last.iter().skip(known).cloned().collect()
    }
}

impl Membership {
    /// Passes on what is new to a few of those that there is a link with.
    pub(super) fn spread(&mut self) {
        self.spread_at = None;
        let news = self.news.spread();
        let linked = self.linked_members();
        for to in self.choose(TOLD, linked) {
            self.tell_news(to, news.clone());
        }
    }

    fn tell_news(&mut self, to: Id, mut news: Vec<Member<Id>>) {
        news.retain(|update| update.id().node() != to.node());
        if !news.is_empty() {
            self.gossip(to, news);
        }
    }

    /// Who looks after this node hears what is new.
    pub(super) fn answer_with_news(&mut self, to: Id) {
        if let Some(link) = self.linked.get_mut(&to.node()) {
            let news = self.news.tell(&mut link.heard);
            self.tell_news(to, news);
        }
    }

    /// Asks one that there is a link with what is new.
    pub(super) fn ask_for_news(&mut self) {
        let linked = self.linked_members();
        for to in self.choose(1, linked) {
            let own = self.foca.identity().clone();
            let question = Packet::question(own, to);
            self.tell(&question);
        }
    }
}
