//! The part of a mailbox that senders and the receiver share: the slot, the queue, and the state
//! that says whose turn it is.
//!
//! ```text
//!              receiver, under the queue's lock          sender, compare-and-swap
//!   RUNNING ------------------------------------> PARKED ------------------------> CLAIMED
//!      ^   queue empty, nothing in the slot       (each also as ..._ELSEWHERE)        |
//!      |                                                                              | message
//!      |  receiver takes the message                                                  | written
//!      +--------------------------------------------- FILLED <------------------------+
//!
//!   any state --- the receiver is dropped ---> CLOSED   (waits out CLAIMED first)
//! ```
//!
//! Who may touch the slot: in `CLAIMED` the sender that made the transition; in every other state
//! the receiver. That is the invariant behind each `unsafe` block here.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::task::Context;

use super::receiver::Receiver;
use crate::control::Control;
use crate::primitives::{
    AtomicU8, AtomicUsize, Mutex, UnsafeCell, fence, lock, spin_loop, yield_now,
};

/// The receiver is working; the slot is empty. Senders use the queue.
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

/// Capacity, in messages, that an idle mailbox keeps; a larger buffer is freed when the receiver
/// parks, so that a burst does not cost memory for ever.
const KEEP_IDLE: usize = 64;
/// Capacity up to which the receiver hands its emptied buffer back to the senders.
const KEEP_BUSY: usize = 4096;

/// Messages in the order received. Boxed, so that an empty mailbox pays one pointer.
pub(super) type Buffer<M> = Option<Box<VecDeque<M>>>;

