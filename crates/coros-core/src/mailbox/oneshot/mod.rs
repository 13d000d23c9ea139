//! A mailbox for one message from one sender: where the answer to a question comes in.
//!
//! ```text
//!              receiver, its waker left             sender
//!      EMPTY <-------------------------> WAITING -----------> CLAIMED
//!        |                                                    ^  |
//!        +------------------ sender --------------------------+  | message written
//!        |                                                       v
//!        +--- receiver drops ---> ABANDONED         FILLED, REFUSED or LOST
//! ```
//!
//! One allocation without a count of its owners: `ABANDONED` leaves it to the sender, `FILLED`,
//! `REFUSED` and `LOST` leave it to the receiver, and each of them is the last that the other side
//! does with it. So an answer costs its sender one compare-and-swap, as a message to a parked
//! coroutine does.
//!
//! Who may touch what: the message, in `CLAIMED` the sender and in `FILLED` the receiver. The
//! waker, in `EMPTY` the receiver; the sender takes it away when it turns `WAITING` into
//! `CLAIMED`, and never looks at it when it comes from `EMPTY`. That is the invariant behind each
//! `unsafe` block here.
#![allow(unsafe_code)]

#[cfg(all(test, coros_loom))]
mod loom_tests;

use std::future::Future;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::task::{Context, Poll, Waker};

use crate::primitives::{AtomicU8, UnsafeCell, wait_a_moment};

/// Neither a waker nor a message.
const EMPTY: u8 = 0;
/// The receiver waits and has left its waker.
const WAITING: u8 = 1;
/// The sender is moving the message in.
const CLAIMED: u8 = 2;
/// The message is there, and the sender is gone.
const FILLED: u8 = 3;
/// There will be no message; the sender is gone.
const REFUSED: u8 = 4;
/// The receiver is gone.
const ABANDONED: u8 = 5;
/// As `REFUSED`, because nobody can reach whoever had the right to send.
const LOST: u8 = 6;

struct Cell<T> {
    state: AtomicU8,
    waker: UnsafeCell<MaybeUninit<Waker>>,
    message: UnsafeCell<MaybeUninit<T>>,
}

/// Both ends of a new one.
pub(crate) fn channel<T: Send>() -> (Sender<T>, Receiver<T>) {
    let cell = Box::new(Cell {
        state: AtomicU8::new(EMPTY),
        waker: UnsafeCell::new(MaybeUninit::uninit()),
        message: UnsafeCell::new(MaybeUninit::uninit()),
    });
    let cell = NonNull::from(Box::leak(cell));
    (Sender(cell), Receiver(Some(cell)))
}

/// Takes the cell, to free it.
///
/// # Safety
/// The other end is gone, and what it did last has been acquired.
unsafe fn own<T>(cell: NonNull<Cell<T>>) -> Box<Cell<T>> {
    // SAFETY: the caller's promise; the cell was a box.
    let cell = unsafe { Box::from_raw(cell.as_ptr()) };
    // So that a model sees that the cell goes: nothing else of a free is visible to it.
    cell.waker.with_mut(|_| ());
    cell.message.with_mut(|_| ());
    cell
}

/// The sending end. Dropped unused it tells the receiver.
pub(crate) struct Sender<T>(NonNull<Cell<T>>);

/// The receiving end: a future of the message, or of [`Refused`].
pub(crate) struct Receiver<T>(
    /// None once the message, or the news that there is none, has been taken.
    Option<NonNull<Cell<T>>>,
);

/// Why there is no message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The sender was dropped.
    Dropped,
    /// The sender was [lost](Sender::lose).
    Lost,
}

// SAFETY: the ends move a `T` and a `Waker` (which is `Send`) between threads and share nothing
// else than the state; neither end gives out a reference to the message.
unsafe impl<T: Send> Send for Sender<T> {}
// SAFETY: through `&Sender` only the state can be read.
unsafe impl<T: Send> Sync for Sender<T> {}
// SAFETY: as for the sender.
unsafe impl<T: Send> Send for Receiver<T> {}
// SAFETY: through `&Receiver` nothing can be done.
unsafe impl<T: Send> Sync for Receiver<T> {}

impl<T> Sender<T> {
    /// Hands over the message; gives it back when the receiver is gone.
    pub(crate) fn send(self, message: T) -> Result<(), T> {
        ManuallyDrop::new(self).leave(Ok(message))
    }

    /// There will be no message, because whoever was to send it cannot be reached any more.
    pub(crate) fn lose(self) {
        let _ = ManuallyDrop::new(self).leave(Err(Refused::Lost));
    }

    /// Whether the receiver is gone.
    pub(crate) fn is_closed(&self) -> bool {
        // SAFETY: the cell lives until this end leaves it.
        unsafe { self.0.as_ref() }.state.load(Acquire) == ABANDONED
    }

