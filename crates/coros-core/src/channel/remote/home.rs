//! The home of a channel, as its relay on another node sees it.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serializer;
use tokio::time::Instant;

use super::follow;
use super::inlet::RelayInlet;
use super::line::{Asking, Line};
use super::relays::{self, Key};
use super::wire::{Below, Report, Up, Way};
use crate::channel::deliver::time_afar;
use crate::channel::{Channel, ChannelError, Inner, SubscribeError};
use crate::mailbox::oneshot;
use crate::primitives::{Mutex, lock};
use crate::remote::{self, BoxFuture, Carrier, CarryError, CodecError, Inlet, Message, RemoteId};
use crate::reply::{AskError, Reply};
use crate::waiting;

/// What a relay knows of its home.
pub(crate) struct Home<M> {
    line: Line,
    pub(super) key: Key,
    codec: Codec<M>,
    /// How many subscribers there are on all nodes, as told last.
    total: AtomicUsize,
    /// In how many lists of this node it is a subscriber: whoever has one wants to know how many
    /// there are.
    followers: AtomicUsize,
    state: Mutex<State<M>>,
}

type EncodeUp<M> = fn(&Up<&M, M>, &mut Vec<u8>) -> Result<(), CodecError>;

/// How to write an `M`: only whoever made the handle knew that it can be written.
struct Codec<M> {
    encode: EncodeUp<M>,
    inlet: fn(Arc<RelayInlet<M>>) -> Arc<dyn Inlet>,
}

struct State<M> {
    /// Whether the home's end will be told.
    watching: bool,
    /// Where the home's messages come in, while there are any to come. Upgraded under the lock, it
    /// must not be dropped there: the last to let go of it takes the lock.
    inlet: Weak<RelayInlet<M>>,
    inlet_id: u64,
    number: u64,
    reported: Report,
}

impl<M> Home<M> {
    pub(super) fn new(id: RemoteId, carrier: Arc<dyn Carrier>, key: Key) -> Self
    where
        M: Message + Clone,
    {
        Home {
            line: Line::new(id, carrier),
            key,
            codec: Codec {
                encode: |up, buffer| remote::encode(up, buffer).map_err(CodecError::of_type::<M>),
                inlet: |inlet| inlet,
            },
            total: AtomicUsize::new(0),
            followers: AtomicUsize::new(0),
            state: Mutex::new(State {
                watching: false,
                inlet: Weak::new(),
                inlet_id: 0,
                number: 0,
                reported: Report::default(),
            }),
        }
    }

    pub(crate) fn id(&self) -> &RemoteId {
        &self.line.id
    }

    /// Writes the name of the home into a message.
    pub(super) fn pass_on<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.line.pass_on(serializer)
    }

    pub(super) fn has_carrier(&self, carrier: &Arc<dyn Carrier>) -> bool {
        self.line.has_carrier(carrier)
    }

    pub(in crate::channel) fn runtime(&self) -> Option<tokio::runtime::Handle> {
        self.line.runtime()
    }

    /// How many subscribers the home has told of.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Relaxed)
    }

    pub(super) fn set_total(&self, total: u64) {
        self.total
            .store(usize::try_from(total).unwrap_or(usize::MAX), Relaxed);
    }

    /// It is in one more list.
    pub(in crate::channel) fn followed(&self) {
        self.followers.fetch_add(1, Relaxed);
    }

    /// It is in one list less; whether that was the last.
    pub(in crate::channel) fn unfollowed(&self) -> bool {
        self.followers.fetch_sub(1, Relaxed) == 1
    }

    fn is_followed(&self) -> bool {
        self.followers.load(Relaxed) > 0
    }

    fn send_up(&self, up: &Up<&M, M>) -> Result<(), CarryError> {
        self.line
            .send(&mut |buffer| (self.codec.encode)(up, buffer))
    }

    /// Not lost when much waits for the home's node.
    fn tell(&self, up: &Up<&M, M>) -> Result<(), CarryError> {
        let encode = &mut |buffer: &mut Vec<u8>| (self.codec.encode)(up, buffer);
        self.line.send_or_wait(waiting::MOST, encode, ())
    }

    /// Whether the request is on its way.
    pub(crate) fn close(&self) -> bool {
        let told = self.tell(&Up::Close);
        if let Err(error) = &told {
            let id = self.id();
            tracing::warn!(
                "channel #{}@{} was not closed: {error}",
                id.coroutine,
                id.location
            );
        }
        told.is_ok()
    }

    /// Whether nobody here is interested in the channel, so that the home need not know.
    fn is_idle(&self) -> bool {
        !self.is_followed() && lock(&self.state).inlet_id == 0
    }

    /// The last handle has been dropped.
    pub(in crate::channel) fn relay_dropped(&self) {
        relays::forget(&self.key);
        if let Some(inlet) = self.forget_inlet(None).and_then(|inlet| inlet.upgrade()) {
            inlet.end();
        }
    }

    /// Whether the inlet with this number is the present one.
    pub(super) fn is_inlet(&self, id: u64) -> bool {
        lock(&self.state).inlet_id == id
    }

    /// Forgets the inlet, or only if it is the one with this number. True if it did.
    pub(super) fn forget_inlet(&self, only: Option<u64>) -> Option<Weak<RelayInlet<M>>> {
        let mut state = lock(&self.state);
        if only.is_some_and(|id| state.inlet_id != id) {
            return None;
        }
        self.total.store(0, Relaxed);
        Some(state.forget_inlet())
    }

    fn reported(&self, inlet: &RelayInlet<M>, report: Report) {
        let mut state = lock(&self.state);
        if report.number > state.reported.number && state.inlet_id == inlet.id {
            state.reported = report;
        }
    }
}