/// What a coroutine, its addresses and its context share: one allocation.
pub(crate) struct Mailbox<M> {
    state: AtomicU8,
    /// Whether [`Control::bounds`] has a capacity; here so that a send need not look there.
    bounded: bool,
    /// Live addresses. At zero the receiver gets `None` once it has taken everything.
    addresses: AtomicUsize,
    queue: Mutex<Buffer<M>>,
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
    /// At least one message was appended to the buffer.
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
            queue: Mutex::new(None),
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
        loop {
            match state {
                PARKED | PARKED_ELSEWHERE => {
                    let claimed = if state == PARKED {
                        CLAIMED
                    } else {
                        CLAIMED_ELSEWHERE
                    };
                    match self
                        .state
                        .compare_exchange(state, claimed, Acquire, Relaxed)
                    {
                        Ok(parked) => {
                            self.fill(message, parked == PARKED);
                            return Ok(());
                        }
                        Err(now) => state = now,
                    }
                }
                CLOSED => return Err(message),
                _ => {
                    let mut queue = lock(&self.queue);
                    // The receiver parks and closes under this lock: what is seen now holds
                    // until the message is in.
                    state = self.state.load(Relaxed);
                    if !matches!(state, PARKED | PARKED_ELSEWHERE | CLOSED) {
                        queue.get_or_insert_default().push_back(message);
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Moves the message into the slot that the caller has claimed.
    #[inline]
    fn fill(&self, message: M, own_waker: bool) {
        // SAFETY: the caller made the transition to CLAIMED, so no other sender and not the
        // receiver touches the slot until the store below; it was empty, so nothing is lost.
        self.slot.with_mut(|slot| unsafe { (*slot).write(message) });
        self.state.store(FILLED, Release);
        if own_waker {
            self.control.wake_parked();
        } else {
            self.control.wake_elsewhere();
        }
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
        let queued = lock(&self.queue).as_ref().map_or(0, |queue| queue.len());
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
    pub(super) unsafe fn fetch(
        &self,
        held: &mut Buffer<M>,
        cx: Option<&mut Context<'_>>,
    ) -> Fetched<M> {
        loop {
            // Before looking for messages: an address that is gone has sent what it sends.
            let ended = self.addresses.load(Acquire) == 0;
            match self.state.load(Acquire) {
                FILLED => {
                    // SAFETY: in FILLED the slot belongs to the receiver (the caller's promise);
                    // the acquiring load above makes the sender's write visible. The store to
                    // RUNNING below marks the slot empty, so the message is read once.
                    let message = self
                        .slot
                        .with_mut(|slot| unsafe { (*slot).assume_init_read() });
                    self.state.store(RUNNING, Release);
                    return Fetched::Message(message);
                }
                CLAIMED => {
                    // The sender's next step is FILLED, and then it wakes the coroutine's own
                    // waker. A poll that comes with another one has to ask again.
                    if let Some(cx) = cx
                        && !self.control.is_own(cx.waker())
                    {
                        cx.waker().wake_by_ref();
                    }
                    return Fetched::Empty;
                }
                CLAIMED_ELSEWHERE => {
                    let Some(cx) = &cx else { return Fetched::Empty };
                    self.control.set_elsewhere(cx.waker());
                    // Still claimed: the sender has yet to fill the slot and then to wake this
                    // waker. Otherwise it may have woken the previous one.
                    if self.state.load(Acquire) == CLAIMED_ELSEWHERE {
                        return Fetched::Empty;
                    }
                }
                state @ (PARKED | PARKED_ELSEWHERE) => {
                    let stays = match &cx {
                        None => !ended,
                        Some(cx) => !ended && state == PARKED && self.control.is_own(cx.waker()),
                    };
                    if stays {
                        return Fetched::Empty;
                    }
                    // Unpark, to end or to park again with this task's waker. It may fail: a
                    // sender has claimed the slot meanwhile.
                    let _ = self
                        .state
                        .compare_exchange(state, RUNNING, Acquire, Relaxed);
                }
                _ => return self.fetch_queue(held, cx, ended),
            }
        }
    }

    /// The RUNNING part of [`fetch`](Self::fetch).
    fn fetch_queue(
        &self,
        held: &mut Buffer<M>,
        cx: Option<&mut Context<'_>>,
        ended: bool,
    ) -> Fetched<M> {
        let mut queue = lock(&self.queue);
        match &mut *queue {
            Some(new) if !new.is_empty() => {
                match held {
                    Some(old) if !old.is_empty() => old.append(new),
                    _ => {
                        let spare = held.take().filter(|old| old.capacity() <= KEEP_BUSY);
                        *held = std::mem::replace(&mut *queue, spare);
                    }
                }
                Fetched::Batch
            }
            _ if ended => Fetched::Ended,
            spare => {
                let Some(cx) = cx else { return Fetched::Empty };
                for buffer in [spare, held] {
                    if buffer
                        .as_ref()
                        .is_some_and(|b| b.is_empty() && b.capacity() > KEEP_IDLE)
                    {
                        *buffer = None;
                    }
                }
                let parked = if self.control.is_own(cx.waker()) {
                    PARKED
                } else {
                    self.control.set_elsewhere(cx.waker());
                    // Whoever dropped the last address since `ended` was read may have found no
                    // waker. Pairs with the fence in `Control::wake`.
                    fence(SeqCst);
                    if self.addresses.load(Relaxed) == 0 {
                        return Fetched::Ended;
                    }
                    PARKED_ELSEWHERE
                };
                self.state.store(parked, Release);
                Fetched::Empty
            }
        }
    }

    /// Refuses messages from now on and drops those not received.
    ///
    /// # Safety
    /// Only the one [`Receiver`] calls it, as its last act.
    pub(super) unsafe fn close(&self) {
        let mut spins = 0_u32;
        let before = loop {
            let state = self.state.load(Acquire);
            if matches!(state, CLAIMED | CLAIMED_ELSEWHERE) {
                // A sender is between two instructions, or has been preempted there.
                spins += 1;
                if spins < 64 { spin_loop() } else { yield_now() }
            } else if self
                .state
                .compare_exchange(state, CLOSED, AcqRel, Relaxed)
                .is_ok()
            {
                break state;
            }
        };
        if before == FILLED {
            // SAFETY: as in `fetch`: FILLED gave the slot to the receiver, and CLOSED keeps every
            // sender away from it.
            let message = self
                .slot
                .with_mut(|slot| unsafe { (*slot).assume_init_read() });
            drop(message);
        }
        // Senders look at the state under the queue's lock: none appends after this.
        let queue = lock(&self.queue).take();
        drop(queue);
        if let Some(bounds) = self.control.bounds() {
            bounds.close();
        }
    }
}
