//! Coroutines that are started again when they end.
//!
//! [`plan`] decides, without clocks or tasks; [`run`] is the coroutine that does it; [`handle`] is
//! how others talk to it; [`child`] makes children of all types alike.

mod child;
mod handle;
mod plan;
mod run;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use handle::{ChildError, ChildInfo, ChildState, SupervisorHandle};

use crate::{Builder, Coro, Exit, Reply, build};
use child::Work;
use handle::{Answer, Found};
use plan::{Limits, Plan};

/// Starts coroutines, and starts them again when they end: how a system heals itself.
///
/// A child is given as a function that starts it, so that it may use every option of
/// [`build`], and under a name. Children are started in the order in which they are
/// added and stopped in the reverse order, each with its own grace period. What happens when one
/// ends by itself:
///
/// | | [`Permanent`](Restart::Permanent) | [`Transient`](Restart::Transient) | [`Temporary`](Restart::Temporary) |
/// |---|---|---|---|
/// | finished | started again | stays stopped | forgotten |
/// | failed, panicked, terminated by somebody | started again | started again | forgotten |
///
/// and a start whose function panics counts as a child that panicked. "Started again" means this
/// child alone ([`one_for_one`](Self::one_for_one)), all of them
/// ([`one_for_all`](Self::one_for_all)), or this one and those added after it
/// ([`rest_for_one`](Self::rest_for_one)); the others are stopped first. Of those others, a
/// temporary one is not started again, and one that had ended and stayed stopped stays so.
///
/// When that happens [too often](Self::intensity) the supervisor gives up: it stops all children
/// and fails, naming the child that was the last straw. A supervisor that is itself the child of
/// another passes the problem up in this way.
///
/// The supervisor is a coroutine. It holds an address of each child, so a child's
/// [`receive`](crate::Context::receive) does not return `None` while it is supervised. It ends
/// when it is stopped or terminated, when it gives up, and by itself when nobody has its address
/// and no child is left to run. When it is dropped in the middle, its children are terminated. A
/// child that computes without ever awaiting cannot be stopped, and holds up the end of its
/// supervisor.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// use coros_core::{Context, Reply, Restart, Supervisor, spawn};
///
/// type Division = (u32, u32, Reply<u32>);
///
/// async fn divide(mut me: Context<Division>) {
///     while let Some((a, b, reply)) = me.receive().await {
///         reply.send(a / b);
///     }
/// }
///
/// let supervisor = Supervisor::one_for_one()
///     .intensity(3, Duration::from_secs(5))
///     .child("divider", Restart::Permanent, || spawn(divide))
///     .start();
///
/// let divider = supervisor.child::<Division>("divider").await.unwrap();
/// assert!(divider.ask(|reply| (1, 0, reply)).await.is_err(), "it panics");
/// divider.exit().await;
///
/// let divider = supervisor.child::<Division>("divider").await.unwrap();
/// assert_eq!(divider.ask(|reply| (84, 2, reply)).await, Ok(42));
/// supervisor.stop().await;
/// # }
/// ```
#[must_use = "a supervisor does nothing until it is started"]
pub struct Supervisor {
    strategy: Strategy,
    limits: Limits,
    children: Vec<(Arc<str>, Restart, Work)>,
}

/// Who is started again when one child fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strategy {
    OneForOne,
    OneForAll,
    RestForOne,
}

/// When a child that ended by itself is started again: see the table at [`Supervisor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Unless its function returned without an error.
    Transient,
    /// Never; the supervisor forgets it.
    Temporary,
}

impl Supervisor {
    /// A supervisor of children that do not depend on each other.
    pub fn one_for_one() -> Self {
        Self::new(Strategy::OneForOne)
    }

    /// A supervisor of children none of which can go on without the others.
    pub fn one_for_all() -> Self {
        Self::new(Strategy::OneForAll)
    }

    /// A supervisor of children that depend on those added before them.
    pub fn rest_for_one() -> Self {
        Self::new(Strategy::RestForOne)
    }

    fn new(strategy: Strategy) -> Self {
        let limits = Limits {
            restarts: 3,
            period: Duration::from_secs(5),
            backoff_min: Duration::ZERO,
            backoff_max: Duration::ZERO,
            calm: None,
        };
        Supervisor {
            strategy,
            limits,
            children: Vec::new(),
        }
    }

    /// How many failures within `period` the supervisor mends; at one more it gives up. Three
    /// within five seconds if not given; failures of all children count together.
    pub fn intensity(mut self, restarts: usize, period: Duration) -> Self {
        self.limits.restarts = restarts;
        self.limits.period = period;
        self
    }

