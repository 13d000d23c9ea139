//! Starting coroutines.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::control::{Control, Extra, Flags};
use crate::mailbox::{Bounds, Mailbox};
use crate::{Address, Context, Coro, Exit, engine, introspect};

/// Starts a coroutine: an async function that owns a mailbox.
///
/// `M` is what it receives, `R` what it returns. It runs in the tokio runtime of the caller,
/// multi-thread or current-thread, and ends when the function returns or panics, when somebody
/// [terminates](Address::terminate) it, or when the runtime is dropped.
///
/// A message that finds the coroutine waiting is kept inside the coroutine's own allocation, so
/// each coroutine takes the size of its message type: put large payloads into a `Box` or `Bytes`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use coros_core::Context;
///
/// async fn double(mut me: Context<u64>) -> u64 {
///     me.receive().await.map_or(0, |n| 2 * n)
/// }
///
/// let coro = coros_core::spawn(double);
/// coro.send(21).unwrap();
/// assert_eq!(coro.join().await, Ok(42));
/// # }
/// ```
///
/// # Panics
/// Outside a tokio runtime; [`Builder::on`] names one.
pub fn spawn<M, R, F, Fut>(function: F) -> Coro<M, R>
where
    M: Send + 'static,
    R: Send + 'static,
    F: FnOnce(Context<M>) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    start(Control::new(Flags::NONE, None), function, Ok, None)
}

/// Options for a coroutine to be started.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let log = coros_core::build()
///     .name("log")
///     .capacity(1024)
///     .daemon()
///     .spawn(async |mut me: coros_core::Context<String>| {
///         while let Some(line) = me.receive().await {
///             println!("{line}");
///         }
///     });
/// assert_eq!(log.name(), Some("log"));
/// # }
/// ```
pub fn build() -> Builder {
    Builder::default()
}

/// Options for a coroutine to be started: see [`build`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `spawn`"]
pub struct Builder {
    name: Option<Arc<str>>,
    capacity: Option<usize>,
    daemon: bool,
    grace: Option<Duration>,
    runtime: Option<Handle>,
}

impl Builder {
    /// A name for people: in logs, in [`coroutines`](crate::coroutines), in `Display`. It need
    /// not be unique. To be found by others, [`register`](Address::register).
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Bounds the mailbox to this many messages that the coroutine has not received. Then
    /// [`send`](Address::send) fails and [`deliver`](Address::deliver) waits when it is full.
    ///
    /// # Panics
    /// When it is zero, or more than `usize::MAX >> 3`.
    pub fn capacity(mut self, messages: usize) -> Self {
        let most = tokio::sync::Semaphore::MAX_PERMITS;
        assert!(
            (1..=most).contains(&messages),
            "a mailbox has room for at least one message and at most {most}, not {messages}"
        );
        self.capacity = Some(messages);
        self
    }

    /// A daemon serves others: a program need not wait for its end
    /// ([`run`](crate::runtime::run)).
    pub fn daemon(mut self) -> Self {
        self.daemon = true;
        self
    }

    /// How long the coroutine may clean up when it is terminated, if it asks for that by
    /// [`Context::terminating`]. Five seconds if not given.
    pub fn grace(mut self, period: Duration) -> Self {
        self.grace = Some(period);
        self
    }

    /// The runtime in which the coroutine runs, instead of the caller's.
    pub fn on(mut self, runtime: &Handle) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// Starts the coroutine: as [`spawn`], with these options.
    ///
    /// # Panics
    /// Outside a tokio runtime, unless [`on`](Self::on) names one.
    pub fn spawn<M, R, F, Fut>(self, function: F) -> Coro<M, R>
    where
        M: Send + 'static,
        R: Send + 'static,
        F: FnOnce(Context<M>) -> Fut + Send + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        let (control, runtime) = self.into_control();
        start(control, function, Ok, runtime.as_ref())
    }

    /// Starts a coroutine whose function may fail: an `Err` ends it with [`Exit::Failed`] and
    /// the error's text, which is what monitors and a [`Supervisor`](crate::Supervisor) go by.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use coros_core::{Context, Exit};
    ///
    /// async fn parse(mut me: Context<String>) -> Result<u32, std::num::ParseIntError> {
    ///     me.receive().await.unwrap_or_default().parse()
    /// }
    ///
    /// let coro = coros_core::build().spawn_fallible(parse);
    /// coro.send("seven".into()).unwrap();
    /// assert_eq!(coro.join().await, Err(Exit::Failed("invalid digit found in string".into())));
    /// # }
    /// ```
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    pub fn spawn_fallible<M, R, E, F, Fut>(self, function: F) -> Coro<M, R>
    where
        M: Send + 'static,
        R: Send + 'static,
        E: fmt::Display + Send + 'static,
        F: FnOnce(Context<M>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        let (control, runtime) = self.into_control();
        let outcome =
            |result: Result<R, E>| result.map_err(|error| Exit::Failed(error.to_string().into()));
        start(control, function, outcome, runtime.as_ref())
    }

    fn into_control(self) -> (Control, Option<Handle>) {
        let mut flags = Flags::NONE;
        if self.daemon {
            flags = flags.and(Flags::DAEMON);
        }
        if self.name.is_some() {
            flags = flags.and(Flags::NAMED);
        }
        let plain = self.name.is_none() && self.capacity.is_none() && self.grace.is_none();
        let extra = (!plain).then(|| {
            let mut extra = Extra {
                name: self.name,
                ..Extra::default()
            };
            extra.bounds = self.capacity.map(Bounds::new);
            if let Some(grace) = self.grace {
                extra.grace = grace;
            }
            extra
        });
        (Control::new(flags, extra), self.runtime)
    }
}

fn start<M, R, F, Fut>(
    control: Control,
    function: F,
    outcome: fn(Fut::Output) -> Result<R, Exit>,
    runtime: Option<&Handle>,
) -> Coro<M, R>
where
    M: Send + 'static,
    R: Send + 'static,
    F: FnOnce(Context<M>) -> Fut + Send + 'static,
    Fut: Future<Output: Send> + Send + 'static,
{
    let (mailbox, receiver) = Mailbox::new(control);
    let address = Address::local(Arc::clone(&mailbox));
    introspect::started(&mailbox);
    let handle = engine::start(mailbox, receiver, function, outcome, runtime);
    Coro::new(address, handle)
}
