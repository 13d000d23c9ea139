//! The part of a mailbox that senders and the receiver share: the slot, the queue, and the state
//! that says whose turn it is.
//!
//! ```text
//!                 receiver                           sender, compare-and-swap
//!   RUNNING ---------------------> PARKED ------------------------------> CLAIMED
//!     ^ ^                          (each also as ..._ELSEWHERE)             |  |
//!     | |  receiver, or a sender        |                                   |  | message
//!     | +------- that has queued <------+-----------------------------------+  | written
//!     |                                                                        v
//!     +------------------------ receiver takes the message ----------------- FILLED
//!
//!   any state --- the receiver is dropped ---> CLOSED   (waits out CLAIMED first)
//! ```
//!
//! Who may touch the slot: in `CLAIMED` the sender that made the transition; in every other state
//! the receiver. That is the invariant behind each `unsafe` block here.
//!
//! The receiver parks without taking the queue's lock, which would cost as much as all the rest
//! of a receive. So parking and queueing may cross: the receiver stores `PARKED` and then looks
//! at `queued`; a sender stores `queued` and then looks at the state; with a sequentially
//! consistent fence between the two on both sides, at least one sees the other and takes `PARKED`
//! back. Whoever takes `PARKED` away wakes the receiver. A sender that has claimed the slot looks
//! at `queued` too and joins the queue if it is set, lest it overtake its own earlier message.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::task::Context;

use super::receiver::Receiver;
use crate::control::Control;
use crate::primitives::{
    AtomicBool, AtomicU8, AtomicUsize, Mutex, UnsafeCell, fence, lock, wait_a_moment,
};

/// The receiver is working, or has been woken; the slot is empty. Senders use the queue.
const RUNNING: u8 = 0;
/// The receiver waits with the coroutine's own waker; slot and queue are empty.
const PARKED: u8 = 1;
/// The receiver waits with another waker than the coroutine's own, kept in [`Control`].
const PARKED_ELSEWHERE: u8 = 2;
/// A sender that found `PARKED` is moving a message into the slot.
const CLAIMED: u8 = 3;
/// A sender that found `PARKED_ELSEWHERE` is moving a message into the slot.
const CLAIMED_ELSEWHERE: u8 = 4;
/// The slot holds a message, and the receiver has been or is about to be woken.
const FILLED: u8 = 5;
/// The receiver is gone.
const CLOSED: u8 = 6;

/// Bytes of buffer that an idle mailbox keeps; a larger one is freed when the receiver parks, so
/// that a burst does not cost memory for ever. Not less, because allocating again and again on
/// one thread what is freed on another was half the cost of a broadcast to 1,000 subscribers.
const KEEP_IDLE: usize = 4 << 10;
/// Bytes of emptied buffer that the receiver hands back to the senders while messages come in
/// as fast as that.
const KEEP_BUSY: usize = 64 << 10;

/// What the receiver holds, in order. Boxed, so that a coroutine that holds nothing pays one
/// pointer for it.
pub(super) type Buffer<M> = Option<Box<VecDeque<M>>>;

/// What a coroutine, its addresses and its context share: one allocation.
pub(crate) struct Mailbox<M> {
    state: AtomicU8,
    /// Whether [`Control::bounds`] has a capacity; here so that a send need not look there.
    bounded: bool,
    /// Live addresses. At zero the receiver gets `None` once it has taken everything.
    addresses: AtomicUsize,
    /// Whether the queue has messages; changed under its lock.
    queued: AtomicBool,
    /// Whether somebody wants to know when they are taken; likewise.
    asked: AtomicBool,
    /// Not boxed: a sender would wait for one more line of memory.
    queue: Mutex<Vec<M>>,
    slot: UnsafeCell<MaybeUninit<M>>,
    control: Control,
}

// SAFETY: messages move from a sender's thread to the receiver's, hence `M: Send`; no `&M` is
// ever given out by the shared part, so `M: Sync` is not needed. The slot is the only part that is
// not `Sync` by itself; the state machine gives it to one thread at a time.
unsafe impl<M: Send> Sync for Mailbox<M> {}

/// What [`Mailbox::fetch`] found.
pub(super) enum Fetched<M> {
    /// One message, younger than everything held.
    Message(M),
    /// All of the queue was appended to the buffer.
    Batch,
    /// Nothing there now.
    Empty,
    /// Nothing there, and nobody left who could send.
    Ended,
}