    /// A pause before a child is started again: `min` after its first failure, and twice as long
    /// after each further one, up to `max`. None if not given.
    ///
    /// A child that has run for a [calm](Self::calm) time starts from `min` again. With pauses
    /// longer than the period of the [intensity](Self::intensity), the supervisor never gives up.
    ///
    /// # Panics
    /// When `min` is longer than `max`.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        assert!(min <= max, "the first pause is not the longest one");
        self.limits.backoff_min = min;
        self.limits.backoff_max = max;
        self
    }

    /// How long a child has to run for its earlier failures not to count for the
    /// [backoff](Self::backoff). If not given, the longest pause or the period of the
    /// [intensity](Self::intensity), whichever is longer.
    pub fn calm(mut self, time: Duration) -> Self {
        self.limits.calm = Some(time);
        self
    }

    /// Adds a child: its name, when it is started again, and how it is started.
    ///
    /// For a supervisor as a child, see [`spawn`](Self::spawn).
    ///
    /// # Panics
    /// When there is a child of that name.
    pub fn child<M, R>(
        mut self,
        id: impl Into<Arc<str>>,
        restart: Restart,
        start: impl Fn() -> Coro<M, R> + Send + 'static,
    ) -> Self
    where
        M: Send + 'static,
        R: Send + 'static,
    {
        let id = id.into();
        assert!(
            self.children.iter().all(|(other, ..)| *other != id),
            "there is a child {id:?} already"
        );
        self.children.push((id, restart, Work::new(start)));
        self
    }

    /// Starts the supervisor, which starts its children.
    ///
    /// # Panics
    /// Outside a tokio runtime. In one without a timer the supervisor ends with that panic.
    pub fn start(self) -> SupervisorHandle {
        self.spawn(build()).address().into()
    }

    /// Starts the supervisor as a coroutine with these options, of which its grace period is
    /// ignored: it has as long as its children take.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use coros_core::{Context, Restart, Supervisor, SupervisorHandle, build, spawn};
    ///
    /// fn storage() -> Supervisor {
    ///     let disk = || spawn(async |mut me: Context<String>| { me.receive().await });
    ///     Supervisor::one_for_all().child("disk", Restart::Permanent, disk)
    /// }
    ///
    /// let root = Supervisor::one_for_one()
    ///     .child("storage", Restart::Permanent, || storage().spawn(build().name("storage")))
    ///     .start();
    /// let storage = SupervisorHandle::from(root.child("storage").await.unwrap());
    /// assert!(storage.child::<String>("disk").await.is_ok());
    /// root.stop().await;
    /// assert!(storage.children().await.is_err(), "it was stopped with its parent");
    /// # }
    /// ```
    ///
    /// # Panics
    /// As [`Builder::spawn`]. In a runtime without a timer the supervisor ends with that panic.
    pub fn spawn(self, options: Builder) -> Coro<Supervision, ()> {
        let mut plan = Plan::new(self.strategy, self.limits);
        for (id, restart, work) in self.children {
            let added = plan.add(id, restart, work);
            assert!(added.is_ok(), "the names of children differ");
        }
        options
            .grace(Duration::MAX)
            .spawn_fallible(|me| run::supervise(me, plan))
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("strategy", &self.strategy)
            .field("limits", &self.limits)
            .field(
                "children",
                &self.children.iter().map(|it| &it.0).collect::<Vec<_>>(),
            )
            .finish()
    }
}

/// What a supervisor receives. Made by [`SupervisorHandle`].
pub struct Supervision(Message);

enum Message {
    /// The child of that start has ended.
    Ended(u64, Exit),
    Find(Arc<str>, Reply<Found>),
    List(Reply<Vec<ChildInfo>>),
    Add(Arc<str>, Restart, Work, Reply<Answer>),
    Stop(Arc<str>, Reply<Answer>),
    Restart(Arc<str>, Reply<Answer>),
}

impl Supervision {
    fn ended(run: u64, exit: Exit) -> Self {
        Supervision(Message::Ended(run, exit))
    }
}

impl fmt::Debug for Supervision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Supervision")
    }
}

/// Why a supervisor failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "child {child:?} {exit}, after {restarts} restart{} within {period:?}",
    if *.restarts == 1 { "" } else { "s" }
)]
struct GaveUp {
    child: Arc<str>,
    exit: Exit,
    restarts: usize,
    period: Duration,
}