impl<M> State<M> {
    fn forget_inlet(&mut self) -> Weak<RelayInlet<M>> {
        self.inlet_id = 0;
        self.reported = Report::default();
        std::mem::take(&mut self.inlet)
    }
}

impl<M: Send + 'static> Home<M> {
    pub(crate) fn subscribe(
        &self,
        coroutine: &crate::Address<M>,
        subscribe: bool,
    ) -> Result<(), CarryError> {
        let coroutine = coroutine.clone();
        self.tell(&if subscribe {
            Up::Subscribe(coroutine)
        } else {
            Up::Unsubscribe(coroutine)
        })
    }

    /// Asks the home to subscribe a channel of another node.
    pub(crate) fn subscribe_channel(
        &self,
        channel: &Channel<M>,
    ) -> Result<oneshot::Receiver<Result<bool, SubscribeError>>, CarryError> {
        let (reply, answer) = Reply::new();
        self.tell(&Up::SubscribeChannel(channel.clone(), reply))?;
        Ok(answer)
    }

    pub(crate) fn unsubscribe_channel(&self, channel: &Channel<M>) -> Result<(), CarryError> {
        self.tell(&Up::UnsubscribeChannel(channel.clone()))
    }

    /// Asks how many subscribers there are.
    pub(crate) async fn count(&self) -> Result<usize, AskError> {
        let (reply, answer) = Reply::new();
        self.tell(&Up::Count(reply)).map_err(AskError::from_carry)?;
        let total = answer.await.map_err(|why| AskError::unanswered(&why))?;
        self.set_total(total);
        Ok(self.total())
    }

    /// Asks which channels have subscribed; none, if nobody is there to say.
    pub(super) fn below(&self) -> Option<oneshot::Receiver<Below<M>>> {
        let (reply, answer) = Reply::new();
        self.tell(&Up::Below(reply)).ok()?;
        Some(answer)
    }

    /// Queues a delivery before it returns; the future gives how many coroutines got it.
    pub(crate) fn deliver(
        &self,
        message: &M,
        n: usize,
        limit: Duration,
    ) -> impl Future<Output = Result<usize, CarryError>> + Send + use<M> {
        let (reply, answer) = Reply::new();
        let up = Up::Deliver {
            message,
            n: n as u64,
            limit,
            reply,
        };
        let encode = &mut |buffer: &mut Vec<u8>| (self.codec.encode)(&up, buffer);
        let queued = self.line.deliver(encode);
        let Up::Deliver { reply, .. } = up else {
            unreachable!("made above");
        };
        let asking = Asking {
            queued,
            reply,
            answer,
        };
        asking.answered()
    }

    /// As [`deliver`](Self::deliver) to all there are, and waits until the home lets one more wait.
    pub(crate) fn deliver_in_turn(
        channel: &Channel<M>,
        message: &M,
        end: Instant,
    ) -> BoxFuture<usize>
    where
        M: Clone,
    {
        let Some(home) = &channel.inner.home else {
            return Box::pin(std::future::ready(0));
        };
        let (channel, message) = (channel.clone(), message.clone());
        home.line.deliver_in_turn(move || {
            let home = channel.inner.home.as_ref().expect("seen above");
            home.deliver(&message, 0, time_afar(end))
        })
    }
}