impl<M> Mailbox<M> {
    /// A mailbox with one receiver and no address.
    pub(crate) fn new(control: Control) -> (Arc<Self>, Receiver<M>)
    where
        M: Send + 'static,
    {
        let mailbox = Arc::new(Mailbox {
            state: AtomicU8::new(RUNNING),
            bounded: control.bounds().is_some(),
            addresses: AtomicUsize::new(0),
            queued: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            queue: Mutex::new(Vec::new()),
            slot: UnsafeCell::new(MaybeUninit::uninit()),
            control,
        });
        let receiver = Receiver::new(Arc::clone(&mailbox));
        (mailbox, receiver)
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    pub(crate) fn is_bounded(&self) -> bool {
        self.bounded
    }

    /// Whether the receiver is gone, so that no message will be received any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(Acquire) == CLOSED
    }

    /// Puts a message into the mailbox whatever its capacity; wakes the receiver if it waits.
    ///
    /// Gives the message back when the receiver is gone.
    #[inline]
    pub(crate) fn push(&self, message: M) -> Result<(), M> {
        let mut state = self.state.load(Relaxed);
        while let PARKED | PARKED_ELSEWHERE = state {
            let claimed = if state == PARKED {
                CLAIMED
            } else {
                CLAIMED_ELSEWHERE
            };
            match self
                .state
                .compare_exchange_weak(state, claimed, Acquire, Relaxed)
            {
                Ok(parked) => {
                    self.fill(message, parked);
                    return Ok(());
                }
                Err(now) => state = now,
            }
        }
        self.push_queue(message)
    }

    /// Delivers a message by the slot, which the caller has claimed from a receiver in the state
    /// `parked`.
    #[inline]
    fn fill(&self, message: M, parked: u8) {
        if self.queued.load(Relaxed) {
            self.queue_instead(message, parked);
            return;
        }
        // SAFETY: the caller made the transition to CLAIMED, so no other sender and not the
        // receiver touches the slot until the store below; it was empty, so nothing is lost.
        self.slot.with_mut(|slot| unsafe { (*slot).write(message) });
        self.state.store(FILLED, Release);
        self.wake(parked);
    }

    /// The slot is claimed, but there are messages in the queue which this one must not overtake.
    #[cold]
    fn queue_instead(&self, message: M, parked: u8) {
        // Not closed meanwhile: closing waits out a claim.
        lock(&self.queue).push(message);
        self.state.store(RUNNING, Release);
        self.wake(parked);
    }

    /// Wakes the receiver, whose state `parked` the caller has taken away.
    #[inline]
    fn wake(&self, parked: u8) {
        if parked == PARKED {
            self.control.wake_parked();
        } else {
            self.control.wake_elsewhere();
        }
    }

    /// Appends to the queue.
    fn push_queue(&self, message: M) -> Result<(), M> {
        let mut queue = lock(&self.queue);
        if !self.queued.load(Relaxed) {
            self.queued.store(true, Relaxed);
            // See the head of this file.
            fence(SeqCst);
        }
        let state = self.state.load(Relaxed);
        if state == CLOSED {
            return Err(message);
        }
        queue.push(message);
        drop(queue);
        if let PARKED | PARKED_ELSEWHERE = state
            && self
                .state
                .compare_exchange(state, RUNNING, Relaxed, Relaxed)
                .is_ok()
        {
            self.wake(state);
        }
        Ok(())
    }

    pub(crate) fn add_address(&self) {
        self.addresses.fetch_add(1, Relaxed);
    }

    /// Adds an address unless there is none left, in which case the receiver may already have
    /// been told so.
    pub(crate) fn add_address_to_others(&self) -> bool {
        self.addresses
            .fetch_update(Relaxed, Relaxed, |n| (n > 0).then_some(n + 1))
            .is_ok()
    }

    pub(crate) fn drop_address(&self) {
        if self.addresses.fetch_sub(1, AcqRel) == 1 {
            // The receiver looks at the count each time it is polled.
            self.control.wake();
        }
    }

