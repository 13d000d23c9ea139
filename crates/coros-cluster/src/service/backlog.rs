//! What a client is to be told and has not been sent yet: what its tenant says, and what has come of its calls. A
//! state machine. When the latter is too much, the scheduler is to pause until the client has taken its part.

use std::sync::Arc;

use super::protocol::FromTenant;
use super::window::WINDOW;
use crate::scheduler::remote::Ended;
use crate::scheduler::{Arguments, Event};
use crate::size::Line;

/// So many messages of its tenant may wait for a client, with those that are on their way from its scheduler, before
/// it is not listened to.
const UNHEARD: usize = 256;
/// And so many bytes.
const UNHEARD_BYTES: usize = 1 << 20;

/// When so much waits though nothing more is to begin, it was not meant to be so much.
const MOST: usize = 16 * WINDOW;
/// That, in words.
pub(super) const TOO_MUCH: &str =
    "more has come of its calls than a service keeps of a client, which is 1 GiB";

#[derive(Debug, Default)]
pub(super) struct Backlog {
    said: Line<FromTenant>,
    events: Line<Event>,
    ends: Line<Ended>,
    /// The scheduler is closed: which workers had to be killed.
    closed: Option<Vec<Arc<str>>>,
    /// The scheduler has been told that it is too much.
    full: bool,
}

impl Backlog {
    /// What its tenant says goes before all that comes of its calls.
    pub(super) fn say(&mut self, message: FromTenant) {
        self.said.push(message);
    }

    pub(super) fn ended(&mut self, end: Ended) {
        self.ends.push(end);
    }

    pub(super) fn happened(&mut self, mut event: Event) {
        // The client has them, and here they would be kept.
        if let Event::JobStarted { arguments, .. } = &mut event {
            *arguments = Arguments::default();
        }
        self.events.push(event);
    }

    /// The scheduler is closed, and says nothing more.
    pub(super) fn closed(&mut self, killed: Vec<Arc<str>>) {
        self.closed = Some(killed);
    }

    /// The next that its tenant says.
    pub(super) fn said(&mut self) -> Option<FromTenant> {
        self.said.pop()
    }

    /// The next message to the client: events go before the ends of their calls, and all goes before that the
    /// scheduler is closed.
    pub(super) fn next(&mut self) -> Option<FromTenant> {
        if let Some(said) = self.said() {
            return Some(said);
        }
        let events = self.events.batch();
        if !events.is_empty() {
            return Some(FromTenant::Events(events));
        }
        let ends = self.ends.batch();
        match ends.is_empty() {
            true => self.closed.take().map(FromTenant::Closed),
            false => Some(FromTenant::Ended(ends)),
        }
    }

    /// Whether the client has not heard so much of what its tenant says, with so much that is on its way, that it is
    /// not listened to.
    pub(super) fn is_unheard(&self, coming: usize) -> bool {
        self.said.len() + coming >= UNHEARD || self.said.bytes() >= UNHEARD_BYTES
    }

    /// How many bytes have come of its calls.
    fn bytes(&self) -> usize {
        self.events.bytes() + self.ends.bytes()
    }

    /// Whether its client cannot be kept.
    pub(super) fn is_too_much(&self) -> bool {
        self.bytes() > MOST
    }