impl<M: Clone + Send + 'static> Channel<M> {
    /// Sends a message to the home.
    pub(in crate::channel) fn send_home(
        &self,
        home: &Home<M>,
        message: M,
    ) -> Result<usize, ChannelError<M>> {
        match self.pass_home(home, &message) {
            Ok(()) => Ok(home.total()),
            Err(error) => Err(ChannelError::from_carry(message, error)),
        }
    }

    pub(in crate::channel) fn pass_home(
        &self,
        home: &Home<M>,
        message: &M,
    ) -> Result<(), CarryError> {
        self.reach_home(home)?;
        home.send_up(&Up::Send(message))
    }

    /// Before something is sent to the home: it tells of its end, and knows how things stand here.
    pub(in crate::channel) fn reach_home(&self, home: &Home<M>) -> Result<(), CarryError> {
        self.watch_home(home);
        if home.is_idle() {
            return Ok(());
        }
        self.report()
    }

    /// As [`reach_home`](Self::reach_home), when somebody may be the first to be interested.
    pub(in crate::channel) fn reach_home_anew(&self, home: &Home<M>) -> Result<(), CarryError> {
        self.watch_home(home);
        self.report()
    }

    /// From now on the end of the home is told.
    fn watch_home(&self, home: &Home<M>) {
        let watching = std::mem::replace(&mut lock(&home.state).watching, true);
        if watching {
            return;
        }
        let relay = Arc::downgrade(&self.inner);
        home.line.watch(Box::new(move |exit| {
            let Some(inner) = relay.upgrade() else { return };
            let Some(home) = &inner.home else { return };
            lock(&home.state).watching = false;
            // Those who have subscribed are released when the home says so, behind its messages.
            if exit.is_certain() {
                inner.closed.store(true, Relaxed);
                inner.changed.notify_waiters();
            }
        }));
    }

    /// Tells the home how things stand here, if it has to know at once.
    ///
    /// Whoever has subscribed here has told the home when this returns, or another thread has.
    pub(in crate::channel) fn report(&self) -> Result<(), CarryError> {
        let Some(home) = &self.inner.home else {
            return Ok(());
        };
        // Declared before the lock is taken, so dropped after.
        let present;
        let (inlet, new, report) = {
            let mut state = lock(&home.state);
            let report = {
                let list = &lock(&self.inner.state).subscribers;
                Report {
                    number: state.number + 1,
                    subscribed: !list.is_empty(),
                    // Those behind channels are counted later.
                    coroutines: list.addresses.len() as u64,
                    channels: list.has_channels(),
                    follows: home.is_followed(),
                }
            };
            if !report.subscribed && !report.follows {
                // Before anybody can subscribe by it once more.
                let inlet = state.forget_inlet();
                drop(state);
                home.total.store(0, Relaxed);
                if let Some(inlet) = inlet.upgrade() {
                    inlet.end();
                }
                return Ok(());
            }
            present = state.inlet.upgrade();
            if present.is_some() && !report.is_news_after(&state.reported) {
                return Ok(());
            }
            state.number += 1;
            let inlet = match &present {
                Some(inlet) => Arc::clone(inlet),
                None => RelayInlet::new(&self.inner),
            };
            state.inlet = Arc::downgrade(&inlet);
            state.inlet_id = inlet.id;
            (inlet, present.is_none(), report)
        };
        inlet.keep(report.subscribed.then(|| Arc::clone(&self.inner)));
        let way = Way::Mine((home.codec.inlet)(Arc::clone(&inlet)));
        let up = Up::Report(way, report);
        let encode = &mut |buffer: &mut Vec<u8>| (home.codec.encode)(&up, buffer);
        home.line
            .send_or_wait(waiting::MOST, encode, Arc::clone(&inlet))?;
        home.reported(&inlet, report);
        if new && let Some(runtime) = home.line.runtime() {
            runtime.spawn(follow::report_changes(
                Arc::downgrade(&self.inner),
                inlet.id,
            ));
        }
        Ok(())
    }

    /// Tells the home how many subscribers there are here by now: a future, if that is news.
    pub(super) fn report_count(
        &self,
        coroutines: u64,
    ) -> Option<BoxFuture<Result<(), CarryError>>> {
        let home = self.inner.home.as_ref()?;
        let inlet = lock(&home.state).inlet.clone().upgrade()?;
        let report = {
            let mut state = lock(&home.state);
            if state.inlet_id != inlet.id
                || state.reported.coroutines == coroutines
                || state.reported.number == 0
            {
                return None;
            }
            state.number += 1;
            Report {
                number: state.number,
                coroutines,
                ..state.reported
            }
        };
        let up = Up::Report(Way::Mine((home.codec.inlet)(Arc::clone(&inlet))), report);
        let delivery = home
            .line
            .deliver(&mut |buffer| (home.codec.encode)(&up, buffer));
        home.reported(&inlet, report);
        Some(delivery)
    }
}

impl<M> Inner<M> {
    /// The inlet with this number has been dropped, so the home reaches it no more: whoever has
    /// subscribed by it is released.
    pub(super) fn inlet_lost(&self, id: u64) {
        let Some(home) = &self.home else { return };
        if home.forget_inlet(Some(id)).is_some() {
            self.release_all();
        }
    }
}
