//! The future that a coroutine's task runs: the user's function, and around each poll of it what
//! others have asked for.

use std::any::{Any, type_name};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use pin_project_lite::pin_project;

use super::panic_text;
use crate::control::{Control, Flags};
use crate::mailbox::{Mailbox, Receiver};
use crate::swap::{Due, Replacement, SwapError, SwapOffer};
use crate::{Context, Exit};

pin_project! {
    /// A coroutine as a future.
    ///
    /// The order of the fields is the order of drops: first the function, and with it the
    /// context and the mailbox's receiver, then the guard that reports the end.
    pub(crate) struct Running<M, R, F, Fut>
    where
        M: Send,
        M: 'static,
        Fut: Future,
    {
        #[pin]
        body: Body<M, F, Fut>,
        guard: Guard<M>,
        outcome: fn(Fut::Output) -> Result<R, Exit>,
    }
}

pin_project! {
    #[project = BodyProjection]
    enum Body<M, F, Fut>
    where
        M: Send,
        M: 'static,
        Fut: Future,
    {
        /// Not polled yet: the function is called in its own task.
        Start { start: Option<(F, Context<M>)> },
        Function { #[pin] future: Fut },
        /// A function that took over in a hot swap.
        Swapped { future: Pin<Box<dyn Future<Output = Fut::Output> + Send>> },
        Done,
    }
}

/// Reports the end of a coroutine whose task is dropped before it ends by itself.
struct Guard<M>(Arc<Mailbox<M>>);

impl<M> Drop for Guard<M> {
    fn drop(&mut self) {
        // Does nothing when the end has been reported.
        self.0.control().end(&Exit::Terminated);
    }
}

/// What to do after looking at the flags.
enum Next {
    Poll,
    Wait,
    End(Exit),
}

impl<M, R, F, Fut> Running<M, R, F, Fut>
where
    M: Send + 'static,
    F: FnOnce(Context<M>) -> Fut,
    Fut: Future<Output: 'static>,
{
    pub(crate) fn new(
        mailbox: Arc<Mailbox<M>>,
        context: Context<M>,
        function: F,
        outcome: fn(Fut::Output) -> Result<R, Exit>,
    ) -> Self {
        let body = Body::Start {
            start: Some((function, context)),
        };
        Running {
            body,
            guard: Guard(mailbox),
            outcome,
        }
    }

    /// Does what others have asked for.
    #[cold]
    fn attend(self: Pin<&mut Self>, flags: Flags) -> Next {
        let mut this = self.project();
        let control = this.guard.0.control();
        if flags.has(Flags::KILLED) {
            return Next::End(Exit::Terminated);
        }
        if flags.has(Flags::OFFERED) {
            control.clear(Flags::OFFERED);
            control
                .extra()
                .swap
                .check::<Replacement<M, Fut::Output>>(type_name::<Fut::Output>());
            if let Err(panic) = ask_policy(&this.guard.0) {
                return Next::End(panicked(&*panic));
            }
        }
        if control.flags().has(Flags::ACCEPTED) {
            control.clear(Flags::ACCEPTED);
            if let Some(due) = control.extra().swap.take_due()
                && let Err(exit) = replace(this.body.as_mut(), control, due)
            {
                return Next::End(exit);
            }
        }
        if control.flags().has(Flags::SUSPENDED) {
            Next::Wait
        } else {
            Next::Poll
        }
    }
}

/// Asks the policy that the coroutine left, if there is an offer and a policy.
fn ask_policy<M: Send + 'static>(mailbox: &Arc<Mailbox<M>>) -> Result<(), Box<dyn Any + Send>> {
    let swap = &mailbox.control().extra().swap;
    let Some(mut policy) = swap.take_policy() else {
        return Ok(());
    };
    let asked = swap.take_checked().map_or(Ok(()), |taken| {
        let offer = SwapOffer::new(Arc::clone(mailbox) as Arc<dyn super::Host>, taken);
        catch_unwind(AssertUnwindSafe(|| policy(offer)))
    });
    // Also after a panic: an offer that the policy has kept is answered by the end.
    swap.restore_policy(policy);
    asked
}