    /// Whether the scheduler is to pause from now on, or not any more.
    pub(super) fn turns(&mut self) -> Option<bool> {
        let full = match self.full {
            false => self.bytes() > WINDOW,
            true => self.bytes() > WINDOW / 2,
        };
        let before = std::mem::replace(&mut self.full, full);
        (before != full).then_some(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Resources;
    use crate::scheduler::{Completed, JobError, Target};
    use crate::size::{BATCH, BATCH_BYTES};

    fn end(call: usize, bytes: usize) -> Ended {
        let failed = JobError::Failed("x".repeat(bytes));
        Ended::new((call, Completed::without_worker(failed)))
    }

    fn calls(message: Option<FromTenant>) -> Vec<u64> {
        let Some(FromTenant::Ended(ends)) = message else {
            panic!("{message:?}");
        };
        ends.iter().map(|end| end.call.0).collect()
    }

    #[test]
    fn events_go_first_and_large_ends_alone() {
        let mut backlog = Backlog::default();
        for (call, bytes) in [0, 1, BATCH_BYTES, 2, 3].into_iter().enumerate() {
            backlog.ended(end(call, bytes));
        }
        let name = || "farm-1".into();
        backlog.happened(Event::ServiceReady { name: name() });
        let first = backlog.next();
        assert!(
            matches!(&first, Some(FromTenant::Events(it)) if it.len() == 1),
            "{first:?}"
        );
        assert_eq!(calls(backlog.next()), [0, 1]);
        assert_eq!(calls(backlog.next()), [2]);
        assert_eq!(calls(backlog.next()), [3, 4]);
        assert!(backlog.next().is_none());
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn what_its_tenant_says_goes_first_and_when_it_is_much_the_client_is_not_listened_to() {
        let mut backlog = Backlog::default();
        backlog.ended(end(0, 2 * UNHEARD_BYTES));
        assert!(!backlog.is_unheard(UNHEARD - 1));
        for before in 0..UNHEARD {
            assert!(!backlog.is_unheard(0));
            backlog.say(FromTenant::Waits(before));
        }
        assert!(backlog.is_unheard(0));
        assert!(matches!(backlog.next(), Some(FromTenant::Waits(0))));
        assert!(!backlog.is_unheard(0));
        assert!(backlog.is_unheard(1));
        while backlog.said().is_some() {}
        let large = Err("x".repeat(UNHEARD_BYTES));
        backlog.say(FromTenant::Started(large));
        assert!(backlog.is_unheard(0));
        backlog.next();
        assert!(!backlog.is_unheard(0));
        assert_eq!(calls(backlog.next()), [0]);
    }

    #[test]
    fn many_go_in_several_messages() {
        let mut backlog = Backlog::default();
        for call in 0..=BATCH {
            backlog.ended(end(call, 0));
            backlog.happened(Event::ServiceReady {
                name: "farm-1".into(),
            });
        }
        for n in [BATCH, 1] {
            let events = backlog.next();
            assert!(matches!(&events, Some(FromTenant::Events(it)) if it.len() == n));
        }
        assert_eq!(calls(backlog.next()).len(), BATCH);
        assert_eq!(calls(backlog.next()), [BATCH as u64]);
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn all_that_an_event_or_an_error_says_counts() {
        let mut backlog = Backlog::default();
        let long = || "x".repeat(1 << 20);
        backlog.happened(Event::JobWaits {
            job: 0,
            function: long().into(),
        });
        assert!(backlog.bytes() > 1 << 20);
        let target = Target::node(long());
        for error in [
            JobError::no_target(target.clone(), &[]),
            JobError::TargetLost(target.clone()),
            JobError::NoRoom(Resources::default().named(long(), 1)),
        ] {
            let before = backlog.bytes();
            backlog.ended(Ended::new((0, Completed::without_worker(error))));
            assert!(backlog.bytes() > before + (1 << 20));
        }
        while backlog.next().is_some() {}
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn the_scheduler_pauses_until_half_is_taken() {
        let mut backlog = Backlog::default();
        backlog.ended(end(0, WINDOW / 2));
        assert_eq!(backlog.turns(), None);
        backlog.ended(end(1, WINDOW / 2));
        assert_eq!((backlog.turns(), backlog.turns()), (Some(true), None));
        backlog.ended(end(2, 0));
        backlog.next();
        // A bit more than half.
        assert_eq!(backlog.turns(), None);
        backlog.next();
        assert_eq!((backlog.turns(), backlog.turns()), (Some(false), None));
        // Kept once, whoever has it.
        let long: &'static str = "x".repeat(WINDOW).leak();
        while backlog.bytes() + WINDOW < MOST {
            backlog.happened(Event::JobWaits {
                job: 0,
                function: long.into(),
            });
        }
        assert!(!backlog.is_too_much());
        backlog.ended(end(3, WINDOW));
        assert!(backlog.is_too_much());
    }
}
