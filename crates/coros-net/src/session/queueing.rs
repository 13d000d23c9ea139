//! What is queued in a session: by those who send, and by those who answer.

use std::time::Instant;

use coros_core::Exit;
use coros_core::remote::{CarryError, Request};

use super::flow::Waiting;
use super::{Output, Phase, Place, Session};
use crate::outbox::NoRoom;
use crate::tame;
use crate::wire::{self, Envelope, Kind};

/// How many coroutines may wait to be released, for want of room, beside as many as there were
/// handles of at once: nobody tells of more who reads.
const MAX_RELEASED: usize = 1 << 20;
/// Room for so many is kept.
const KEEP_RELEASED: usize = 1 << 10;

impl<D, W> Session<D, W> {
    /// Queues a message that lends these ids; see [`wire`].
    ///
    /// # Errors
    /// When too much waits for the peer, or is on its way to the coroutine.
    pub fn message(&mut self, target: u64, payload: &[u8], lent: &[u64]) -> Result<(), NoRoom> {
        let length = wire::length(payload.len(), lent.len());
        if !self.takes(length) || !self.flow.take(target, length) {
            return Err(NoRoom);
        }
        self.queue(Kind::Message, target, 0, payload, lent)
    }

    /// Queues the answer to a question of the peer.
    ///
    /// # Errors
    /// When too much waits for the peer.
    pub fn answer_question(
        &mut self,
        target: u64,
        payload: &[u8],
        lent: &[u64],
    ) -> Result<(), NoRoom> {
        self.queue(Kind::Answer, target, 0, payload, lent)
    }

    /// Lets a message wait for which there is no room now, behind those that wait for the same
    /// coroutine; where: it can be withdrawn. `waiter` is told when it has been queued.
    pub fn wait(&mut self, target: u64, payload: &[u8], lent: &[u64], waiter: D) -> Place {
        self.wait_as(Kind::Message, target, payload, lent, waiter)
    }

    /// Queues a message whose arrival in the mailbox `waiter` waits for. If it has to wait for
    /// others, in the order in which they came, where: it can be withdrawn.
    pub fn deliver(
        &mut self,
        target: u64,
        payload: &[u8],
        lent: &[u64],
        waiter: D,
    ) -> Option<Place> {
        if !self.is_open() {
            let lost = self.disconnected("the link has ended");
            self.outputs.push_back(Output::Delivered(waiter, Err(lost)));
            return None;
        }
        let length = wire::length(payload.len(), lent.len());
        if self.takes(length) && self.flow.take(target, length) {
            self.queue_deliver(target, payload, lent, waiter);
            return None;
        }
        Some(self.wait_as(Kind::Deliver, target, payload, lent, waiter))
    }

    fn wait_as(
        &mut self,
        kind: Kind,
        target: u64,
        payload: &[u8],
        lent: &[u64],
        waiter: D,
    ) -> Place {
        let waiting = Waiting::new(kind, payload, lent, waiter);
        let place = self.flow.wait(target, waiting);
        // It is known then what it waits for. Whatever that is, something comes after it.
        let next = self.flow.next(target, Waiting::length, |_| false);
        debug_assert!(next.is_none(), "there is no room");
        place
    }

    /// Gives up a delivery that waits: false if it has been sent.
    pub fn withdraw(&mut self, place: Place) -> bool {
        let withdrawn = self.flow.withdraw(place).is_some();
        if withdrawn {
            // Perhaps it was in the way of a smaller one.
            self.pump(place.target());
            self.pump_crowded();
        }
        withdrawn
    }

    /// Sends what waits for a coroutine, as far as it may and others have no turn before.
    pub(super) fn pump(&mut self, target: u64) {
        loop {
            let first = self.flow.first_crowded();
            let is_next = !self.is_paced() && first.is_none_or(|first| first == target);
            let outbox = &self.outbox;
            let has_room = |length| is_next && outbox.has_room(length);
            let next = self.flow.next(target, Waiting::length, has_room);
            let Some(next) = next else { return };
            if next.kind == Kind::Deliver {
                self.queue_deliver(target, &next.payload, &next.lent, next.waiter);
            } else {
                let queued = self.queue(next.kind, target, 0, &next.payload, &next.lent);
                debug_assert_eq!(queued, Ok(()), "there is room");
                self.outputs
                    .push_back(Output::Delivered(next.waiter, Ok(())));
            }
        }
    }

