//! A peer for the tasks of a link. What comes from another link than the present one does
//! nothing, except that a reader finishes what it has begun, as long as the session lives.

use std::sync::Arc;
use std::time::Instant;

use coros_core::remote::{Inlet, RESERVED};

use super::{Course, Peer, PeerSession, now};
use crate::exports::Found;
use crate::inflow::Ask;
use crate::outbox::{Batch, Counts};
use crate::rendezvous::Ticket;
use crate::session::{Input, Session, Taken};

/// What the reader is to do with what has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Act on it; [`Peer::has_read`] must follow.
    Yes,
    /// Throw it away: the session ends here.
    Drains,
    /// Stop: the link has ended.
    No,
}

/// What the writer is to do.
pub(crate) enum Next {
    Write,
    WriteLast,
    Wait,
    Stop,
}

impl Peer {
    /// Bytes came: whether they are of the present link.
    pub(crate) fn reads(&self, ticket: Ticket) -> Reads {
        self.with(|state| {
            if !state.rendezvous.is_link(ticket) {
                return Reads::No;
            }
            state.input(Input::Heard);
            if !state.session.as_ref().is_some_and(Session::is_open) {
                return Reads::Drains;
            }
            state.reading = true;
            Reads::Yes
        })
    }

    /// All that had come has been acted on; `used` if somebody wants it.
    pub(crate) fn has_read(&self, epoch: u64, counts: Counts, bytes: usize, used: bool) {
        let (sooner, waited) = self.with(|state| {
            let waited = state.must_wait();
            state.reading = false;
            if state.epoch != epoch {
                return (false, waited);
            }
            let deadline = |session: &Option<PeerSession>| session.as_ref()?.deadline();
            let before = deadline(&state.session);
            state.input(Input::Read(counts, bytes));
            if used {
                state.input(Input::Used);
            }
            (deadline(&state.session) < before, waited)
        });
        if sooner {
            self.sooner.notify_one();
        }
        if waited {
            self.changed.notify_waiters();
        }
    }

    /// Finds a coroutine that the peer wants to reach in a session.
    pub(crate) fn find(&self, epoch: u64, coroutine: u64) -> Found {
        if coroutine < RESERVED {
            let part = self.inlet(coroutine);
            return part.map_or(Found::Ended(None), Found::Here);
        }
        let exports = &self.node.exports;
        if let Some(found) = exports.find(coroutine, self.id) {
            return found;
        }
        // The end of the session lets go of what the peer holds, and that takes this lock.
        let state = self.lock();
        let open = state.session.as_ref().is_some_and(Session::is_open);
        if open && state.epoch == epoch {
            exports.find_and_hold(coroutine, self.id)
        } else {
            Found::Ended(None)
        }
    }

    /// Something happened in a session.
    pub(crate) fn input(&self, epoch: u64, input: Input<'_>) {
        self.with(|state| {
            if state.epoch == epoch {
                state.input(input);
            }
        });
    }

    /// Queues an answer.
    pub(crate) fn answer(&self, epoch: u64, answer: impl FnOnce(&mut PeerSession)) {
        self.with(|state| {
            if state.epoch == epoch
                && let Some(session) = &mut state.session
                && session.is_open()
            {
                answer(session);
            }
        });
    }

    /// Has a mailbox tell when it has been emptied, and gives back to the peer what that was.
    pub(crate) fn ask(&self, course: &Course, ask: Ask) {
        // It is only looked at: perhaps the peer has released it.
        match self.inlet(ask.target) {
            Some(inlet) => self.ask_there(course, ask, &*inlet),
            None => self.taken(course, ask),
        }
    }

    /// [`ask`](Peer::ask) for an inlet that is known.
    pub(crate) fn ask_there(&self, course: &Course, ask: Ask, inlet: &dyn Inlet) {
        let (course, peer) = (course.clone(), self.weak());
        inlet.when_taken(Box::new(move || {
            if let Some(peer) = peer.upgrade() {
                peer.taken(&course, ask);
            }
        }));
    }

    fn taken(&self, course: &Course, ask: Ask) {
        let more = course.inflow.taken(ask);
        self.answer(course.epoch, |session| {
            session.credit(ask.target, ask.bytes);
        });
        if let Some(more) = more {
            self.ask(course, more);
        }
    }

    /// A coroutine or a part of this node, for whoever does not want to hold it.
    pub(crate) fn inlet(&self, coroutine: u64) -> Option<Arc<dyn Inlet>> {
        if coroutine < RESERVED {
            self.node.parts.inlet(coroutine)
        } else {
            self.node.exports.come_home(coroutine)
        }
    }

    /// When the link's session wants to be told the time; `None` when it has ended.
    pub(crate) fn deadline(&self, ticket: Ticket) -> Option<Instant> {
        let state = self.lock();
        let session = state.session.as_ref()?;
        state
            .rendezvous
            .is_link(ticket)
            .then(|| session.deadline())?
    }

    /// The time that [`deadline`](Peer::deadline) gave has come.
    pub(crate) fn timeout(&self, ticket: Ticket) {
        self.with(|state| {
            if state.rendezvous.is_link(ticket) {
                state.input(Input::Timeout);
            }
        });
    }

    /// Until the deadline may be sooner than it was.
    pub(crate) async fn sooner(&self) {
        self.sooner.notified().await;
    }

    /// The writer has written `batch`, and takes what has come up meanwhile.
    pub(crate) fn next(&self, ticket: Ticket, batch: &mut Batch) -> Next {
        self.with(|state| {
            if !state.rendezvous.is_link(ticket) {
                return Next::Stop;
            }
            let Some(session) = &mut state.session else {
                return Next::Stop;
            };
            match session.take(now(), batch) {
                Taken::Batch => Next::Write,
                Taken::Last => Next::WriteLast,
                Taken::Nothing if !session.is_open() => Next::Stop,
                Taken::Nothing => {
                    state.writer_idle = true;
                    Next::Wait
                }
            }
        })
    }

    /// The writer takes the control frames that have come up within a batch.
    pub(crate) fn next_control(&self, ticket: Ticket, batch: &mut Batch) {
        let mut state = self.lock();
        if state.rendezvous.is_link(ticket)
            && let Some(session) = &mut state.session
        {
            session.take_control(batch);
        }
    }

    /// Until there may be something to write.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The link is gone. A peer that was linked to and cannot be dialled is gone with it.
    pub(crate) fn lost(&self, ticket: Ticket, reason: &str) {
        self.with(|state| {
            if state.rendezvous.is_link(ticket) {
                let reason = reason.to_owned();
                state.input(match state.location.endpoint {
                    Some(_) => Input::Lost(reason),
                    None => Input::Gone(reason),
                });
            }
        });
    }

    /// The link's task has been dropped, so nothing more is known.
    pub(crate) fn stopped(&self, ticket: Ticket) {
        self.with(|state| {
            if state.rendezvous.is_link(ticket) {
                state.reading = false;
                state.input(Input::Gone("this node has stopped".to_owned()));
            }
        });
    }
}
