//! A peer for those who make links: dials, greetings, and how a session goes on over a new link.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::Location;
use tokio_util::sync::CancellationToken;

use super::{Course, Peer, State, now};
use crate::node::Inner;
use crate::rendezvous::{Answer, Greet, Ticket};
use crate::roster::Fact;
use crate::session::{Input, Session};
use crate::wire::{self, Envelope, Goodbye, Hello, Kind, SessionId};

/// A peer that lives, and whose link has broken, dials within this time: a few attempts, over a slow
/// line.
const DIALS_ITSELF: Duration = Duration::from_secs(1);

/// A connection is the link now.
pub(crate) struct Linked {
    /// Ends the link.
    pub(crate) token: CancellationToken,
    pub(crate) course: Course,
    /// Our hello.
    pub(crate) hello: Vec<u8>,
}

/// What a dial that failed shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is no link to be had now.
    None,
    /// There was a connection, and it broke.
    Broke,
    /// Nobody is where the peer should be, or another.
    Nobody(SocketAddr),
    /// The peer says that there is no session any more.
    Gone,
}

/// What a dialler that could greet has to do.
pub(crate) enum Greeting {
    /// Say hello like this, for the session of this number.
    Go(Vec<u8>, u64),
    /// Drop the connection and wait for what becomes of the other attempt.
    Wait,
    /// Drop the connection: there is a link.
    Linked,
    /// Drop the connection: nobody wants it any more.
    Stop,
}

impl Peer {
    /// A dial begins; [`dial_over`](Peer::dial_over) must follow unless `greet` says to wait.
    pub(crate) fn dial_begins(&self) {
        let mut state = self.lock();
        state.open(&self.node);
        state.rendezvous.start();
    }

    /// A dial begins that is to mend a break, if that has not been mended: where to. Else as
    /// [`dial_begins`](Peer::dial_begins).
    pub(crate) fn redial_begins(&self, number: u64) -> bool {
        let mut state = self.lock();
        let away = state.is_away(number);
        if away {
            state.rendezvous.start();
        }
        away
    }

