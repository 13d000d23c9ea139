//! A peer for the tasks of a link. What comes from another link than the present one does
//! nothing, except that a reader finishes what it has begun, as long as the session lives.

use std::sync::Arc;
use std::time::Instant;

use coros_core::remote::{Inlet, RESERVED};

use super::{Course, Peer, PeerSession, State, now};
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
            state.reading = Some(ticket);
            Reads::Yes
        })
    }

    /// Whether what has come is being acted on.
    pub(crate) fn is_reading(&self) -> bool {
        self.lock().reading.is_some()
    }

    /// All that had come has been acted on; `used` if somebody wants it.
    pub(crate) fn has_read(&self, epoch: u64, counts: Counts, bytes: usize, used: bool) {
        let waited = self.with_deadline(epoch, |state| {
            let waited = state.must_wait();
            state.reading = None;
            if state.epoch == epoch {
                state.input(Input::Read(counts, bytes));
                if used {
                    state.input(Input::Used);
                }
            }
            waited
        });
        if waited {
            self.changed.notify_waiters();
        }
    }

    /// [`with`](Peer::with) for what may bring about that whoever minds the time of a session has to
    /// look sooner than he thought.
    fn with_deadline<T>(&self, epoch: u64, f: impl FnOnce(&mut State) -> T) -> T {
        let (result, sooner) = self.with(|state| {
            let result = f(state);
            (result, state.epoch == epoch && state.is_due_sooner())
        });
        if sooner {
            self.sooner.notify_one();
        }
        result
    }

    /// Finds a coroutine that the peer wants to reach in a session.
    pub(crate) fn find(&self, epoch: u64, coroutine: u64) -> Found {
        if coroutine < RESERVED {
            let is_open = self.lock().is_in(epoch);
            let part = is_open.then(|| self.inlet(coroutine)).flatten();
            return part.map_or(Found::Ended(None), Found::Here);
        }
        let exports = &self.node.exports;
        if let Some(found) = exports.find(coroutine, self.id) {
            return found;
        }
        // The end of the session lets go of what the peer holds, and that takes this lock.
        let state = self.lock();
        if state.is_in(epoch) {
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
            if !state.is_in(epoch) {
                return;
            }
            // A link that nobody needs may have been closed while a coroutine was heeded.
            if state.is_dormant() {
                state.input(Input::Wake);
            }
            if let Some(session) = &mut state.session {
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
        self.with_deadline(course.epoch, |state| {
            if state.is_in(course.epoch)
                && let Some(session) = &mut state.session
            {
                session.credit(now(), ask.target, ask.bytes);
            }
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
        let mut state = self.lock();
        let session = state.session.as_ref()?;
        let is_link = state.rendezvous.is_link(ticket);
        let deadline = is_link.then(|| session.deadline())?;
        state.alarm = deadline;
        deadline
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

    /// The writer takes the control frames that have come up within a batch: false if there is
    /// nothing more to be written, because the link is gone.
    pub(crate) fn next_control(&self, ticket: Ticket, batch: &mut Batch) -> bool {
        batch.clear();
        let mut state = self.lock();
        if !state.rendezvous.is_link(ticket) {
            return false;
        }
        let Some(session) = &mut state.session else {
            return false;
        };
        session.take_control(batch);
        true
    }

    /// Until there may be something to write.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The link is gone. A peer that cannot be dialled may dial.
    pub(crate) fn lost(&self, ticket: Ticket, reason: &str) {
        self.with(|state| {
            if state.rendezvous.is_link(ticket) {
                state.input(Input::Lost(reason.to_owned()));
            }
        });
    }

    /// The link's task has been dropped, so nothing more is known.
    pub(crate) fn stopped(&self, ticket: Ticket) {
        let waited = self.with(|state| {
            let waited = state.must_wait();
            // What it was at is not known: neither how much it has done.
            let reading = state.reading.take_if(|reader| *reader == ticket).is_some();
            if reading || state.rendezvous.is_link(ticket) {
                state.input(Input::Gone("this node has stopped".to_owned()));
            }
            waited && !state.must_wait()
        });
        if waited {
            self.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use coros_core::{Address, Context};

    use super::*;
    use crate::parts::Part;
    use crate::sim::SimNetwork;

    /// Two nodes with a link that is idle; the peer as the first has it, and its link.
    pub(in crate::peer) async fn linked() -> ([crate::Node; 2], Arc<Peer>, Ticket) {
        let network = SimNetwork::new(1);
        let build = async |name| {
            let builder = network.host(name).builder().member(false);
            builder.build().await.expect("it starts")
        };
        let nodes = [build("desk").await, build("farm").await];
        let farm = nodes[1].location();
        let endpoint = farm.endpoint.expect("it listens");
        nodes[0].connect(endpoint).await.expect("it is there");
        let peer = nodes[0].inner().peer(&farm);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let link = (0..100).map(Ticket).find(|ticket| {
            let state = peer.lock();
            state.rendezvous.is_link(*ticket)
        });
        (nodes, peer, link.expect("there is a link"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_whose_link_is_gone_writes_nothing_twice() {
        let (_nodes, peer, link) = linked().await;
        let mut between = Batch::default();
        peer.with(|state| {
            let session = state.session.as_mut().expect("it has one");
            session.request(7, coros_core::remote::Request::Terminate);
        });
        assert!(peer.next_control(link, &mut between));
        assert_eq!(between.control().count(), 1);
        peer.lost(link, "it was silent");
        assert!(!peer.next_control(link, &mut between));
        assert_eq!(between.control().count(), 0);
    }

    /// Of the far side, which reads: when it has acted on something and has nothing to say.
    #[tokio::test(start_paused = true)]
    async fn what_has_come_is_acknowledged_in_time() {
        let patience = Duration::from_millis(100);
        let (nodes, peer, _) = linked().await;
        let far = nodes[1].inner().peer(&nodes[0].location());
        let (came, mut coming) = tokio::sync::mpsc::unbounded_channel();
        let coro = coros_core::spawn(async move |mut me: Context<u32>| {
            while let Some(n) = me.receive().await {
                came.send(n).expect("somebody waits");
            }
        });
        let bytes = nodes[1].encode(&coro.address()).expect("it can travel");
        let remote: Address<u32> = nodes[0].decode(&bytes).expect("it is one");
        let is_acknowledged = || peer.reach(|session, _| session.is_acknowledged()) == Ok(true);
        for n in 0..50 {
            // At any moment between two heartbeats.
            tokio::time::sleep(Duration::from_millis(1000 + 41 * u64::from(n))).await;
            assert!(is_acknowledged());
            remote.send(n).expect("there is room");
            assert!(!is_acknowledged());
            assert_eq!(coming.recv().await, Some(n));
            let alarm = far.lock().alarm.expect("it minds the time");
            assert!(alarm <= now() + patience, "round {n}");
            let began = now();
            while !is_acknowledged() {
                assert!(
                    now() <= began + patience + Duration::from_millis(20),
                    "round {n}"
                );
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_minds_the_time_is_woken_when_he_has_to_look_sooner() {
        let (_nodes, peer, link) = linked().await;
        // Between two heartbeats, so that nothing else wakes him.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let epoch = peer.lock().epoch;
        // As if he looked then; if he is woken he says when he looks instead.
        let looks = async |at: Instant| {
            peer.lock().alarm = Some(at);
            assert_eq!(peer.reads(link), Reads::Yes);
            peer.has_read(epoch, [0, 1], 10, false);
            tokio::task::yield_now().await;
            peer.lock().alarm.expect("he minds the time")
        };
        let soon = now();
        assert_eq!(looks(soon).await, soon, "he looks in time anyway");
        let due = peer.lock().session.as_ref().and_then(Session::deadline);
        let due = due.expect("what has come is to be acknowledged");
        assert_eq!(looks(due + Duration::from_nanos(1)).await, due);
    }

    #[tokio::test(start_paused = true)]
    async fn the_peer_is_told_soon_of_the_little_that_a_coroutine_has_taken() {
        let (_nodes, peer, _) = linked().await;
        let course = peer.lock().course.clone().expect("there is a session");
        let due = || peer.lock().session.as_ref().and_then(Session::deadline);
        // Not when it is time for a sign of life.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (target, bytes) = (RESERVED, 0);
        let before = now();
        peer.taken(&course, Ask { target, bytes });
        let patience = Duration::from_millis(100);
        assert_eq!(due(), Some(before + patience));
        tokio::time::sleep(patience + Duration::from_millis(1)).await;
        assert!(due() > Some(now()), "whoever minds the time has been told");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_late_reaches_no_part_of_the_node() {
        let (_nodes, peer, _) = linked().await;
        let epoch = peer.lock().epoch;
        let part = Part::Functions as u64;
        assert!(matches!(peer.find(epoch, part), Found::Here(_)));
        peer.close();
        assert!(matches!(peer.find(epoch, part), Found::Ended(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_panics_after_its_link_has_gone_lets_another_be_made() {
        let (_nodes, peer, link) = linked().await;
        assert_eq!(peer.reads(link), Reads::Yes);
        peer.lost(link, "it was silent");
        assert!(
            peer.lock().must_wait(),
            "what it does has yet to be counted"
        );
        peer.stopped(link);
        assert!(!peer.lock().must_wait());
        assert!(!peer.has_session(), "what it has done is not known");
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_that_is_given_up_is_taken_back() {
        let (nodes, peer, _link) = linked().await;
        let farm = nodes[1].location();
        let waiting = || peer.lock().pings.len();
        let asked = tokio::time::timeout(Duration::ZERO, async {
            let asking = nodes[0].ping(&farm);
            tokio::join!(asking, async { assert_eq!(waiting(), 1) })
        });
        assert!(asked.await.is_err(), "an answer takes some time");
        assert_eq!(waiting(), 0);
    }
}
