//! The one swap that can be under way in a coroutine, as a state machine:
//!
//! ```text
//!  offered --engine checks the type--> checked --policy or swap_offer--> taken --accept--> due
//!     |                                   |                                |                |
//!     +------------- withdrawn (time limit, or whoever offered is gone) ---+----------------+
//! ```
//!
//! The end of the coroutine answers an offer in any stage. An offer that is taken while the
//! coroutine panics, or is dropped, goes back to `checked`, for the end to find it there.
//!
//! All transitions are under one lock, so that of accepting and withdrawing exactly one happens.

use std::any::Any;
use std::task::{Poll, Waker};

use tokio::sync::{Notify, oneshot};

use super::SwapError;
use crate::Exit;
use crate::engine::drop_guarded;
use crate::primitives::{Mutex, lock};

pub(crate) type Policy = Box<dyn FnMut(super::SwapOffer) + Send>;
type Answer = oneshot::Sender<Result<(), SwapError>>;

#[derive(Default)]
pub(crate) struct SwapState {
    inner: Mutex<Inner>,
    /// For `swap_offer`: there is a checked offer.
    pub(crate) checked: Notify,
}

#[derive(Default)]
struct Inner {
    stage: Stage,
    /// Number of the latest offer: a withdrawal names the offer it means.
    latest: u64,
    policy: Option<Policy>,
    /// State given back because the offer of this number was withdrawn after, or before, it was
    /// accepted.
    returned: Option<(u64, Box<dyn Any + Send>)>,
    /// Waits for that. Not with the receiver's waker: a combinator may wait for both.
    accepted: Option<Waker>,
    /// State that the previous function handed over.
    state: Option<Box<dyn Any + Send>>,
    /// The receiver on its way from the old function to the new one.
    receiver: Option<Box<dyn Any + Send>>,
}

#[derive(Default)]
enum Stage {
    #[default]
    None,
    Offered(Offer),
    Checked(Offer),
    /// In the hands of the coroutine.
    Taken(u64),
    Due(Offer, Box<dyn Any + Send>),
}

impl Stage {
    /// Whether the offer that the coroutine has taken still stands.
    fn is_taken(&self, taken: &Taken) -> bool {
        matches!(self, Stage::Taken(number) if *number == taken.number())
    }
}

struct Offer {
    number: u64,
    /// A `Replacement<M, O>`.
    function: Box<dyn Any + Send>,
    name: &'static str,
    /// The type that the function returns.
    result: &'static str,
    answer: Answer,
}

/// An offer in the hands of the coroutine.
pub(crate) struct Taken(Offer);

impl Taken {
    pub(crate) fn number(&self) -> u64 {
        self.0.number
    }

    pub(crate) fn function(&self) -> &'static str {
        self.0.name
    }
}

/// An accepted swap, to be carried out.
pub(crate) struct Due {
    /// A `Replacement<M, O>`.
    pub(crate) function: Box<dyn Any + Send>,
    answer: Answer,
}

impl Due {
    /// The function, and how to tell whoever offered it how it went.
    pub(crate) fn split(self) -> (Box<dyn Any + Send>, impl FnOnce(Result<(), SwapError>)) {
        let answer = self.answer;
        (self.function, move |result| {
            let _ = answer.send(result);
        })
    }
}

impl SwapState {
    /// Enters an offer; its number.
    pub(crate) fn offer(
        &self,
        function: Box<dyn Any + Send>,
        name: &'static str,
        result: &'static str,
        answer: Answer,
    ) -> Result<u64, SwapError> {
        let mut inner = lock(&self.inner);
        if !matches!(inner.stage, Stage::None) {
            return Err(SwapError::Busy);
        }
        inner.latest += 1;
        let number = inner.latest;
        inner.stage = Stage::Offered(Offer {
            number,
            function,
            name,
            result,
            answer,
        });
        Ok(number)
    }

    /// Takes an offer back, in whatever stage it is.
    pub(crate) fn withdraw(&self, number: u64) {
        let mut inner = lock(&self.inner);
        let stage = std::mem::take(&mut inner.stage);
        let dropped = match stage {
            Stage::Offered(offer) | Stage::Checked(offer) if offer.number == number => Some(offer),
            Stage::Taken(taken) if taken == number => None,
            Stage::Due(offer, state) if offer.number == number => {
                inner.returned = Some((number, state));
                Some(offer)
            }
            other => {
                inner.stage = other;
                None
            }
        };
        let accepted = inner.accepted.take();
        drop(inner);
        if let Some(accepted) = accepted {
            accepted.wake();
        }
        // The function may own anything; its destructor runs outside the lock.
        drop(dropped);
    }

    /// Engine: looks at a new offer. One whose function has another type than `F` is answered;
    /// the others become visible to the coroutine.
    pub(crate) fn check<F: Any>(&self, running: &'static str) {
        let mut inner = lock(&self.inner);
        match std::mem::take(&mut inner.stage) {
            Stage::Offered(offer) if offer.function.is::<F>() => {
                inner.stage = Stage::Checked(offer);
                drop(inner);
                self.checked.notify_waiters();
            }
            Stage::Offered(offer) => {
                drop(inner);
                let offered = offer.result;
                let _ = offer.answer.send(Err(SwapError::WrongResult {
                    running: running.into(),
                    offered: offered.into(),
                }));
                drop_guarded(offer.function);
            }
            other => inner.stage = other,
        }
    }

