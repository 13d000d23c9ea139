//! Many calls of one function, as a stream.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use coros_core::remote::Message;
use futures_util::Stream;
use hashbrown::HashMap;
use tokio::sync::mpsc;

use super::core::CallId;
use super::job::{Completed, ReplyTo};
use super::{Command, Completion, Inner, JobError};
use crate::function::Call;

/// How many calls may be submitted beyond those whose values were taken.
const WINDOW: usize = 1024;

/// The calls of [`Scheduler::map`](super::Scheduler::map): a stream of their values in the
/// order of the calls.
///
/// Dropping it cancels the calls that have not ended.
#[must_use = "nothing runs unless the stream is polled"]
pub struct Map<R, I> {
    calls: Calls<R, I>,
    /// The next value and those after it, as far as they have come before their turn.
    early: VecDeque<Option<Completed>>,
    next: usize,
}

/// The calls of [`Scheduler::map`](super::Scheduler::map): a stream of [`Completion`]s as they
/// come. See [`Map::unordered`].
#[must_use = "nothing runs unless the stream is polled"]
pub struct Unordered<R, I> {
    calls: Calls<R, I>,
}

/// The calls under way, and those that are left.
struct Calls<R, I> {
    scheduler: Arc<Inner>,
    /// The calls that are left.
    calls: Option<I>,
    window: usize,
    submitted: usize,
    taken: usize,
    open: HashMap<usize, CallId>,
    to: mpsc::UnboundedSender<(usize, Completed)>,
    from: mpsc::UnboundedReceiver<(usize, Completed)>,
    value: PhantomData<fn() -> R>,
}

impl<R: Message, I: Iterator<Item = Call<R>>> Map<R, I> {
    pub(super) fn new(scheduler: Arc<Inner>, calls: I) -> Self {
        let (to, from) = mpsc::unbounded_channel();
        let calls = Calls {
            scheduler,
            calls: Some(calls),
            window: WINDOW,
            submitted: 0,
            taken: 0,
            open: HashMap::new(),
            to,
            from,
            value: PhantomData,
        };
        Map {
            calls,
            early: VecDeque::new(),
            next: 0,
        }
    }

    /// At most so many calls are submitted whose values have not been taken from the stream:
    /// 1,024 unless told otherwise, at least 1. More than all workers hold at a time keeps them
    /// busy; in order, a long call needs more behind it.
    pub fn window(mut self, calls: usize) -> Self {
        self.calls.window = calls.max(1);
        self
    }

    /// The values as they come, each with the index of its call.
    pub fn unordered(self) -> Unordered<R, I> {
        Unordered { calls: self.calls }
    }

    /// The value of the next call; `None` when all calls are done. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<R, JobError>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<R: Message, I: Iterator<Item = Call<R>>> Unordered<R, I> {
    /// The next call that ends; `None` when all calls are done. Cancel safe.
    pub async fn next(&mut self) -> Option<Completion<R>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

// Nothing in them is pinned: iterators are only asked for calls, by `&mut`.
impl<R, I> Unpin for Map<R, I> {}
impl<R, I> Unpin for Unordered<R, I> {}

impl<R: Message, I: Iterator<Item = Call<R>>> Stream for Map<R, I> {
    type Item = Result<R, JobError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(completed) = this.early.front_mut().and_then(Option::take) {
                this.early.pop_front();
                this.next += 1;
                this.calls.taken += 1;
                let completion = completed.decode(0, &this.calls.scheduler.node);
                return Poll::Ready(Some(completion.result));
            }
            match ready!(this.calls.poll(cx)) {
                Some((index, completed)) => {
                    let place = index - this.next;
                    if place >= this.early.len() {
                        this.early.resize_with(place + 1, || None);
                    }
                    this.early[place] = Some(completed);
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<R: Message, I: Iterator<Item = Call<R>>> Stream for Unordered<R, I> {
    type Item = Completion<R>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = ready!(this.calls.poll(cx));
        Poll::Ready(next.map(|(index, completed)| {
            this.calls.taken += 1;
            completed.decode(index, &this.calls.scheduler.node)
        }))
    }
}

impl<R: Message, I: Iterator<Item = Call<R>>> Calls<R, I> {
    /// Submits what the window has room for.
    fn fill(&mut self) {
        let mut batch = Vec::new();
        let now = Instant::now();
        while self.submitted - self.taken < self.window
            && let Some(calls) = &mut self.calls
        {
            let Some(call) = calls.next() else {
                self.calls = None;
                break;
            };
            let index = self.submitted;
            self.submitted += 1;
            let reply = ReplyTo::map(self.to.clone(), index);
            if let Some(submission) = self.scheduler.prepare(&call, reply, now) {
                self.open.insert(index, submission.call);
                batch.push(submission);
            }
        }
        if !batch.is_empty() {
            self.scheduler.submit(batch);
        }
    }

    /// The next call that has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, Completed)>> {
        // Topping up by the call would make a message of every call.
        if self.submitted - self.taken <= self.window - self.window.div_ceil(4) {
            self.fill();
        }
        if let Poll::Ready(next) = self.from.poll_recv(cx) {
            if let Some((index, _)) = &next {
                self.open.remove(index);
            }
            return Poll::Ready(next);
        }
        // `to` is a sender of our own, so the channel never closes: count instead.
        if self.submitted == self.taken && self.calls.is_none() {
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

impl<R, I> Drop for Calls<R, I> {
    fn drop(&mut self) {
        for call in self.open.values() {
            self.scheduler.command(Command::Cancel(*call));
        }
    }
}

impl<R, I> fmt::Debug for Map<R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({} taken)", self.next)
    }
}

impl<R, I> fmt::Debug for Unordered<R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unordered({} taken)", self.calls.taken)
    }
}