    /// Sends what waits for room in all.
    pub(super) fn pump_crowded(&mut self) {
        self.pace.taken(self.outbox.taken());
        while let Some(target) = self.flow.first_crowded() {
            self.pump(target);
            if self.flow.first_crowded() == Some(target) {
                return;
            }
        }
    }

    /// Whether senders have to wait for the writer. Without a link there is nobody to wait for.
    fn is_paced(&self) -> bool {
        self.pace.is_full() && matches!(self.phase, Phase::Linked)
    }

    /// Whether a message whose frame has this length can be queued now. What waits for room goes
    /// first, also if it is larger: else it would wait for ever while others send.
    pub(super) fn takes(&self, length: usize) -> bool {
        let crowded = self.flow.first_crowded().is_some();
        !crowded && !self.is_paced() && self.outbox.has_room(length)
    }

    fn queue_deliver(&mut self, target: u64, payload: &[u8], lent: &[u64], waiter: D) {
        self.last_correlation += 1;
        let correlation = self.last_correlation;
        self.delivers.insert(correlation, waiter);
        let queued = self.queue(Kind::Deliver, target, correlation, payload, lent);
        debug_assert_eq!(queued, Ok(()), "there is room");
    }

    fn queue(
        &mut self,
        kind: Kind,
        target: u64,
        correlation: u64,
        payload: &[u8],
        lent: &[u64],
    ) -> Result<(), NoRoom> {
        let envelope = Envelope {
            kind,
            target,
            correlation,
        };
        self.idle.used();
        self.outbox.message(envelope, payload, lent)?;
        if kind != Kind::Answer {
            let length = wire::length(payload.len(), lent.len());
            self.pace.queued(length, self.outbox.appended());
        }
        Ok(())
    }

    /// A coroutine has taken so many bytes of what it was sent: the peer is told soon, at once if
    /// that is much.
    pub fn credit(&mut self, now: Instant, target: u64, bytes: usize) {
        // As to what it asks: it may have sent to as many coroutines as it likes.
        let waiting = wire::HEADER * self.receipts.credits();
        if self.outbox.is_unread_beside(waiting) {
            self.refuse("it does not read what it is told".into());
            return;
        }
        self.receipts.credit(now, target, bytes);
    }

    /// Whether one more end may be waited for.
    #[must_use]
    pub fn may_watch(&self) -> bool {
        self.watches.len() < wire::MAX_WATCHES
    }

    /// Asks to be told when a coroutine ends; the number of the watch. The peer refuses more than
    /// it [may](Self::may_watch).
    pub fn watch(&mut self, target: u64, watcher: W) -> u64 {
        self.watch_by(Kind::Watch, target, watcher)
    }

    /// As [`watch`](Self::watch), but an idle link is closed all the same.
    pub fn heed(&mut self, target: u64, watcher: W) -> u64 {
        self.watch_by(Kind::Heed, target, watcher)
    }

    fn watch_by(&mut self, kind: Kind, target: u64, watcher: W) -> u64 {
        if !self.is_open() {
            self.outputs
                .push_back(Output::Exited(watcher, Exit::Disconnected));
            return 0;
        }
        self.last_correlation += 1;
        let correlation = self.last_correlation;
        let watchers = match kind {
            Kind::Heed => &mut self.heeds,
            _ => &mut self.watches,
        };
        watchers.insert(correlation, watcher);
        self.idle.used();
        self.control(Envelope {
            kind,
            target,
            correlation,
        });
        correlation
    }

    pub(super) fn take_watcher(&mut self, number: u64) -> Option<W> {
        let watcher = self.watches.remove(&number);
        watcher.or_else(|| self.heeds.remove(&number))
    }

    /// Takes a watch of a coroutine back: the watcher, if it has not been told.
    pub fn unwatch(&mut self, target: u64, number: u64) -> Option<W> {
        let watcher = self.take_watcher(number)?;
        self.idle.used();
        self.control(Envelope {
            kind: Kind::Unwatch,
            target,
            correlation: number,
        });
        Some(watcher)
    }

    /// Asks for a sign of life over the link, or the next one; the number that
    /// [`Output::Ponged`] repeats. When the session ends that is the answer.
    pub fn ping(&mut self) -> u64 {
        self.last_correlation += 1;
        if self.is_open() {
            self.pings.ask(self.last_correlation);
            self.idle.used();
        }
        self.last_correlation
    }

