//! How a session goes on and ends: time that passes, links that break or rest, goodbyes.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use coros_core::Exit;

use super::{Asked, End, Input, Output, Phase, Session, plain};
use crate::outbox::Outbox;
use crate::wire::{self, Envelope, Goodbye, Kind};

impl<D, W> Session<D, W> {
    pub(super) fn timeout(&mut self, now: Instant) {
        match &self.phase {
            Phase::Linked => {}
            Phase::Away(why, until) if now >= *until => {
                let reason = format!("{why}; no link again within {:.1?}", self.timing.grace);
                self.handle(now, Input::Gone(reason));
                return;
            }
            _ => return,
        }
        if now >= self.heard + self.timing.silence {
            let since = *self.suspected.get_or_insert(now);
            if now >= since + self.timing.silence / 10 {
                self.silent = true;
                let reason = format!("no sign of life for {:.1?}", now - self.heard);
                self.handle(now, Input::Lost(reason));
                return;
            }
        }
        self.looked = now;
        self.receipts.timeout(now);
        if self.idle.timeout(now) && self.owes_nothing() {
            self.outputs.push_back(Output::Idle(Asked::Us));
        }
        if now >= self.sent + self.timing.heartbeat {
            // What waits is a sign of life as well, as soon as it can be written.
            if self.outbox.is_empty() {
                let ping = |buffer: &mut Vec<u8>| wire::write(buffer, plain(Kind::Ping), &[]);
                self.outbox.shrink();
                self.outbox.passing(ping);
            }
            self.sent = now;
        }
    }

    /// The link is gone: the session goes on without one for a while, if it has had one.
    pub(super) fn lost(&mut self, now: Instant, reason: String) {
        match self.phase {
            // As agreed. If anything has come up since, it needs another link.
            Phase::Linked if self.idle.has_agreed(now, self.timing.silence) => {
                self.rested();
                if !self.owes_nothing() {
                    self.wake(now);
                }
            }
            Phase::Linked => self.away(now, reason),
            // Another attempt has failed.
            Phase::Away(..) | Phase::Dormant => {}
            _ => self.handle(now, Input::Gone(reason)),
        }
    }

    /// Whether nobody on this side waits for the peer, and it has all that it was sent.
    fn owes_nothing(&self) -> bool {
        self.delivers.is_empty()
            && self.watches.is_empty()
            && self.pings.is_empty()
            && !self.flow.has_waiting()
            && self.released.is_empty()
            && self.receipts.credits() == 0
            && self.outbox.is_acknowledged()
    }

    /// Whether the link could be closed as well as not.
    pub(super) fn may_rest(&self) -> bool {
        matches!(self.phase, Phase::Linked) && self.idle.is_idle() && self.owes_nothing()
    }

    /// Asks the peer whether the link may be closed, or says that it may.
    pub(super) fn rest(&mut self, now: Instant, asked: Asked) {
        if !self.may_rest() {
            return;
        }
        let agrees = asked == Asked::Peer;
        if agrees {
            self.idle.agree(now);
        }
        let envelope = Envelope {
            target: u64::from(agrees),
            ..plain(Kind::Rest)
        };
        self.sent = now;
        self.outbox
            .passing(|buffer| wire::write(buffer, envelope, &[]));
    }

    pub(super) fn rested(&mut self) {
        self.outbox.unlinked();
        self.phase = Phase::Dormant;
        self.outputs.push_back(Output::Rested);
    }

    /// The session without a link has as long to get one as if one had gone silent.
    pub(super) fn wake(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Dormant) {
            let until = now + self.timing.silence * 11 / 10 + self.timing.grace;
            self.phase = Phase::Away("the link was idle".to_owned(), until);
            self.outputs.push_back(Output::Woken);
        }
    }

    pub(super) fn away(&mut self, now: Instant, reason: String) {
        if self.timing.grace.is_zero() {
            return self.handle(now, Input::Gone(reason));
        }
        // A first link that could not be made has taken some of the time already.
        let most = self.timing.silence * 11 / 10 + self.timing.grace;
        let until = match self.phase {
            Phase::Waiting => (self.began + most).min(now + self.timing.grace),
            _ => now + self.timing.grace,
        };
        self.outbox.unlinked();
        self.phase = Phase::Away(reason.clone(), until);
        self.outputs.push_back(Output::Broken(reason));
        // Without a link they do not wait for its writer.
        self.pump_crowded();
    }

    pub(super) fn answer_ping(&mut self, correlation: u64) {
        if self.outbox.is_unread() {
            return self.refuse("it does not read the answers to what it asks".into());
        }
        let envelope = Envelope {
            correlation,
            ..plain(Kind::Pong)
        };
        self.outbox
            .passing(|buffer| wire::write(buffer, envelope, &[]));
    }

    pub(super) fn refuse(&mut self, reason: String) {
        let text = format!("it broke the protocol: {reason}");
        self.close(Goodbye::Refused(reason), End::Lost(text.clone()), &text);
    }

    pub(super) fn closed_by_peer(&mut self) {
        self.end(Phase::Ended, End::Closed, "it has ended the session");
    }

    pub(super) fn close(&mut self, goodbye: Goodbye, end: End, reason: &str) {
        let phase = match self.phase {
            Phase::Linked => Phase::Closing(goodbye),
            _ => Phase::Ended,
        };
        self.end(phase, end, reason);
    }

    pub(super) fn end(&mut self, phase: Phase, end: End, reason: &str) {
        if matches!(phase, Phase::Ended) {
            self.outbox = Outbox::new(0);
        }
        self.released = VecDeque::new();
        self.pings.clear();
        self.phase = phase;
        let lost = self.disconnected(reason);
        let delivers = in_order(&mut self.delivers).map(|waiter| {
            let lost = lost.clone();
            Output::Delivered(waiter, Err(lost))
        });
        self.outputs.extend(delivers);
        let waiting = self
            .flow
            .drain()
            .map(|waiter| Output::Delivered(waiter, Err(lost.clone())));
        self.outputs.extend(waiting);
        let watches = in_order(&mut self.watches).chain(in_order(&mut self.heeds));
        self.outputs
            .extend(watches.map(|watcher| Output::Exited(watcher, Exit::Disconnected)));
        self.outputs.push_back(Output::Ended(end));
    }
}

/// Takes out all that wait, in the order in which they came.
fn in_order<T>(waiting: &mut HashMap<u64, T>) -> impl Iterator<Item = T> {
    let mut all: Vec<_> = waiting.drain().collect();
    all.sort_unstable_by_key(|(correlation, _)| *correlation);
    all.into_iter().map(|(_, waiter)| waiter)
}