    /// Messages in slot and queue; the receiver may hold more.
    pub(crate) fn len(&self) -> usize {
        let queued = lock(&self.queue).len();
        let slot = matches!(
            self.state.load(Relaxed),
            CLAIMED | CLAIMED_ELSEWHERE | FILLED
        );
        queued + usize::from(slot)
    }

    /// Takes what has arrived since the last call: a single message, or all of the queue onto
    /// the end of `held`. With a task context, an empty mailbox is left parked for that task.
    ///
    /// # Safety
    /// Only the one [`Receiver`] of this mailbox calls it, never twice at a time.
    #[inline]
    pub(super) unsafe fn fetch(
        &self,
        held: &mut Buffer<M>,
        cx: Option<&Context<'_>>,
    ) -> Fetched<M> {
        let mut spins = 0;
        loop {
            // Before looking for messages: an address that is gone has sent what it sends.
            let ended = self.addresses.load(Acquire) == 0;
            let state = self.state.load(Acquire);
            // The two states of ping-pong first.
            if state == FILLED {
                // SAFETY: in FILLED the slot belongs to the receiver (the caller's promise);
                // the acquiring load above makes the sender's write visible. The store to
                // RUNNING below marks the slot empty, so the message is read once.
                let message = self
                    .slot
                    .with_mut(|slot| unsafe { (*slot).assume_init_read() });
                self.state.store(RUNNING, Release);
                return Fetched::Message(message);
            }
            if state != RUNNING {
                if self.is_left(state, ended, cx, &mut spins) {
                    return Fetched::Empty;
                }
            } else if self.queued.load(Relaxed) {
                self.take_queue(held);
                return Fetched::Batch;
            } else if ended {
                return Fetched::Ended;
            } else {
                let Some(cx) = cx else { return Fetched::Empty };
                if self.park(held, cx) {
                    return Fetched::Empty;
                }
            }
        }
    }

    /// Whether the receiver, which finds its mailbox parked or claimed, leaves it so, since it
    /// will be woken. Otherwise it has to look again.
    #[cold]
    fn is_left(&self, state: u8, ended: bool, cx: Option<&Context<'_>>, spins: &mut u32) -> bool {
        match (state, cx) {
            (CLAIMED | CLAIMED_ELSEWHERE, None) => {
                // Whoever has sent after that sender has sent: its message must be found.
                wait_a_moment(spins);
                false
            }
            (CLAIMED, Some(cx)) => {
                // The sender's next step is FILLED, and then it wakes the coroutine's own
                // waker. A poll that comes with another one has to ask again.
                if !self.control.is_own(cx.waker()) {
                    cx.waker().wake_by_ref();
                }
                true
            }
            (CLAIMED_ELSEWHERE, Some(cx)) => {
                self.control.set_elsewhere(cx.waker());
                // Still claimed: the sender has yet to fill the slot and then to wake this
                // waker. Otherwise it may have woken the previous one.
                self.state.load(Acquire) == CLAIMED_ELSEWHERE
            }
            (parked, cx) => {
                let stays = match cx {
                    None => true,
                    Some(cx) => parked == PARKED && self.control.is_own(cx.waker()),
                };
                if stays && !ended {
                    return true;
                }
                // Unpark, to end or to park again with this task's waker. It may fail: a
                // sender has claimed the slot meanwhile.
                let _ = self
                    .state
                    .compare_exchange(parked, RUNNING, Acquire, Relaxed);
                false
            }
        }
    }

    /// How many messages fit into so many bytes; a few always do.
    const fn messages(bytes: usize) -> usize {
        let fit = bytes
            / if size_of::<M>() == 0 {
                1
            } else {
                size_of::<M>()
            };
        if fit < 4 { 4 } else { fit }
    }

    /// Calls `f` once: when the receiver has taken all that is in the queue now, at once if there
    /// is nothing, or nobody to take it. What is in the slot does not count.
    pub(crate) fn when_taken(&self, f: Box<dyn FnOnce() + Send>) {
        let queue = lock(&self.queue);
        if queue.is_empty() || self.is_closed() {
            drop(queue);
            f();
        } else {
            // The receiver looks for it under the same lock.
            lock(&self.control.extra().taken).push(f);
            self.asked.store(true, Relaxed);
        }
    }

    /// Those who want to know that the queue is taken, which the caller does under its lock.
    fn those_to_tell(&self) -> Vec<Box<dyn FnOnce() + Send>> {
        if !self.asked.load(Relaxed) {
            return Vec::new();
        }
        self.asked.store(false, Relaxed);
        std::mem::take(&mut *lock(&self.control.extra().taken))
    }

