//! A peer: one launch of another node, with the session and the link it has now.
//!
//! It is the carrier to that node's coroutines; how it carries is in [`carrier`](crate::carrier).
//! Addresses hold the peer, so it outlives links. Everything that changes is behind one lock that
//! is held for no longer than it takes to append a frame; user code (encoding, waiters, watchers)
//! never runs under it.

use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use coros_core::remote::{CarryError, Exchange, Inlet, Location, NodeId, OnExit, RESERVED};
use coros_core::{Exit, panic_text};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::exports::Found;
use crate::greeting;
use crate::node::Inner;
use crate::outbox::Batch;
use crate::parts::Part;
use crate::rendezvous::{Answer, Greet, Rendezvous, Ticket};
use crate::roster::Fact;
use crate::scope::Scope;
use crate::session::{End, Input, Output, Session, Taken};
use crate::wire;

/// After a failed dial the next is not tried for this long: senders get the reason at once.
const DIAL_AGAIN: Duration = Duration::from_secs(1);

/// The session as the shell uses it.
pub(crate) type PeerSession = Session<Delivered, OnExit>;
type Delivered = oneshot::Sender<Result<(), CarryError>>;

pub(crate) struct Peer {
    this: Weak<Peer>,
    node: Arc<Inner>,
    id: NodeId,
    exchange: Arc<dyn Exchange>,
    state: Mutex<State>,
    /// Wakes the writer.
    wake: Notify,
    /// Wakes those who wait for room in the outbox.
    room: Notify,
    /// Wakes those who wait for a link.
    changed: Notify,
}

struct State {
    location: Location,
    rendezvous: Rendezvous,
    /// There is one from the first wish to reach the peer to the end of the link.
    session: Option<PeerSession>,
    /// Counts the sessions, so that nobody mistakes a new one for the one he waits for.
    epoch: u64,
    writer_idle: bool,
    /// Ends the tasks of the link.
    link: Option<CancellationToken>,
    failed: Option<(Instant, String)>,
}

/// What is to be done when the lock has been released.
#[derive(Default)]
struct Todo {
    outputs: VecDeque<Output<Delivered, OnExit>>,
    released: Vec<Arc<dyn Inlet>>,
}

/// What the writer is to do.
pub(crate) enum Next {
    Write,
    WriteLast,
    Wait,
    Stop,
}

impl Peer {
    pub(crate) fn new(node: &Arc<Inner>, location: &Location) -> Arc<Self> {
        let scope = Scope {
            node: Arc::clone(node),
            peer: Some(location.node),
        };
        let smaller = node.location.node < location.node;
        Arc::new_cyclic(|this| Peer {
            this: Weak::clone(this),
            node: Arc::clone(node),
            id: location.node,
            exchange: Arc::new(scope),
            state: Mutex::new(State {
                location: location.clone(),
                rendezvous: Rendezvous::new(smaller, node.ticket().0),
                session: None,
                epoch: 0,
                writer_idle: false,
                link: None,
                failed: None,
            }),
            wake: Notify::new(),
            room: Notify::new(),
            changed: Notify::new(),
        })
    }

    pub(crate) fn id(&self) -> NodeId {
        self.id
    }

    pub(crate) fn node(&self) -> &Arc<Inner> {
        &self.node
    }

    pub(crate) fn exchange(&self) -> &Arc<dyn Exchange> {
        &self.exchange
    }

    pub(crate) fn location(&self) -> Location {
        self.lock().location.clone()
    }

    /// Where the peer is, if there is a link.
    pub(crate) fn linked(&self) -> Option<Location> {
        let state = self.lock();
        state.rendezvous.is_linked().then(|| state.location.clone())
    }

    pub(crate) fn has_session(&self) -> bool {
        self.lock().session.is_some()
    }

    /// Somebody knows where the peer listens.
    pub(crate) fn learn(&self, location: &Location) {
        let mut state = self.lock();
        if state.location.endpoint.is_none() {
            state.location.endpoint = location.endpoint;
        }
    }