    /// Nobody waits for the answer to a ping any more.
    pub fn forget_ping(&mut self, number: u64) {
        self.pings.forget(number);
    }

    /// How many ends are waited for.
    #[must_use]
    pub fn watching(&self) -> usize {
        self.watches.len() + self.heeds.len()
    }

    /// Bytes that are kept for the peer: what waits, and what it has not acknowledged.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.outbox.kept()
    }

    /// Says that there are no handles of a coroutine of the peer any more, after so many messages
    /// that named it; behind all messages that are queued, which may be for it or name it. There
    /// were handles of so many at once: who keeps them may drop them at once.
    pub fn release(&mut self, coroutine: u64, named: u64, most: usize) {
        if !self.is_open() {
            return;
        }
        if self.released.len() >= most.saturating_add(MAX_RELEASED) {
            return self.refuse("it does not read what is released".into());
        }
        self.idle.used();
        self.released.push_back((coroutine, named));
    }

    pub(super) fn can_release(&self) -> bool {
        let length = size_of::<(u64, u64)>() * self.released.len();
        !self.released.is_empty() && self.outbox.has_room(length.min(wire::MAX_CONTROL))
    }

    pub(super) fn write_released(&mut self) {
        while self.can_release() {
            let most = wire::MAX_CONTROL / size_of::<(u64, u64)>();
            let released = self.released.drain(..self.released.len().min(most));
            self.outbox
                .behind_messages(|buffer| wire::write_released(buffer, released));
        }
        if self.released.is_empty() {
            self.released.shrink_to(KEEP_RELEASED);
        }
    }

    /// Passes on a request.
    pub fn request(&mut self, target: u64, request: Request) {
        self.idle.used();
        let envelope = Envelope {
            kind: Kind::Request,
            target,
            correlation: 0,
        };
        self.outbox
            .control(|buffer| wire::write_value(buffer, envelope, &request));
    }

    /// The link is used, though nobody sees it.
    pub fn used(&mut self) {
        self.idle.used();
    }

    /// Sends to a part of the peer. Lost when the link breaks, and when the peer reads nothing: parts
    /// answer notices with notices, and what waits for a peer is bounded.
    pub fn notice(&mut self, part: u64, payload: &[u8]) {
        if self.outbox.is_unread() {
            return;
        }
        let envelope = Envelope {
            kind: Kind::Notice,
            target: part,
            correlation: 0,
        };
        self.outbox
            .passing(|buffer| wire::write(buffer, envelope, payload));
    }

    /// Answers a deliver of the peer. A long reason is shortened.
    pub fn answer_deliver(&mut self, correlation: u64, result: &Result<(), CarryError>) {
        let result = result.as_ref().copied().map_err(tame::cut_carry);
        self.answer(Kind::Delivered, 0, correlation, |buffer, envelope| {
            wire::write_value(buffer, envelope, &result);
        });
    }

    /// Answers a watch of the peer. A long reason is shortened.
    pub fn answer_watch(&mut self, correlation: u64, exit: &Exit) {
        let exit = tame::cut_exit(exit);
        self.answer(Kind::Exited, 0, correlation, |buffer, envelope| {
            wire::write_value(buffer, envelope, &exit);
        });
    }

    /// Says that a message of the peer could not be read, with what was new in it.
    pub fn answer_unread(&mut self, target: u64, lent: &[u8]) {
        // As much as fits; the rest only matters to a message with thousands of questions.
        let new = wire::marked(lent, wire::NEW).take(wire::MAX_CONTROL / size_of::<u64>());
        let lent: Vec<u8> = new.flat_map(u64::to_le_bytes).collect();
        if lent.is_empty() {
            return;
        }
        self.answer(Kind::Unread, target, 0, |buffer, envelope| {
            wire::write(buffer, envelope, &lent);
        });
    }

    /// Queues an answer, unless the peer reads none: what it makes this node keep is bounded.
    fn answer(
        &mut self,
        kind: Kind,
        target: u64,
        correlation: u64,
        write: impl FnOnce(&mut Vec<u8>, Envelope),
    ) {
        if !self.is_open() {
            return;
        }
        if self.outbox.is_unread() {
            self.refuse("it does not read the answers to what it asks".into());
            return;
        }
        let envelope = Envelope {
            kind,
            target,
            correlation,
        };
        self.idle.used();
        self.outbox.control(|buffer| write(buffer, envelope));
    }
}