    /// Moves the messages of the queue, of which there is at least one, to the end of `held`.
    fn take_queue(&self, held: &mut Buffer<M>) {
        for tell in self.move_queue(held) {
            tell();
        }
    }

    fn move_queue(&self, held: &mut Buffer<M>) -> Vec<Box<dyn FnOnce() + Send>> {
        let held = held.get_or_insert_default();
        let mut queue = lock(&self.queue);
        self.queued.store(false, Relaxed);
        let those_to_tell = self.those_to_tell();
        if !held.is_empty() {
            held.extend(queue.drain(..));
            return those_to_tell;
        }
        // The emptied buffer goes to the senders, unless it is larger than what comes in at
        // present. A `Vec` becomes a `VecDeque`, and an empty one a `Vec`, without copying.
        let busy = queue.len() * size_of::<M>() > KEEP_IDLE;
        let keep = Self::messages(if busy { KEEP_BUSY } else { KEEP_IDLE });
        let emptied = Vec::from(std::mem::take(&mut **held));
        let (spare, large) = if emptied.capacity() <= keep {
            (emptied, None)
        } else {
            (Vec::new(), Some(emptied))
        };
        let batch = std::mem::replace(&mut *queue, spare);
        drop(queue);
        drop(large);
        **held = VecDeque::from(batch);
        those_to_tell
    }

    /// Parks the receiver for the task that polls it. False when something has come meanwhile.
    #[inline]
    fn park(&self, held: &mut Buffer<M>, cx: &Context<'_>) -> bool {
        if held
            .as_ref()
            .is_some_and(|held| held.capacity() > Self::messages(KEEP_IDLE) && held.is_empty())
        {
            self.free_buffers(held);
        }
        let parked = if self.control.is_own(cx.waker()) {
            PARKED
        } else {
            self.control.set_elsewhere(cx.waker());
            PARKED_ELSEWHERE
        };
        self.state.store(parked, Release);
        // See the head of this file; pairs with the fence in `Control::wake` as well: whoever
        // dropped the last address just now may have found no foreign waker.
        fence(SeqCst);
        if self.queued.load(Relaxed)
            || (parked == PARKED_ELSEWHERE && self.addresses.load(Relaxed) == 0)
        {
            // Fails when a sender has claimed the slot, and then the state says what to do.
            let _ = self
                .state
                .compare_exchange(parked, RUNNING, Acquire, Relaxed);
            return false;
        }
        true
    }

    /// After a burst: an idle mailbox keeps no large buffer.
    #[cold]
    fn free_buffers(&self, held: &mut Buffer<M>) {
        *held = None;
        let mut queue = lock(&self.queue);
        if queue.is_empty() && queue.capacity() > Self::messages(KEEP_IDLE) {
            *queue = Vec::new();
        }
    }

    /// Refuses messages from now on and drops those not received.
    ///
    /// # Safety
    /// Only the one [`Receiver`] calls it, as its last act.
    pub(super) unsafe fn close(&self) {
        let mut spins = 0;
        let before = loop {
            let state = self.state.load(Acquire);
            if matches!(state, CLAIMED | CLAIMED_ELSEWHERE) {
                wait_a_moment(&mut spins);
            } else if self
                .state
                .compare_exchange(state, CLOSED, AcqRel, Relaxed)
                .is_ok()
            {
                break state;
            }
        };
        if let Some(bounds) = self.control.bounds() {
            bounds.close();
        }
        let message = (before == FILLED).then(|| {
            // SAFETY: as in `fetch`: FILLED gave the slot to the receiver, and CLOSED keeps every
            // sender away from it.
            self.slot
                .with_mut(|slot| unsafe { (*slot).assume_init_read() })
        });
        // Senders look at the state under the queue's lock: none appends after this.
        let mut queue = lock(&self.queue);
        let those_to_tell = self.those_to_tell();
        let queue = {
            let messages = std::mem::take(&mut *queue);
            drop(queue);
            messages
        };
        for tell in those_to_tell {
            tell();
        }
        // Last, because a destructor of the user's may panic: both are dropped all the same.
        drop((message, queue));
    }
}