    // ---- for those who make links

    /// A dial begins; [`dial_over`](Peer::dial_over) must follow unless `greet` says to wait.
    pub(crate) fn dial_begins(&self) {
        let mut state = self.lock();
        state.open(&self.node);
        state.rendezvous.start();
    }

    pub(crate) fn greet(&self, ticket: Ticket) -> Greet {
        if self.node.is_closing() {
            return Greet::Stop;
        }
        self.lock().rendezvous.greet(ticket)
    }

    /// What to say in a greeting, or in the answer to one; see [`Rendezvous`].
    pub(crate) fn last(&self) -> u64 {
        self.lock().rendezvous.last()
    }

    pub(crate) fn duplicate(&self, ticket: Ticket) {
        self.lock().rendezvous.duplicate(ticket);
    }

    /// The peer has welcomed our dial: the token that ends the link, if this is the link now.
    pub(crate) fn welcomed(
        &self,
        ticket: Ticket,
        location: &Location,
        their_last: u64,
    ) -> Option<CancellationToken> {
        self.with(|state| {
            // The flag is looked at under the lock: the node sets it before it closes its peers.
            let welcome = !self.node.is_closing() && state.rendezvous.welcomed(ticket, their_last);
            welcome.then(|| state.connect(&self.node, location))
        })
    }

    /// The peer has greeted on a connection that it dialled: the token that ends the link, if
    /// this is the link now.
    pub(crate) fn greeted(
        &self,
        ticket: Ticket,
        location: &Location,
        their_last: u64,
    ) -> Option<CancellationToken> {
        loop {
            let answer = self.with(|state| {
                if self.node.is_closing() {
                    return Some(None);
                }
                match state.rendezvous.greeted(ticket, their_last) {
                    Answer::Duplicate => Some(None),
                    Answer::Welcome => Some(Some(state.connect(&self.node, location))),
                    Answer::Replace => {
                        state.input(Input::Lost("the peer has made a new link".to_owned()));
                        None
                    }
                }
            });
            if let Some(answer) = answer {
                return answer;
            }
        }
    }

    /// A dial is over; `reason` counts if it failed.
    pub(crate) fn dial_over(&self, ticket: Ticket, reason: &str) {
        self.with(|state| {
            if state.rendezvous.finish(ticket) {
                let again = now() + DIAL_AGAIN;
                state.failed = Some((again, reason.to_owned()));
                state.input(Input::Lost(reason.to_owned()));
            }
        });
    }