/// Carries out a hot swap: drops the old function and calls the new one with the same mailbox.
fn replace<M, F, Fut>(
    mut body: Pin<&mut Body<M, F, Fut>>,
    control: &Control,
    due: Due,
) -> Result<(), Exit>
where
    M: Send + 'static,
    Fut: Future<Output: 'static>,
{
    let (function, answer) = due.split();
    control.set(Flags::SWAPPING);
    let dropped = catch_unwind(AssertUnwindSafe(|| body.set(Body::Done)));
    control.clear(Flags::SWAPPING);
    // The new function has not asked for a grace period.
    if control.clear(Flags::GRACEFUL).has(Flags::GRACEFUL) {
        crate::introspect::not_graceful(control.id());
    }
    let receiver = control.extra().swap.take_receiver();
    let replaced = match (
        dropped,
        receiver.and_then(|r| r.downcast::<Receiver<M>>().ok()),
    ) {
        (Err(panic), _) => Err(panicked(&*panic)),
        (Ok(()), None) => Err(Exit::Failed(
            "its function cannot be replaced: it moved its Context out of the coroutine".into(),
        )),
        (Ok(()), Some(receiver)) => {
            let function = function
                .downcast::<Replacement<M, Fut::Output>>()
                .expect("the type was checked when the offer came");
            catch_unwind(AssertUnwindSafe(|| function(Context::new(*receiver))))
                .map(|future| body.set(Body::Swapped { future }))
                .map_err(|panic| panicked(&*panic))
        }
    };
    answer(replaced.clone().map_err(SwapError::Ended));
    replaced
}

fn panicked(panic: &(dyn Any + Send)) -> Exit {
    Exit::Panicked(panic_text(panic).into())
}

impl<M, F, Fut> Body<M, F, Fut>
where
    M: Send + 'static,
    F: FnOnce(Context<M>) -> Fut,
    Fut: Future,
{
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Fut::Output> {
        loop {
            match self.as_mut().project() {
                BodyProjection::Function { future } => return future.poll(cx),
                BodyProjection::Swapped { future } => return future.as_mut().poll(cx),
                BodyProjection::Start { start } => {
                    let (function, context) = start.take().expect("a coroutine starts once");
                    let future = function(context);
                    self.set(Body::Function { future });
                }
                BodyProjection::Done => unreachable!("a coroutine that has ended is not polled"),
            }
        }
    }
}

impl<M, R, F, Fut> Future for Running<M, R, F, Fut>
where
    M: Send + 'static,
    F: FnOnce(Context<M>) -> Fut,
    Fut: Future<Output: 'static>,
{
    type Output = Result<R, Exit>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let control = self.guard.0.control();
        if !control.has_own() {
            control.set_own(cx.waker());
        }
        let flags = control.flags();
        let mut result = None;
        if flags.has(Flags::ATTENTION) {
            // What users have left there is dropped there.
            match catch_unwind(AssertUnwindSafe(|| self.as_mut().attend(flags))) {
                Ok(Next::Poll) => {}
                Ok(Next::Wait) => return Poll::Pending,
                Ok(Next::End(exit)) => result = Some(Err(exit)),
                Err(panic) => result = Some(Err(panicked(&*panic))),
            }
        }
        let mut this = self.project();
        let result = match result {
            Some(result) => result,
            None => {
                let poll = || this.body.as_mut().poll(cx).map(this.outcome);
                match catch_unwind(AssertUnwindSafe(poll)) {
                    Ok(Poll::Pending) => return Poll::Pending,
                    Ok(Poll::Ready(result)) => result,
                    Err(panic) => Err(panicked(&*panic)),
                }
            }
        };
        // The function's locals, its context among them, go before anybody is told.
        let dropped = catch_unwind(AssertUnwindSafe(|| this.body.set(Body::Done)));
        let result = match dropped {
            Ok(()) => result,
            Err(panic) => Err(panicked(&*panic)),
        };
        this.guard
            .0
            .control()
            .end(result.as_ref().err().unwrap_or(&Exit::Finished));
        Poll::Ready(result)
    }
}