    /// The coroutine takes a checked offer.
    pub(crate) fn take_checked(&self) -> Option<Taken> {
        let mut inner = lock(&self.inner);
        match std::mem::take(&mut inner.stage) {
            Stage::Checked(offer) => {
                inner.stage = Stage::Taken(offer.number);
                Some(Taken(offer))
            }
            other => {
                inner.stage = other;
                None
            }
        }
    }

    /// The coroutine accepts; false when the offer has been withdrawn, and then the state is
    /// kept for whoever accepted.
    pub(crate) fn accept(&self, taken: Taken, state: Box<dyn Any + Send>) -> bool {
        let number = taken.number();
        let mut inner = lock(&self.inner);
        let stands = inner.stage.is_taken(&taken);
        let (forgotten, in_vain) = if stands {
            inner.stage = Stage::Due(taken.0, state);
            (inner.returned.take(), None)
        } else {
            (inner.returned.replace((number, state)), Some(taken))
        };
        drop(inner);
        drop_guarded(forgotten);
        drop_guarded(in_vain);
        stands
    }

    /// The coroutine refuses. After its end that end is the answer, which is what whoever offered
    /// takes a dropped answer for.
    pub(crate) fn refuse(&self, taken: Taken, reason: String) {
        let mut inner = lock(&self.inner);
        let stands = inner.stage.is_taken(&taken);
        if stands {
            inner.stage = Stage::None;
        }
        drop(inner);
        if stands {
            let _ = taken.0.answer.send(Err(SwapError::Refused(reason)));
        }
    }

    /// The coroutine has let go of the offer without a decision, because it panics or is being
    /// dropped. Its end answers the offer; a coroutine that survives finds it again.
    pub(crate) fn put_back(&self, taken: Taken) {
        let mut inner = lock(&self.inner);
        if inner.stage.is_taken(&taken) {
            inner.stage = Stage::Checked(taken.0);
            drop(inner);
            self.checked.notify_waiters();
        }
    }

    /// The state that is given back when the offer of this number has been accepted in vain.
    pub(crate) fn poll_returned(&self, number: u64, waker: &Waker) -> Poll<Box<dyn Any + Send>> {
        let mut inner = lock(&self.inner);
        if let Some((_, state)) = inner.returned.take_if(|(of, _)| *of == number) {
            return Poll::Ready(state);
        }
        let previous = inner.accepted.replace(waker.clone());
        drop(inner);
        drop(previous);
        Poll::Pending
    }

    /// Engine: the accepted swap, if it has not been withdrawn; its state is left for the new
    /// function, and the old one's policy goes.
    pub(crate) fn take_due(&self) -> Option<Due> {
        let mut inner = lock(&self.inner);
        match std::mem::take(&mut inner.stage) {
            Stage::Due(offer, state) => {
                let old_state = inner.state.replace(state);
                let old_policy = inner.policy.take();
                let accepted = inner.accepted.take();
                drop(inner);
                drop((old_state, old_policy, accepted));
                Some(Due {
                    function: offer.function,
                    answer: offer.answer,
                })
            }
            other => {
                inner.stage = other;
                None
            }
        }
    }

    pub(crate) fn set_policy(&self, policy: Policy) {
        let old = lock(&self.inner).policy.replace(policy);
        drop(old);
    }

    /// Engine: takes the policy out for a call.
    pub(crate) fn take_policy(&self) -> Option<Policy> {
        lock(&self.inner).policy.take()
    }

    /// Engine: puts the policy back, unless the call has set another.
    pub(crate) fn restore_policy(&self, policy: Policy) {
        let mut inner = lock(&self.inner);
        if inner.policy.is_none() {
            inner.policy = Some(policy);
        }
    }

    /// The state that the previous function handed over, if it is an `S`.
    pub(crate) fn take_state<S: Any>(&self) -> Option<S> {
        let mut inner = lock(&self.inner);
        match inner.state.take()?.downcast::<S>() {
            Ok(state) => Some(*state),
            Err(other) => {
                inner.state = Some(other);
                None
            }
        }
    }

    pub(crate) fn keep_receiver(&self, receiver: Box<dyn Any + Send>) {
        let old = lock(&self.inner).receiver.replace(receiver);
        drop(old);
    }

    pub(crate) fn take_receiver(&self) -> Option<Box<dyn Any + Send>> {
        lock(&self.inner).receiver.take()
    }

    /// The coroutine has ended: answers an open offer and drops what was kept.
    pub(crate) fn ended(&self, exit: &Exit) {
        let Inner {
            stage,
            policy,
            returned,
            state,
            receiver,
            ..
        } = std::mem::take(&mut *lock(&self.inner));
        let (offer, due) = match stage {
            Stage::Offered(offer) | Stage::Checked(offer) => (Some(offer), None),
            Stage::Due(offer, state) => (Some(offer), Some(state)),
            Stage::None | Stage::Taken(_) => (None, None),
        };
        if let Some(offer) = offer {
            let _ = offer.answer.send(Err(SwapError::Ended(exit.clone())));
            drop_guarded(offer.function);
        }
        drop_guarded(due);
        drop_guarded(policy);
        drop_guarded(returned);
        drop_guarded(state);
        drop_guarded(receiver);
    }
}
