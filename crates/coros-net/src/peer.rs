//! A peer: one launch of another node, with the session and the link it has now.
//!
//! It is the carrier to that node's coroutines; how it carries is in [`carrier`](crate::carrier).
//! Addresses hold the peer, so it outlives links. Everything that changes is behind one lock that
//! is held for no longer than it takes to append a frame; user code (encoding, waiters, watchers)
//! never runs under it.
//!
//! Here is what all share; [`life`] is of sessions, [`linking`] is for those who make links, [`tasks`] for those who run
//! one, [`handles`] for those who have addresses.

mod handles;
mod life;
mod linking;
mod tasks;

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use coros_core::remote::{CarryError, Exchange, Inlet, Location, NodeId, OnExit};
use coros_core::{Exit, panic_text};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::carrier::Import;
use crate::clock::now;
use crate::deliveries::Queues;
use crate::dormancy;
use crate::greeting;
use crate::imports::Imports;
use crate::inflow::Inflow;
use crate::node::Inner;
use crate::parts::Part;
use crate::redial;
use crate::rendezvous::{Rendezvous, Ticket};
use crate::scope::Scope;
use crate::session::{Asked, Input, Output, Session};
use crate::wire;

use self::handles::KeptPassed;
pub(crate) use self::linking::{Failure, Greeting, Linked};
pub(crate) use self::tasks::{Next, Reads};

/// After a failed dial the next is not tried for this long: senders get the reason at once.
const DIAL_AGAIN: Duration = Duration::from_secs(1);

/// The session as the shell uses it.
pub(crate) type PeerSession = Session<Delivered, OnExit>;
pub(crate) type Delivered = oneshot::Sender<Result<(), CarryError>>;
/// Who waits for the answer to a ping, or why there is none.
type Pinged = oneshot::Sender<Result<Duration, String>>;
type Pings = BTreeMap<u64, Pinged>;

pub(crate) struct Peer {
    this: Weak<Peer>,
    node: Arc<Inner>,
    id: NodeId,
    exchange: Arc<dyn Exchange>,
    state: Mutex<State>,
    /// Wakes the writer.
    wake: Notify,
    /// Wakes those who wait for a link, or for its end.
    changed: Notify,
    /// Wakes the one who minds the time, when it has to look sooner than it thought.
    sooner: Notify,
}

// In this order, and so are the session and what it has: what changes with each message is together,
// since it comes from the memory of another core each time that is where the last one was sent.
#[repr(C)]
struct State {
    writer_idle: bool,
    /// Counts the sessions, so that nobody mistakes a new one for the one he waits for.
    epoch: u64,
    /// There is one from the first wish to reach the peer until it ends, with and without a link.
    session: Option<PeerSession>,
    this: Weak<Peer>,
    location: Location,
    /// The peer itself has said so.
    is_proven: bool,
    /// Where it may listen as well: to be tried when it cannot be reached.
    rumour: Option<SocketAddr>,
    rendezvous: Rendezvous,
    /// Of the present session, or of the next: ours, and the peer's if we know it.
    number: u64,
    peer_number: Option<u64>,
    /// What goes with the session.
    course: Option<Course>,
    /// When the one who minds the time of the link looks next, unless he is told to look sooner.
    alarm: Option<Instant>,
    /// The reader of a link is at work, perhaps of one that is lost: what it does has yet to be
    /// counted, so no other link can be made now.
    reading: Option<Ticket>,
    /// Ends the tasks of the link.
    link: Option<CancellationToken>,
    /// Counts the links that broke.
    breaks: u64,
    /// When the last one did, if there is none since.
    broke: Option<Instant>,
    /// Where, in this session, it has been found to listen.
    reached: Option<SocketAddr>,
    failed: Option<(Instant, String)>,
    /// Of the peer's coroutines.
    imports: Imports<Import>,
    /// Handles of coroutines of other nodes, of which the peer has been told in this session.
    passed: BTreeMap<(NodeId, u64), KeptPassed>,
    /// Those who wait for the answer to a ping.
    pings: Pings,
    /// The last number of the sessions before.
    correlation: u64,
    todo: Todo,
}

