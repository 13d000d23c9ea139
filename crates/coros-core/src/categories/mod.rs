//! Selective receive by category, in constant time a message.
//!
//! [`Context::receive_where`] looks through the backlog at every call. Here each message is
//! classified once, when it is first come across, and then kept in the [`Backlog`] under its
//! category until it is asked for.

mod backlog;

use std::fmt;
use std::future::poll_fn;
use std::hash::Hash;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Poll, ready};
use std::time::Duration;

use crate::{Context, ReceiveTimeoutError};
use backlog::Backlog;

/// Receives a coroutine's messages by category: the urgent before the others, the answers to one
/// question before all else.
///
/// It borrows the coroutine's [`Context`], and derefs to it for what is not receiving (its
/// address, sleep, monitors). Each message is classified at most once, however long the backlog
/// and however many receives pass it over. Messages of one category come in the order in which
/// they were sent, and so do those of several categories received together.
///
/// **What it holds is not lost:** when it is dropped, the messages that have been classified and
/// not received go back to the context, in their order, before all that came later. That is so
/// also when the coroutine's function is dropped for a [hot swap](crate::swap). In a bounded
/// mailbox a message takes room until it is received.
///
/// All receiving methods are cancel-safe, and let other tasks run now and then during a long
/// backlog.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use coros_core::{Categories, Context, spawn};
///
/// let coro = spawn(async |mut me: Context<i32>| {
///     let mut numbers = Categories::new(&mut me, |n| *n < 0);
///     let negative = (numbers.receive(&true).await, numbers.receive(&true).await);
///     drop(numbers);
///     (negative, me.receive().await)
/// });
/// for n in [1, -2, 3, -4] {
///     coro.send(n).unwrap();
/// }
/// assert_eq!(coro.join().await, Ok(((Some(-2), Some(-4)), Some(1))));
/// # }
/// ```
pub struct Categories<'a, M: Send + 'static, K: Eq + Hash + Clone> {
    me: &'a mut Context<M>,
    classify: Box<dyn FnMut(&M) -> K + Send + 'a>,
    backlog: Backlog<M, K>,
}

impl<'a, M: Send + 'static, K: Eq + Hash + Clone> Categories<'a, M, K> {
    /// Receives for the coroutine of `me`; `classify` says to which category a message belongs.
    ///
    /// A panic in `classify` passes through to the receive that called it. Nothing is lost: all
    /// messages that have not been received are classified again by the next receive, or left in
    /// the context.
    pub fn new(me: &'a mut Context<M>, classify: impl FnMut(&M) -> K + Send + 'a) -> Self {
        Categories {
            me,
            classify: Box::new(classify),
            backlog: Backlog::default(),
        }
    }

    /// The oldest message of a category. Waits for one; `None` when there is none and no address
    /// is left.
    ///
    /// # Cancel safety
    /// No message is lost when the future is dropped: what it has not returned stays.
    pub async fn receive(&mut self, category: &K) -> Option<M> {
        self.receive_of(std::slice::from_ref(category)).await
    }

    /// The oldest message of any of these categories, which takes time in proportion to their
    /// number. Waits for one; `None` when there is none and no address is left.
    ///
    /// Without a category it waits until no address is left.
    ///
    /// # Cancel safety
    /// No message is lost when the future is dropped: what it has not returned stays.
    pub async fn receive_of(&mut self, categories: &[K]) -> Option<M> {
        poll_fn(|cx| {
            if self.me.receiver().must_yield(cx) {
                return Poll::Pending;
            }
            if let Some(message) = self.backlog.pop_of(categories) {
                self.me.receiver().received_aside();
                return Poll::Ready(Some(message));
            }
            loop {
                let Some(message) = ready!(self.me.receiver().poll_aside(cx)) else {
                    return Poll::Ready(None);
                };
                if let Some(message) = self.sort(message, categories) {
                    return Poll::Ready(Some(message));
                }
            }
        })
        .await
    }

    /// The oldest message of all. Waits for one; `None` when there is none and no address is
    /// left.
    ///
    /// # Cancel safety
    /// No message is lost when the future is dropped: what it has not returned stays.
    pub async fn receive_any(&mut self) -> Option<M> {
        poll_fn(|cx| {
            let receiver = self.me.receiver();
            if receiver.must_yield(cx) {
                return Poll::Pending;
            }
            match self.backlog.pop() {
                Some(message) => {
                    receiver.received_aside();
                    Poll::Ready(Some(message))
                }
                None => receiver.poll_receive(cx),
            }
        })
        .await
    }

    /// The oldest message of a category, waiting at most `limit` for one.
    ///
    /// # Errors
    /// [`ReceiveTimeoutError::TimedOut`], or [`ReceiveTimeoutError::Closed`] when there is none
    /// and no address is left.
    ///
    /// # Panics
    /// When polled outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    /// No message is lost when the future is dropped: what it has not returned stays.
    pub async fn receive_timeout(
        &mut self,
        category: &K,
        limit: Duration,
    ) -> Result<M, ReceiveTimeoutError> {
        match tokio::time::timeout(limit, self.receive(category)).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(ReceiveTimeoutError::Closed),
            Err(_) => Err(ReceiveTimeoutError::TimedOut(limit)),
        }
    }

    /// The oldest message of a category, if there is one now.
    pub fn try_receive(&mut self, category: &K) -> Option<M> {
        let category = std::slice::from_ref(category);
        if let Some(message) = self.backlog.pop_of(category) {
            self.me.receiver().received_aside();
            return Some(message);
        }
        while let Some(message) = self.me.receiver().try_aside() {
            let wanted = self.sort(message, category);
            if wanted.is_some() {
                return wanted;
            }
        }
        None
    }

    /// How many messages of a category there are; classifies what has arrived first.
    pub fn len(&mut self, category: &K) -> usize {
        while let Some(message) = self.me.receiver().try_aside() {
            self.sort(message, &[]);
        }
        self.backlog.len(category)
    }

    /// Classifies a message that has just been taken; returns it if it is wanted, else keeps it.
    fn sort(&mut self, message: M, wanted: &[K]) -> Option<M> {
        let sorted = catch_unwind(AssertUnwindSafe(|| {
            let category = (self.classify)(&message);
            (wanted.contains(&category), category)
        }));
        match sorted {
            Ok((true, _)) => {
                self.me.receiver().received_aside();
                Some(message)
            }
            Ok((false, category)) => {
                self.backlog.push(category, message);
                None
            }
            Err(panic) => {
                self.give_back(Some(message));
                resume_unwind(panic)
            }
        }
    }

    /// Gives the context back what has been taken from it and not been received; `newest` has
    /// not got into the backlog.
    fn give_back(&mut self, newest: Option<M>) {
        let backlog = std::iter::from_fn(|| self.backlog.pop_newest());
        self.me
            .receiver()
            .take_back(newest.into_iter().chain(backlog));
        self.backlog = Backlog::default();
    }
}

impl<M: Send + 'static, K: Eq + Hash + Clone> Deref for Categories<'_, M, K> {
    type Target = Context<M>;

    fn deref(&self) -> &Context<M> {
        self.me
    }
}

impl<M: Send + 'static, K: Eq + Hash + Clone> Drop for Categories<'_, M, K> {
    fn drop(&mut self) {
        self.give_back(None);
    }
}

impl<M: Send + 'static, K: Eq + Hash + Clone> fmt::Debug for Categories<'_, M, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Categories({:?})", &*self.me)
    }
}