    /// Waits until there is a link, or no attempt at one any more.
    pub(crate) async fn settled(&self) -> bool {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
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

    // ---- for the link's tasks; whatever comes from another link than the present does nothing

    /// Bytes came: whether they are of the present link.
    pub(crate) fn heard(&self, ticket: Ticket) -> bool {
        self.with(|state| {
            let present = state.rendezvous.is_link(ticket);
            if present {
                state.input(Input::Heard);
            }
            present && state.session.as_ref().is_some_and(Session::is_open)
        })
    }

    /// Finds a coroutine that the peer wants to reach over a link.
    pub(crate) fn find(&self, ticket: Ticket, coroutine: u64) -> Found {
        if coroutine < RESERVED {
            let inlet = self.node.parts.inlet(coroutine);
            return inlet.map_or(Found::Ended(None), Found::Here);
        }
        let exports = &self.node.exports;
        if let Some(found) = exports.find(coroutine, self.id) {
            return found;
        }
        // The end of the session lets go of what the peer holds, and that takes this lock.
        let state = self.lock();
        let open = state.session.as_ref().is_some_and(Session::is_open);
        if open && state.rendezvous.is_link(ticket) {
            exports.find_and_hold(coroutine, self.id)
        } else {
            Found::Ended(None)
        }
    }

    /// Something happened on a link.
    pub(crate) fn input(&self, ticket: Ticket, input: Input<'_>) {
        self.with(|state| {
            if state.rendezvous.is_link(ticket) {
                state.input(input);
            }
        });
    }

    /// When the session wants to be told the time; `None` when it has ended.
    pub(crate) fn deadline(&self, ticket: Ticket) -> Option<Instant> {
        let state = self.lock();
        let session = state.session.as_ref()?;
        state
            .rendezvous
            .is_link(ticket)
            .then(|| session.deadline())?
    }

    /// Queues an answer.
    pub(crate) fn answer(&self, ticket: Ticket, answer: impl FnOnce(&mut PeerSession)) {
        self.with(|state| {
            if state.rendezvous.is_link(ticket)
                && let Some(session) = &mut state.session
                && session.is_open()
            {
                answer(session);
            }
        });
    }

    /// The writer has written `batch`, and takes what has come up meanwhile.
    pub(crate) fn next(&self, ticket: Ticket, batch: &mut Batch) -> Next {
        let had_messages = !batch.messages().is_empty();
        let next = self.with(|state| {
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
        });
        if had_messages {
            self.room.notify_waiters();
        }
        next
    }

    /// The writer takes the control frames that have come up within a batch.
    pub(crate) fn next_control(&self, ticket: Ticket, control: &mut Vec<u8>) {
        let mut state = self.lock();
        if state.rendezvous.is_link(ticket)
            && let Some(session) = &mut state.session
        {
            session.take_control(control);
        }
    }

    /// Until there may be something to write.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The link is gone.
    pub(crate) fn lost(&self, ticket: Ticket, reason: &str) {
        self.with(|state| {
            if state.rendezvous.is_link(ticket) {
                state.input(Input::Lost(reason.to_owned()));
            }
        });
    }

    /// The node closes.
    pub(crate) fn close(&self) {
        self.with(|state| state.input(Input::Close));
    }

    // ---- inside

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, then does what follows from that.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let was_linked = state.rendezvous.is_linked();
        let was_idle = state.rendezvous.is_idle();
        let result = f(&mut state);
        let todo = state.settle(self);
        let wake = state.must_wake();
        let changed =
            state.rendezvous.is_linked() != was_linked || state.rendezvous.is_idle() != was_idle;
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        if changed {
            self.changed.notify_waiters();
        }
        self.carry_out(todo);
        result
    }

    fn carry_out(&self, todo: Todo) {
        drop(todo.released);
        for output in todo.outputs {
            match output {
                // Whoever waited may have gone.
                Output::Delivered(waiter, result) => drop(waiter.send(result)),
                Output::Exited(on_exit, exit) => tell(on_exit, exit),
                Output::Ended(_) => {
                    self.room.notify_waiters();
                    self.node.functions.session_ended(self.id);
                }
            }
        }
    }

    // ---- for the parts of the node

    /// Sends a notice to a part of the peer, over the link there is or a new one.
    pub(crate) fn notify(&self, part: Part, payload: &[u8]) -> Result<(), CarryError> {
        debug_assert!(payload.len() <= wire::MAX_CONTROL);
        self.reach(|session, _| session.notice(part as u64, payload))
    }

    // ---- for whoever carries messages

    pub(crate) fn this(&self) -> Option<Arc<Peer>> {
        self.this.upgrade()
    }

    /// Resolves when there may be more room in the outbox, or the session has ended.
    pub(crate) fn room(&self) -> Notified<'_> {
        self.room.notified()
    }

    /// Calls `f` with the session of this number, if that is the present one.
    pub(crate) fn in_session<T>(
        &self,
        epoch: u64,
        f: impl FnOnce(&mut PeerSession) -> T,
    ) -> Option<T> {
        self.with(|state| match &mut state.session {
            Some(session) if state.epoch == epoch => Some(f(session)),
            _ => None,
        })
    }

    /// Calls `f`, which queues something, with an open session and its number, and starts a dial
    /// if that takes one.
    pub(crate) fn reach<T>(
        &self,
        f: impl FnOnce(&mut PeerSession, u64) -> T,
    ) -> Result<T, CarryError> {
        let mut state = self.lock();
        let epoch = state.epoch;
        // Nearly always. What is queued in an open session neither ends it nor has other
        // consequences than that the writer has something to do.
        if let Some(session) = &mut state.session
            && session.is_open()
        {
            let result = f(session, epoch);
            let wake = state.must_wake();
            drop(state);
            if wake {
                self.wake.notify_one();
            }
            return Ok(result);
        }
        drop(state);
        let (result, dial) = self.with(|state| match state.reach(&self.node) {
            Ok((session, epoch, dial)) => (Ok(f(session, epoch)), dial),
            Err(e) => (Err(e), false),
        });
        if dial && let Some(peer) = self.this.upgrade() {
            greeting::spawn_dial(peer);
        }
        result
    }
}