    /// The dial has shaken hands. It is of use as long as there is a session that wants a link; if it is to
    /// mend a break, as long as that is not mended.
    pub(crate) async fn greet(&self, ticket: Ticket, mends: Option<u64>) -> Greeting {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.node.is_closing() {
                return Greeting::Stop;
            }
            {
                let mut state = self.lock();
                let mended = mends.is_some_and(|number| !state.is_away(number));
                if mended || state.session.is_none() {
                    return Greeting::Stop;
                }
                if !state.must_wait() {
                    return match state.rendezvous.greet(ticket) {
                        Greet::Go => Greeting::Go(state.hello(&self.node), state.number),
                        Greet::Wait => Greeting::Wait,
                        Greet::Linked => Greeting::Linked,
                        Greet::Stop => Greeting::Stop,
                    };
                }
            }
            changed.await;
        }
    }

    /// The peer has refused our greeting in favour of its own.
    pub(crate) fn duplicate(&self, ticket: Ticket) {
        self.lock().rendezvous.duplicate(ticket);
    }

    /// The peer has welcomed our dial: whether the connection is the link now.
    ///
    /// # Errors
    /// What to answer: the session that we greeted for has ended, or the peer's answer cannot be true.
    pub(crate) fn welcomed(
        &self,
        ticket: Ticket,
        location: &Location,
        hello: &Hello,
        dialled: SocketAddr,
    ) -> Result<Option<Linked>, Goodbye> {
        self.with(|state| {
            // The flag is looked at under the lock: the node sets it before it closes its peers.
            if self.node.is_closing() {
                return Ok(None);
            }
            if hello.session.theirs != state.number {
                return Err(Goodbye::Closed);
            }
            if !state.rendezvous.welcomed(ticket, hello.number) {
                return Ok(None);
            }
            let stale = state
                .peer_number
                .is_some_and(|number| number != hello.session.ours);
            if stale {
                let number = state.number;
                state.forgotten(&self.node);
                // The peer knows the new one by the number in our greeting.
                state.number = number;
            }
            state.reached = Some(dialled);
            let linked = state.connect(&self.node, location, hello);
            linked.map(Some).map_err(Goodbye::Refused)
        })
    }

    /// The peer has greeted on a connection that it dialled: whether that is the link now.
    ///
    /// # Errors
    /// What to answer otherwise.
    pub(crate) async fn greeted(
        &self,
        ticket: Ticket,
        location: &Location,
        hello: &Hello,
    ) -> Result<Linked, Goodbye> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let answer = self.with(|state| {
                if self.node.is_closing() {
                    return Some(Err(Goodbye::Leaving));
                }
                if state.must_wait() {
                    return None;
                }
                let answer = state.rendezvous.greeted(ticket, hello.number);
                if answer == Answer::Duplicate {
                    return Some(Err(Goodbye::Duplicate));
                }
                // Ours it does not know if the first link broke before it had our answer.
                let SessionId { ours, theirs } = hello.session;
                let known = state
                    .peer_number
                    .is_none_or(|number| number == ours && (theirs == state.number || theirs == 0));
                if !known {
                    state.forgotten(&self.node);
                }
                if answer == Answer::Replace {
                    let why = "the peer has made a new link";
                    state.input(Input::Lost(why.to_owned()));
                    return None;
                }
                let linked = state.connect(&self.node, location, hello);
                Some(linked.map_err(Goodbye::Refused))
            });
            match answer {
                Some(answer) => return answer,
                None if self.lock().must_wait() => changed.await,
                None => {}
            }
        }
    }

    /// Where the peer, which has dialled from this address, says that it listens, if that may be so
    /// and it has not been found there in this session.
    pub(crate) fn claims(&self, from: IpAddr) -> Option<SocketAddr> {
        let state = self.lock();
        let there = state.location.endpoint?;
        (there.ip() == from && state.reached != Some(there)).then_some(there)
    }

    /// Somebody listens there, where the peer says that it does: when nobody does any more, it is
    /// gone.
    pub(crate) fn found(&self, epoch: u64, there: SocketAddr) {
        let mut state = self.lock();
        if state.is_in(epoch) && state.location.endpoint == Some(there) {
            state.reached = Some(there);
        }
    }

    /// A dial is over, and if it failed, why, and what that shows of the session that it greeted for.
    /// True if that has ended, and another wants to be dialled for, which has begun.
    #[must_use]
    pub(crate) fn dial_over(
        &self,
        ticket: Ticket,
        greeted: Option<u64>,
        reason: &str,
        failure: Failure,
    ) -> bool {
        self.with(|state| {
            let last = state.rendezvous.finish(ticket);
            if state.rendezvous.is_linked() {
                return false;
            }
            if greeted.is_some_and(|number| number != state.number) {
                let again = last && state.session.is_some();
                if again {
                    state.rendezvous.start();
                }
                return again;
            }
            if let Some(other) = state.rumour.take() {
                state.rumour = state.location.endpoint.replace(other);
            }
            let reason = reason.to_owned();
            let away = state.session.as_ref().is_some_and(Session::is_away);
            match failure {
                Failure::Gone if away => state.input(Input::Gone(reason)),
                Failure::Nobody(at) if away && state.is_no_more(at) => {
                    state.input(Input::Gone(reason));
                }
                Failure::Broke if last => state.input(Input::Stumbled(reason)),
                _ if last => state.input(Input::Lost(reason)),
                _ => {}
            }
            false
        })
    }

    /// Waits until there is a link, or no attempt at one any more.
    pub(crate) async fn settled(&self) -> bool {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let state = self.lock();
                if state.rendezvous.is_linked() {
                    return true;
                }
                if state.rendezvous.is_idle() {
                    return false;
                }
            }
            changed.await;
        }
    }

    /// Waits until the break of this number is mended, or the session has ended.
    pub(crate) async fn mended(&self, number: u64) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if !self.lock().is_away(number) {
                return;
            }
            changed.await;
        }
    }

    /// The session without a link wants to know the time.
    pub(crate) fn away_until(&self, number: u64) -> Option<std::time::Instant> {
        let state = self.lock();
        let session = state.session.as_ref()?;
        state.is_away(number).then(|| session.deadline())?
    }

    /// The time that [`away_until`](Peer::away_until) gave has come.
    pub(crate) fn away_timeout(&self, number: u64) {
        self.with(|state| {
            if state.is_away(number) {
                state.input(Input::Timeout);
            }
        });
    }
}

impl State {
    /// Whether a break has not been mended, and no other has come since.
    fn is_away(&self, number: u64) -> bool {
        self.breaks == number && self.session.as_ref().is_some_and(Session::is_away)
    }

