//! The receiving end of a mailbox: one, owned by the coroutine's context.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::shared::{Buffer, Fetched, Mailbox};

/// Messages a coroutine receives at a stretch before it lets others run.
///
/// Tokio counts neither our messages nor our queue, so a coroutine with a long backlog would
/// otherwise hold its thread. 128 costs nothing that can be measured (BENCHMARKS.md).
const STREAK: u32 = 128;

/// Takes messages out of a mailbox; closes it when dropped, except in a hot swap, where another
/// receiver takes over.
pub(crate) struct Receiver<M: Send + 'static> {
    mailbox: Arc<Mailbox<M>>,
    /// Taken from the mailbox and not yet given to the coroutine, oldest first: the rest of a
    /// batch, and what a selective receive passed over.
    held: Buffer<M>,
    /// Messages that are kept elsewhere, older than all of these, and count as not received.
    aside: usize,
    /// Messages received since the task last waited.
    streak: u32,
    /// Whether the last time it waited it did so by going to the end of the run queue.
    lingering: bool,
    /// Whether anybody keeps account of what is received: the bounds, or those who look at a
    /// named coroutine.
    accounted: bool,
}

impl<M: Send + 'static> Receiver<M> {
    pub(super) fn new(mailbox: Arc<Mailbox<M>>) -> Self {
        let accounted = mailbox.is_bounded() || mailbox.control().name().is_some();
        Receiver {
            mailbox,
            held: None,
            aside: 0,
            streak: 0,
            lingering: false,
            accounted,
        }
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox<M>> {
        &self.mailbox
    }

    /// Messages here that the senders' side of the mailbox does not see.
    pub(crate) fn held(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.len())
    }

    #[inline]
    fn fetch(&mut self, cx: Option<&Context<'_>>) -> Fetched<M> {
        // SAFETY: a mailbox is made with one receiver, and this takes it by exclusive reference.
        unsafe { self.mailbox.fetch(&mut self.held, cx) }
    }

    fn pop_held(&mut self) -> Option<M> {
        self.held.as_mut()?.pop_front()
    }

    /// Takes the oldest message if there is one now, without waiting and without accounting.
    fn take_now(&mut self) -> Option<M> {
        if let Some(message) = self.pop_held() {
            return Some(message);
        }
        match self.fetch(None) {
            Fetched::Message(message) => Some(message),
            Fetched::Batch => self.pop_held(),
            Fetched::Ended | Fetched::Empty => None,
        }
    }

    /// Accounts for `n` messages that the coroutine gets now.
    #[inline]
    fn received(&mut self, n: usize) {
        self.streak = self.streak.saturating_add(n as u32);
        if self.accounted {
            self.account(n);
        }
    }

    #[cold]
    fn account(&self, n: usize) {
        let control = self.mailbox.control();
        if let Some(bounds) = control.bounds() {
            bounds.leave(n);
        }
        control.note_held(self.aside + self.held());
    }

    /// Whether the coroutine has had its turn; if so the task is already woken for the next one.
    #[inline]
    pub(crate) fn must_yield(&mut self, cx: &Context<'_>) -> bool {
        if self.streak < STREAK {
            return false;
        }
        self.streak = 0;
        cx.waker().wake_by_ref();
        true
    }

    /// The oldest message; `None` when there is none and no address is left.
    #[inline]
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<M>> {
        if self.must_yield(cx) {
            return Poll::Pending;
        }
        let message = match self.pop_held() {
            Some(message) => message,
            None => match self.fetch_or_linger(cx) {
                Fetched::Message(message) => message,
                Fetched::Batch => self.pop_held().expect("a batch has a message"),
                Fetched::Ended => return Poll::Ready(None),
                Fetched::Empty => {
                    self.streak = 0;
                    return Poll::Pending;
                }
            },
        };
        self.received(1);
        Poll::Ready(Some(message))
    }

    /// Takes what is there, or waits.
    ///
    /// Waiting means to park, and then the next sender has to wake the task, which costs it more
    /// than all the rest of a send. In a stream of messages, where several came since the last
    /// wait, the task goes to the end of the run queue instead and looks once more, as long as
    /// each look finds something. So a receiver of a stream is not woken for each message, and
    /// one that plays ping-pong parks at once.
    #[inline]
    fn fetch_or_linger(&mut self, cx: &mut Context<'_>) -> Fetched<M> {
        if self.streak > 1 || (self.lingering && self.streak > 0) {
            let found = self.fetch(None);
            if matches!(found, Fetched::Empty) {
                self.lingering = true;
                cx.waker().wake_by_ref();
            }
            return found;
        }
        self.lingering = false;
        self.fetch(Some(cx))
    }

    /// The oldest message if there is one now.
    pub(crate) fn try_receive(&mut self) -> Option<M> {
        let message = self.take_now()?;
        self.received(1);
        Some(message)
    }

    /// The oldest message that satisfies `wanted`, looking only from position `*seen` of what is
    /// held: the caller starts with zero, and no message is looked at twice however often the
    /// task is woken.
    pub(crate) fn poll_receive_where(
        &mut self,
        cx: &mut Context<'_>,
        seen: &mut usize,
        wanted: &mut impl FnMut(&M) -> bool,
    ) -> Poll<Option<M>> {
        if self.must_yield(cx) {
            return Poll::Pending;
        }
        loop {
            while let Some(message) = self.held.as_ref().and_then(|held| held.get(*seen)) {
                if wanted(message) {
                    let message = self.held.as_mut().and_then(|held| held.remove(*seen));
                    self.received(1);
                    return Poll::Ready(message);
                }
                *seen += 1;
                self.streak += 1;
                if self.must_yield(cx) {
                    return Poll::Pending;
                }
            }
            match self.fetch(Some(cx)) {
                Fetched::Message(message) => {
                    self.held.get_or_insert_default().push_back(message);
                }
                Fetched::Batch => {}
                Fetched::Ended => return Poll::Ready(None),
                Fetched::Empty => {
                    self.streak = 0;
                    self.received(0);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Moves up to `limit` messages, oldest first, to the end of `into`; waits only for the
    /// first. Zero when no address is left.
    pub(crate) fn poll_receive_many(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut Vec<M>,
        limit: usize,
    ) -> Poll<usize> {
        if limit == 0 {
            return Poll::Ready(0);
        }
        if self.must_yield(cx) {
            return Poll::Pending;
        }
        let start = into.len();
        while into.len() - start < limit {
            let missing = limit - (into.len() - start);
            if self.held() > 0 {
                let held: &mut VecDeque<M> = self.held.as_mut().expect("it holds something");
                into.extend(held.drain(..missing.min(held.len())));
                continue;
            }
            // With something to return already, an empty mailbox must not be parked: nobody
            // would be waiting.
            let cx = (into.len() == start).then_some(&*cx);
            match self.fetch(cx) {
                Fetched::Message(message) => into.push(message),
                Fetched::Batch => {}
                Fetched::Empty | Fetched::Ended if into.len() > start => break,
                Fetched::Ended => return Poll::Ready(0),
                Fetched::Empty => {
                    self.streak = 0;
                    return Poll::Pending;
                }
            }
        }
        let n = into.len() - start;
        self.received(n);
        Poll::Ready(n)
    }
}

/// For a selective receive that keeps what it passes over itself.
impl<M: Send + 'static> Receiver<M> {
    /// As [`poll_receive`](Self::poll_receive), but the message counts as not received until
    /// [`received_aside`](Self::received_aside).
    pub(crate) fn poll_aside(&mut self, cx: &mut Context<'_>) -> Poll<Option<M>> {
        if self.must_yield(cx) {
            return Poll::Pending;
        }
        let message = match self.pop_held() {
            Some(message) => message,
            None => match self.fetch(Some(cx)) {
                Fetched::Message(message) => message,
                Fetched::Batch => self.pop_held().expect("a batch has a message"),
                Fetched::Ended => return Poll::Ready(None),
                Fetched::Empty => {
                    self.streak = 0;
                    self.received(0);
                    return Poll::Pending;
                }
            },
        };
        self.streak += 1;
        self.aside += 1;
        Poll::Ready(Some(message))
    }

    /// As [`try_receive`](Self::try_receive), likewise.
    pub(crate) fn try_aside(&mut self) -> Option<M> {
        let message = self.take_now()?;
        self.aside += 1;
        self.received(0);
        Some(message)
    }

    /// The coroutine gets one of the messages kept aside.
    pub(crate) fn received_aside(&mut self) {
        self.aside -= 1;
        self.received(1);
    }

    /// Takes all messages kept aside back, newest first.
    pub(crate) fn take_back(&mut self, messages: impl Iterator<Item = M>) {
        self.aside = 0;
        for message in messages {
            self.held.get_or_insert_default().push_front(message);
        }
        self.received(0);
    }
}

impl<M: Send + 'static> Drop for Receiver<M> {
    fn drop(&mut self) {
        let mailbox = Arc::clone(&self.mailbox);
        if mailbox.control().is_swapping() {
            // The next function of the coroutine goes on where this one stopped.
            let successor = Receiver {
                mailbox: Arc::clone(&mailbox),
                held: self.held.take(),
                aside: 0,
                streak: 0,
                lingering: false,
                accounted: self.accounted,
            };
            mailbox.control().hand_over(Box::new(successor));
            return;
        }
        // SAFETY: the only receiver, and this is its last act.
        unsafe { mailbox.close() }
    }
}