/// The time by tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Calls a watcher; a panic in one must not keep the others from being told.
pub(crate) fn tell(on_exit: OnExit, exit: Exit) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| on_exit(exit))) {
        tracing::error!("an exit handler panicked: {}", panic_text(&*panic));
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.node.forget(self.id);
    }
}

impl State {
    /// The session there is, or a new one.
    fn open(&mut self, node: &Inner) -> &mut PeerSession {
        let (epoch, location) = (&mut self.epoch, &self.location);
        self.session.get_or_insert_with(|| {
            *epoch += 1;
            let config = &node.config;
            let name = location.to_string();
            Session::new(now(), name, config.timing, config.outbox)
        })
    }

    /// An open session, its number, and whether somebody must dial.
    fn reach(&mut self, node: &Inner) -> Result<(&mut PeerSession, u64, bool), CarryError> {
        let refuse = |why: &str| {
            let why = format!("{}: {why}", self.location);
            Err(CarryError::Disconnected(why))
        };
        let mut dial = false;
        match &self.session {
            Some(session) if session.is_open() => {}
            Some(_) => return refuse("the link is being closed"),
            None => {
                if node.is_closing() {
                    return refuse("this node has closed");
                }
                if let Some((again, why)) = &self.failed
                    && now() < *again
                {
                    return refuse(why);
                }
                if self.location.endpoint.is_none() {
                    return refuse("there is no link, and it does not accept any");
                }
                self.rendezvous.start();
                dial = true;
            }
        }
        let epoch = self.epoch + u64::from(dial);
        Ok((self.open(node), epoch, dial))
    }

    /// There is a link now.
    fn connect(&mut self, node: &Inner, location: &Location) -> CancellationToken {
        self.location = location.clone();
        self.failed = None;
        self.writer_idle = false;
        self.open(node);
        self.input(Input::Connected);
        node.events.tell(Fact::Linked(location.clone()));
        let token = node.stop.child_token();
        self.link = Some(token.clone());
        token
    }

    fn input(&mut self, input: Input<'_>) {
        if let Some(session) = &mut self.session {
            session.handle(now(), input);
        }
    }

    /// What is to be done, and what the end of a session means for the rest.
    fn settle(&mut self, peer: &Peer) -> Todo {
        let mut todo = Todo::default();
        let Some(session) = &mut self.session else {
            return todo;
        };
        while let Some(output) = session.poll() {
            todo.outputs.push_back(output);
        }
        if let Some(Output::Ended(end)) = todo.outputs.back() {
            todo.released = peer.node.exports.release(peer.id);
            if self.link.is_some() {
                let location = self.location.clone();
                peer.node.events.tell(match end {
                    End::Left | End::Closed => Fact::Left(location),
                    End::Lost(why) => Fact::Lost(location, why.as_str().into()),
                });
            }
        }
        // A session that closes keeps the link until its last frames are written.
        if session.is_over() {
            self.session = None;
            if let Some(link) = self.link.take() {
                link.cancel();
                self.rendezvous.lost();
            }
        }
        todo
    }

    fn must_wake(&mut self) -> bool {
        let output = |session: &Session<_, _>| session.has_output() || !session.is_open();
        self.writer_idle
            && self.session.as_ref().is_none_or(output)
            && mem::take(&mut self.writer_idle)
    }
}