/// What lives as long as a session.
#[derive(Clone)]
pub(crate) struct Course {
    pub(crate) epoch: u64,
    /// Cancelled when it ends.
    pub(crate) over: CancellationToken,
    /// For what is read in it.
    pub(crate) exchange: Arc<dyn Exchange>,
    pub(crate) queues: Arc<Queues>,
    pub(crate) inflow: Arc<Inflow>,
}

/// What is to be done when the lock has been released.
#[derive(Default)]
struct Todo {
    outputs: VecDeque<Output<Delivered, OnExit>>,
    ponged: Vec<(Pinged, Result<Duration, String>)>,
    released: Vec<Arc<dyn Inlet>>,
    /// With the session.
    lost: Vec<Arc<dyn Inlet>>,
    passed: Vec<KeptPassed>,
    /// Somebody is to mind that this break is mended.
    redial: Option<u64>,
}

impl Peer {
    pub(crate) fn new(node: &Arc<Inner>, location: &Location) -> Arc<Self> {
        let scope = Scope {
            node: Arc::clone(node),
            peer: Some(location.node),
            session: None,
        };
        let smaller = node.location.node < location.node;
        Arc::new_cyclic(|this| Peer {
            this: Weak::clone(this),
            node: Arc::clone(node),
            id: location.node,
            exchange: Arc::new(scope),
            state: Mutex::new(State {
                this: Weak::clone(this),
                location: location.clone(),
                is_proven: false,
                rumour: None,
                rendezvous: Rendezvous::new(smaller),
                session: None,
                number: life::number(node),
                peer_number: None,
                epoch: 0,
                course: None,
                writer_idle: false,
                alarm: None,
                reading: None,
                link: None,
                breaks: 0,
                broke: None,
                reached: None,
                failed: None,
                imports: Imports::new(),
                passed: BTreeMap::new(),
                pings: Pings::new(),
                correlation: 0,
                todo: Todo::default(),
            }),
            wake: Notify::new(),
            changed: Notify::new(),
            sooner: Notify::new(),
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

    /// Whether there is a session that has had a link.
    pub(crate) fn shares_session(&self) -> bool {
        let state = self.lock();
        state.session.is_some() && state.peer_number.is_some()
    }

    /// Somebody knows where the peer listens.
    pub(crate) fn learn(&self, location: &Location) {
        let mut state = self.lock();
        // It says so itself when there is a link.
        if state.is_proven {
            return;
        }
        if state.location.endpoint.is_none() {
            state.location.endpoint = location.endpoint;
        } else if state.location.endpoint != location.endpoint {
            state.rumour = location.endpoint.or(state.rumour);
        }
    }

    /// The session ends by goodbye.
    pub(crate) fn close(&self) {
        let input = if self.node.is_closing() {
            Input::Leave
        } else {
            Input::Close
        };
        self.with(|state| state.input(input));
    }

    /// Others take the peer for dead: a session without a link makes one, or ends in its time.
    pub(crate) fn doubt(&self) {
        self.with(|state| state.input(Input::Wake));
    }

    /// The session ends, if it is dormant.
    pub(crate) fn let_go(&self, reason: &str) {
        self.with(|state| {
            if state.is_dormant() {
                state.input(Input::Gone(reason.to_owned()));
            }
        });
    }

    // ---- inside

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Changes the state, then does what follows from that.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let before = state.standing();
        let result = f(&mut state);
        state.settle(&self.node);
        let todo = mem::take(&mut state.todo);
        // What a reader brings about is written when it is done with all that has come.
        let wake = state.reading.is_none() && state.must_wake();
        let after = state.standing();
        let rests = after.dormant && !before.dormant;
        let changed = after != before;
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        if changed {
            if rests && let Some(peer) = self.this.upgrade() {
                dormancy::spawn(peer);
            }
            self.changed.notify_waiters();
            // Perhaps the end of the session: what is left to write has its own time.
            self.sooner.notify_one();
        }
        self.carry_out(todo);
        result
    }

    /// Waits until the session is not dormant any more.
    pub(crate) async fn awake(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if !self.lock().is_dormant() {
                return;
            }
            changed.await;
        }
    }

    /// The link is idle. That it is used meanwhile the session sees itself.
    fn idle(&self, asked: Asked) {
        let queues = {
            let state = self.lock();
            // What it says may be wrong; and then it would have to be it who needs the link.
            let dialable = state.reached.is_some();
            let course = state.course.as_ref().filter(|_| dialable);
            course.map(|course| Arc::clone(&course.queues))
        };
        // Either side must be able to make another link.
        let dialable = self.node.location.endpoint.is_some();
        if dialable
            && queues.is_some_and(|queues| queues.is_empty())
            && !self.node.exports.owes(self.id)
        {
            self.with(|state| state.input(Input::Rest(asked)));
        }
    }

    fn carry_out(&self, todo: Todo) {
        drop(todo.released);
        for (waiter, result) in todo.ponged {
            drop(waiter.send(result));
        }
        for inlet in todo.lost {
            inlet.lost();
        }
        drop(todo.passed);
        for output in todo.outputs {
            match output {
                // Whoever waited may have gone.
                Output::Delivered(waiter, result) => drop(waiter.send(result)),
                Output::Exited(on_exit, exit) => tell(on_exit, exit),
                Output::Idle(asked) => self.idle(asked),
                Output::Broken(_)
                | Output::Rested
                | Output::Woken
                | Output::Ponged(..)
                | Output::Ended(_) => {}
            }
        }
        if let (Some(number), Some(peer)) = (todo.redial, self.this.upgrade()) {
            redial::spawn(peer, number);
        }
    }

    // ---- for the parts of the node

    /// Sends a notice to a part of the peer, over the link there is or a new one. Lost if that
    /// breaks; and a link that carries nothing else is idle.
    pub(crate) fn notify(&self, part: Part, payload: &[u8]) -> Result<(), CarryError> {
        debug_assert!(payload.len() <= wire::MAX_CONTROL);
        self.reach(|session, _| session.notice(part as u64, payload))
    }

    /// As [`notify`](Peer::notify), and the link counts as used.
    pub(crate) fn look_after(&self, part: Part, payload: &[u8]) -> Result<(), CarryError> {
        debug_assert!(payload.len() <= wire::MAX_CONTROL);
        self.reach(|session, _| {
            session.used();
            session.notice(part as u64, payload);
        })
    }

    // ---- for whoever carries messages

    pub(crate) fn this(&self) -> Option<Arc<Peer>> {
        self.this.upgrade()
    }

    pub(crate) fn weak(&self) -> Weak<Peer> {
        Weak::clone(&self.this)
    }

    /// Calls `f`, which queues something, with an open session and its number, and starts a dial
    /// if that takes one.
    pub(crate) fn reach<T>(
        &self,
        f: impl FnOnce(&mut PeerSession, u64) -> T,
    ) -> Result<T, CarryError> {
        self.reach_in(None, f)
    }

    /// As [`reach`](Peer::reach), unless it is for one session only and that has ended.
    pub(crate) fn reach_in<T>(
        &self,
        only: Option<u64>,
        f: impl FnOnce(&mut PeerSession, u64) -> T,
    ) -> Result<T, CarryError> {
        let mut state = self.lock();
        let epoch = state.epoch;
        // Nearly always. What is queued in an open session neither ends it nor has other
        // consequences than that the writer has something to do.
        if let Some(session) = &mut state.session
            && session.is_open()
            && !session.is_dormant()
            && only.is_none_or(|only| only == epoch)
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
        let (result, dial) = self.with(|state| match state.reach(&self.node, only) {
            Ok((session, epoch, dial)) => (Ok(f(session, epoch)), dial),
            Err(e) => (Err(e), false),
        });
        if dial && let Some(peer) = self.this.upgrade() {
            greeting::spawn_dial(peer);
        }
        result
    }
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

/// What those who wait for a change look at.
#[derive(PartialEq, Eq)]
struct Standing {
    linked: bool,
    idle: bool,
    open: bool,
    away: bool,
    dormant: bool,
}
