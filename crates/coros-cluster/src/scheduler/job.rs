//! One call, from its caller's side.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use coros_core::remote::Message;
use coros_net::Node;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::core::CallId;
use super::{Command, Inner, JobError};
use crate::blob::Blob;

/// A call that was submitted: a future of its value.
///
/// Dropping it before it is ready cancels the call: it does not start if it has not begun, and an
/// async function is dropped at its next await point. A function that computes, and an async one
/// that gets to no await point within a second, ends with its worker: after a fifth of a second in
/// which it may end by itself, the worker's process is killed with all that it has started, and
/// other calls that were there run again elsewhere. What an async function has started in other
/// processes is its own to end when it is dropped. [`detach`](Job::detach) lets the call go on.
#[must_use = "dropping a job cancels the call; `detach` lets it run"]
pub struct Job<R> {
    /// `None` when the arguments could not be encoded, so that there is no call.
    id: Option<CallId>,
    told: oneshot::Receiver<Completed>,
    scheduler: Arc<Inner>,
    open: bool,
    value: PhantomData<fn() -> R>,
}

impl<R: Message> Job<R> {
    pub(super) fn new(
        id: Option<CallId>,
        told: oneshot::Receiver<Completed>,
        scheduler: Arc<Inner>,
    ) -> Self {
        Job {
            id,
            told,
            scheduler,
            open: id.is_some(),
            value: PhantomData,
        }
    }

    /// The call's number, unique within the scheduler, as in [`Event`](super::Event)s.
    #[must_use]
    pub fn id(&self) -> u64 {
        // Numbers start at 0 and do not come so far.
        self.id.map_or(u64::MAX, |id| id.0)
    }

    /// Waits for the value, and says also which worker it came from and in which attempt.
    ///
    /// Dropping the future cancels the call.
    pub async fn completion(mut self) -> Completion<R> {
        let completed = (&mut self.told).await;
        self.open = false;
        completed
            .unwrap_or_else(Completed::closed)
            .decode(0, &self.scheduler.node)
    }

    /// Cancels the call: the job is ready at once, with [`JobError::Cancelled`] if it was not
    /// ready before. What becomes of the call is the same as when the job is [dropped](Job).
    pub fn cancel(&self) {
        if let Some(id) = self.id {
            self.scheduler.command(Command::Cancel(id));
        }
    }

    /// Lets the call go on without anybody who waits for its value.
    pub fn detach(mut self) {
        self.open = false;
    }
}

impl<R: Message> Future for Job<R> {
    type Output = Result<R, JobError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let completed = ready!(Pin::new(&mut self.told).poll(cx));
        self.open = false;
        let completed = completed.unwrap_or_else(Completed::closed);
        Poll::Ready(completed.decode(0, &self.scheduler.node).result)
    }
}

impl<R> Drop for Job<R> {
    fn drop(&mut self) {
        if let (true, Some(id)) = (self.open, self.id) {
            self.scheduler.command(Command::Cancel(id));
        }
    }
}

impl<R> fmt::Debug for Job<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A call that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completion<R> {
    /// Its place in a [`map`](super::Scheduler::map); 0 otherwise.
    pub index: usize,
    /// The worker that it ran on, if it did.
    pub worker: Option<Arc<str>>,
    /// How often it was started, as far as the scheduler knows: once more than losses of workers
    /// [counted](crate::SchedulerBuilder::retries) for it.
    pub attempts: u32,
    /// Its value.
    pub result: Result<R, JobError>,
}

/// A call that has ended, with its value still encoded.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Completed {
    pub(super) worker: Option<Arc<str>>,
    pub(super) attempts: u32,
    /// How long it ran, if its worker has told.
    pub(super) ran: Option<Duration>,
    pub(super) result: Result<Blob, JobError>,
}

impl Completed {
    pub(crate) fn without_worker(error: JobError) -> Self {
        Completed {
            worker: None,
            attempts: 0,
            ran: None,
            result: Err(error),
        }
    }

    /// The shell has ended without a word.
    pub(super) fn closed(_: oneshot::error::RecvError) -> Self {
        Completed::without_worker(JobError::Closed)
    }

    pub(super) fn decode<R: Message>(self, index: usize, node: &Node) -> Completion<R> {
        let Completed {
            worker,
            attempts,
            ran: _,
            result,
        } = self;
        let result = result.and_then(|value| node.decode(&value.0).map_err(JobError::Codec));
        Completion {
            index,
            worker,
            attempts,
            result,
        }
    }
}

/// Whom to tell of the end of a call. Dropped without a word, as when the shell ends with calls
/// in its mailbox, it tells that the scheduler is closed: nobody waits for ever.
#[derive(Debug)]
pub(super) struct ReplyTo(Option<Way>);

#[derive(Debug)]
enum Way {
    One(oneshot::Sender<Completed>),
    Map {
        to: mpsc::UnboundedSender<(usize, Completed)>,
        index: usize,
    },
}

impl ReplyTo {
    pub(super) fn one(to: oneshot::Sender<Completed>) -> Self {
        ReplyTo(Some(Way::One(to)))
    }

    pub(super) fn map(to: mpsc::UnboundedSender<(usize, Completed)>, index: usize) -> Self {
        ReplyTo(Some(Way::Map { to, index }))
    }

    pub(super) fn send(mut self, completed: Completed) {
        self.tell(completed);
    }

    fn tell(&mut self, completed: Completed) {
        // Whoever waited may have gone away.
        match self.0.take() {
            Some(Way::One(to)) => drop(to.send(completed)),
            Some(Way::Map { to, index }) => drop(to.send((index, completed))),
            None => {}
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.tell(Completed::without_worker(JobError::Closed));
        }
    }
}