    /// Whether what has come over the last link has yet to be counted.
    pub(super) fn must_wait(&self) -> bool {
        self.reading.is_some() && !self.rendezvous.is_linked()
    }

    /// Whether a peer without a link, and that is not there, is no more. An endpoint at which it has not
    /// been found may be a wrong one, and then it dials by itself, if it lives; and when all was silent
    /// something else may refuse for it.
    fn is_no_more(&self, there: SocketAddr) -> bool {
        let session = self.session.as_ref();
        let silent = session.is_some_and(Session::was_silent);
        let had_time = self.broke.is_none_or(|at| now() >= at + DIALS_ITSELF);
        !silent && (self.reached == Some(there) || had_time)
    }

    /// What to say in a greeting, or in the answer to one.
    fn hello(&mut self, node: &Arc<Inner>) -> Vec<u8> {
        let received = self.open(node).received();
        let hello = Hello {
            network: node.network.clone(),
            location: node.location.clone(),
            number: node.ticket().0,
            session: SessionId {
                ours: self.number,
                theirs: self.peer_number.unwrap_or(0),
            },
            received,
            capacity: node.config.outbox as u64,
        };
        let envelope = Envelope {
            kind: Kind::Hello,
            target: 0,
            correlation: 0,
        };
        let mut frame = Vec::new();
        wire::write_value(&mut frame, envelope, &hello);
        frame
    }

    /// The peer knows nothing of our session, which so is over.
    fn forgotten(&mut self, node: &Inner) {
        self.input(Input::Forgotten);
        self.settle(node);
    }

    /// There is a link now: a session begins on it, or goes on.
    fn connect(
        &mut self,
        node: &Arc<Inner>,
        location: &Location,
        hello: &Hello,
    ) -> Result<Linked, String> {
        self.broke = None;
        self.location = location.clone();
        self.is_proven = true;
        self.rumour = self.reached.filter(|it| Some(*it) != location.endpoint);
        // Of what it has had in a session that is over nothing is known.
        let goes_on = hello.session.theirs == self.number;
        let received = if goes_on { hello.received } else { [0; 2] };
        let linked = self.open(node).link(now(), received, hello.capacity);
        if let Err(error) = linked {
            self.input(Input::Gone(error.to_string()));
            self.settle(node);
            self.rendezvous.lost();
            return Err(error.to_string());
        }
        self.peer_number = Some(hello.session.ours);
        self.failed = None;
        self.writer_idle = false;
        node.events.tell(Fact::Linked(location.clone()));
        let token = node.stop.child_token();
        self.link = Some(token.clone());
        let course = self.course.clone().expect("an open session has one");
        let hello = self.hello(node);
        Ok(Linked {
            token,
            course,
            hello,
        })
    }
}

#[cfg(test)]
mod tests {
    use coros_core::remote::CarryError;

    use super::super::tasks::tests::linked;
    use super::*;
    use crate::sim::SimNetwork;

    #[tokio::test(start_paused = true)]
    async fn a_session_goes_on_whose_first_link_only_one_side_knew_of() {
        let host = SimNetwork::new(1).host("farm");
        let node = host.builder().member(false).build().await;
        let node = node.expect("it starts");
        let location = Location {
            node: coros_core::remote::NodeId(7),
            name: "desk".into(),
            endpoint: Some(([10, 0, 0, 99], 7).into()),
        };
        let peer = node.inner().peer(&location);
        let hello = |number, received| Hello {
            network: node.inner().network.clone(),
            location: location.clone(),
            number,
            session: SessionId { ours: 5, theirs: 0 },
            received,
            capacity: 1 << 20,
        };
        let greeted = async |number, received| {
            let ticket = node.inner().ticket();
            let hello = hello(number, received);
            let linked = peer.greeted(ticket, &location, &hello).await;
            linked.map(|linked| (ticket, linked.course.epoch))
        };
        let (link, session) = greeted(10, [0; 2])
            .await
            .expect("nothing speaks against it");
        let queued = peer.reach(|session, _| session.message(1, b"first", &[]));
        assert_eq!(queued, Ok(Ok(())));
        peer.lost(link, "it was cut before the peer had our answer");
        let (link, again) = greeted(20, [0; 2]).await.expect("the same session");
        assert_eq!(again, session);
        peer.lost(link, "it was cut");

        // One of the first greetings comes late.
        let late = greeted(15, [0; 2])
            .await
            .expect_err("its sender has given it up");
        assert_eq!(late, Goodbye::Duplicate);
        let waits = peer.reach(|session, _| session.is_acknowledged());
        assert_eq!(waits, Ok(false), "what was queued is still there");
    }