    /// The last that this end does: with a message, or why there is none. Never called twice.
    #[inline]
    fn leave(&self, message: Result<T, Refused>) -> Result<(), T> {
        // SAFETY: the receiver frees the cell only in FILLED, REFUSED and LOST, which the last store
        // below makes; the reference is not used after that.
        let cell = unsafe { self.0.as_ref() };
        let mut state = cell.state.load(Relaxed);
        loop {
            if state == ABANDONED {
                cell.state.load(Acquire);
                // SAFETY: the receiver's release of ABANDONED, acquired above, was the last it
                // did; it left neither waker nor message there.
                drop(unsafe { own(self.0) });
                return message.map_or(Ok(()), Err);
            }
            match cell
                .state
                .compare_exchange_weak(state, CLAIMED, Acquire, Relaxed)
            {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        let waker = (state == WAITING).then(|| {
            // SAFETY: WAITING says that a waker is there, and this end alone has turned it into
            // CLAIMED, in which the receiver does not touch it: it is read once.
            cell.waker
                .with_mut(|waker| unsafe { (*waker).assume_init_read() })
        });
        let left = match message {
            Ok(message) => {
                // SAFETY: in CLAIMED the message's place belongs to this end, and it is empty.
                cell.message
                    .with_mut(|place| unsafe { (*place).write(message) });
                FILLED
            }
            Err(Refused::Dropped) => REFUSED,
            Err(Refused::Lost) => LOST,
        };
        cell.state.store(left, Release);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let _ = self.leave(Err(Refused::Dropped));
    }
}

impl<T> Receiver<T> {
    /// Takes the waker back that this end has left, if the sender has not taken it.
    fn take_waker(cell: &Cell<T>) -> Option<Waker> {
        cell.state
            .compare_exchange(WAITING, EMPTY, Acquire, Relaxed)
            .ok()?;
        // SAFETY: this end has written it, and the transition says that the sender has not read
        // it; it is read once.
        Some(
            cell.waker
                .with_mut(|waker| unsafe { (*waker).assume_init_read() }),
        )
    }

    /// Frees the cell in `FILLED`, `REFUSED` or `LOST`, which the caller has seen with an acquiring load.
    fn finish(&mut self, cell: NonNull<Cell<T>>, state: u8) -> Result<T, Refused> {
        self.0 = None;
        // SAFETY: the sender is gone and this end, which leaves now, is the only owner.
        let cell = unsafe { own(cell) };
        match state {
            REFUSED => return Err(Refused::Dropped),
            LOST => return Err(Refused::Lost),
            _ => {}
        }
        // SAFETY: FILLED says that the message is there; it is read once, since the cell goes.
        Ok(cell
            .message
            .with_mut(|message| unsafe { (*message).assume_init_read() }))
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Refused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let place = self.0.expect("not polled after it is ready");
        // SAFETY: the sender frees the cell only after this end has made it ABANDONED.
        let cell = unsafe { place.as_ref() };
        let mut waker = None;
        let mut spins = 0;
        loop {
            match cell.state.load(Acquire) {
                state @ (FILLED | REFUSED | LOST) => return Poll::Ready(self.finish(place, state)),
                EMPTY => {
                    let mine = waker.take().unwrap_or_else(|| cx.waker().clone());
                    // SAFETY: in EMPTY the waker's place belongs to this end, and it is empty.
                    cell.waker.with_mut(|waker| unsafe { (*waker).write(mine) });
                    if cell
                        .state
                        .compare_exchange(EMPTY, WAITING, Release, Relaxed)
                        .is_ok()
                    {
                        return Poll::Pending;
                    }
                    // SAFETY: the sender has gone on from EMPTY, hence never looks at the waker.
                    drop(
                        cell.waker
                            .with_mut(|waker| unsafe { (*waker).assume_init_read() }),
                    );
                }
                WAITING => {
                    // Polled again, perhaps with another waker.
                    waker = Self::take_waker(cell).filter(|waker| waker.will_wake(cx.waker()));
                }
                // CLAIMED: the sender may wake an older waker, or none.
                _ => wait_a_moment(&mut spins),
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let Some(place) = self.0 else { return };
        // SAFETY: as in `poll`.
        let cell = unsafe { place.as_ref() };
        let mut spins = 0;
        loop {
            match cell.state.load(Acquire) {
                state @ (FILLED | REFUSED | LOST) => {
                    drop(self.finish(place, state));
                    return;
                }
                EMPTY => {
                    if cell
                        .state
                        .compare_exchange(EMPTY, ABANDONED, AcqRel, Relaxed)
                        .is_ok()
                    {
                        return;
                    }
                }
                WAITING => drop(Self::take_waker(cell)),
                // CLAIMED
                _ => wait_a_moment(&mut spins),
            }
        }
    }
}