    /// The goodbye is on its way, and has been overtaken.
    #[tokio::test(start_paused = true)]
    async fn a_greeting_for_another_session_says_that_the_one_before_has_been_ended() {
        let (nodes, peer, _) = linked().await;
        let [desk, farm] = &nodes;
        let mut facts = desk.inner().events.tap();
        let hello = |ours| Hello {
            network: desk.inner().network.clone(),
            location: farm.location(),
            number: farm.inner().ticket().0,
            session: SessionId { ours, theirs: 0 },
            received: [0; 2],
            capacity: 1 << 20,
        };
        let (tell, told) = tokio::sync::oneshot::channel();
        let asked = peer.reach(|session, _| session.deliver(1 << 20, b"", &[], tell));
        assert!(asked.is_ok());
        let ticket = desk.inner().ticket();
        let linked = peer
            .greeted(ticket, &farm.location(), &hello(1 << 40))
            .await;
        assert!(linked.is_ok());
        let told = told.await.expect("it is answered");
        assert!(matches!(told, Err(CarryError::Disconnected(_))), "{told:?}");
        let facts = std::iter::from_fn(|| facts.try_recv().ok());
        let facts: Vec<_> = facts.collect();
        assert!(
            matches!(facts[..], [Fact::Left(_), Fact::Linked(_)]),
            "{facts:?}"
        );
    }

    /// A peer without a link, for which a dial has greeted that is under way when its session ends; the
    /// dial and that session. Another has begun, and so has a dial for it, if somebody wants it.
    async fn ended_while_dialled(wanted: bool) -> ([crate::Node; 2], Arc<Peer>, Ticket, u64) {
        let (nodes, peer, _) = linked().await;
        peer.close();
        while peer.has_session() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        peer.dial_begins();
        let ticket = nodes[0].inner().ticket();
        let Greeting::Go(_, session) = peer.greet(ticket, None).await else {
            panic!("nobody else does");
        };
        peer.close();
        if wanted {
            peer.dial_begins();
        }
        (nodes, peer, ticket, session)
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_waits_for_the_dial_of_the_one_before_is_dialled_for() {
        let (nodes, peer, dial, session) = ended_while_dialled(true).await;
        let other = nodes[0].inner().ticket();
        assert!(matches!(peer.greet(other, None).await, Greeting::Wait));
        let over = |dial| peer.dial_over(dial, Some(session), "it is over", Failure::None);
        assert!(over(dial));
        let next = nodes[0].inner().ticket();
        let Greeting::Go(_, session) = peer.greet(next, None).await else {
            panic!("it may greet");
        };
        // That one is to blame for what becomes of its own.
        assert!(!peer.dial_over(next, Some(session), "nobody is there", Failure::None));
        assert!(!peer.has_session() && !peer.settled().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_dialled_for_is_not_harmed_by_the_dial_of_the_one_before() {
        let (nodes, peer, dial, session) = ended_while_dialled(true).await;
        assert!(!peer.dial_over(dial, Some(session), "it is over", Failure::None));
        assert!(peer.has_session());
        let other = nodes[0].inner().ticket();
        assert!(matches!(peer.greet(other, None).await, Greeting::Go(..)));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_dialled_for_a_session_that_has_ended() {
        let (_nodes, peer, dial, session) = ended_while_dialled(false).await;
        assert!(!peer.dial_over(dial, Some(session), "it is over", Failure::None));
        assert!(!peer.has_session() && !peer.settled().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dial_that_has_not_greeted_when_its_session_ends_makes_no_other() {
        let (nodes, peer, _) = linked().await;
        peer.close();
        while peer.has_session() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut facts = nodes[0].inner().events.tap();
        assert!(peer.reach(|_, _| ()).is_ok());
        peer.close();
        assert!(!peer.has_session() && !peer.settled().await);
        assert!(!peer.has_session() && facts.try_recv().is_err());
        // Nor does it keep the next one waiting.
        assert!(peer.reach(|_, _| ()).is_ok());
        assert!(peer.settled().await);
    }
}
