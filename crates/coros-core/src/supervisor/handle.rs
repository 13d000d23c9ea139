//! Talking to a supervisor.

use std::any::{Any, type_name};
use std::sync::Arc;

use super::child::Work;
use super::{Message, Restart, Supervision};
use crate::{Address, Coro, Exit, Reply};

/// What a supervisor answers to a request about a child.
pub(super) type Answer = Result<(), ChildError>;
/// A child's address, and the type of its messages.
pub(super) type Found = Result<(Box<dyn Any + Send>, &'static str), ChildError>;

/// Asks a supervisor about its children, and tells it what to do with them.
///
/// A cheap handle, to be cloned: it is the supervisor's address. Dropping it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupervisorHandle {
    address: Address<Supervision>,
}

impl SupervisorHandle {
    /// The present address of a child. After a restart the child has another one, so ask again
    /// when a send fails; or [register](Address::register) the child under a name.
    ///
    /// # Errors
    /// [`ChildError`]: unknown, not running at the moment, or not receiving `M`.
    ///
    /// # Cancel safety
    /// Dropping the future is harmless.
    pub async fn child<M: Send + 'static>(&self, id: &str) -> Result<Address<M>, ChildError> {
        let id: Arc<str> = id.into();
        let (address, receives) = self
            .ask(|reply| Message::Find(Arc::clone(&id), reply))
            .await??;
        match address.downcast() {
            Ok(address) => Ok(*address),
            Err(_) => Err(ChildError::WrongType {
                id,
                receives,
                wanted: type_name::<M>(),
            }),
        }
    }

    /// All children, in the order in which they are started.
    ///
    /// # Errors
    /// [`ChildError::SupervisorEnded`].
    ///
    /// # Cancel safety
    /// Dropping the future is harmless.
    pub async fn children(&self) -> Result<Vec<ChildInfo>, ChildError> {
        self.ask(Message::List).await
    }

    /// Adds a child after the others and starts it.
    ///
    /// Returns when it has been started; if that fails, after it has been started again.
    ///
    /// # Errors
    /// [`ChildError::Exists`] when the supervisor has a child of that name;
    /// [`ChildError::NotRunning`] when it cannot be started and is not to be started again.
    ///
    /// # Cancel safety
    /// Once it has been polled, dropping the future does not take the request back.
    pub async fn start_child<M, R>(
        &self,
        id: impl Into<Arc<str>>,
        restart: Restart,
        start: impl Fn() -> Coro<M, R> + Send + 'static,
    ) -> Result<(), ChildError>
    where
        M: Send + 'static,
        R: Send + 'static,
    {
        let (id, work) = (id.into(), Work::new(start));
        self.ask(move |reply| Message::Add(id, restart, work, reply))
            .await?
    }

    /// Terminates a child, with its grace period, and leaves it stopped until
    /// [`restart_child`](Self::restart_child); a temporary one is forgotten. No other child is
    /// stopped or started by that. Returns when it has ended.
    ///
    /// # Errors
    /// [`ChildError::Unknown`].
    ///
    /// # Cancel safety
    /// Once it has been polled, dropping the future does not take the request back.
    pub async fn terminate_child(&self, id: &str) -> Result<(), ChildError> {
        self.ask(|reply| Message::Stop(id.into(), reply)).await?
    }

    /// Terminates a child if it runs, and starts it. No other child is stopped or started by
    /// that, and it does not count as a failure. Returns when it has been started.
    ///
    /// # Errors
    /// [`ChildError::Unknown`]; [`ChildError::NotRunning`] when somebody else terminates it
    /// meanwhile.
    ///
    /// # Cancel safety
    /// Once it has been polled, dropping the future does not take the request back.
    pub async fn restart_child(&self, id: &str) -> Result<(), ChildError> {
        self.ask(|reply| Message::Restart(id.into(), reply)).await?
    }

    /// Stops all children, the last started first, and then the supervisor; waits until it has
    /// ended.
    ///
    /// # Cancel safety
    /// Once it has been polled, dropping the future does not keep the supervisor running.
    pub async fn stop(&self) -> Exit {
        self.address.terminate();
        self.exit().await
    }

    /// Waits until the supervisor has ended, and says why: [`Exit::Finished`] when it was
    /// stopped, [`Exit::Failed`] when it gave up.
    ///
    /// # Cancel safety
    /// Dropping the future is harmless.
    pub async fn exit(&self) -> Exit {
        self.address.exit().await
    }

    /// The supervisor's address, to monitor it, or to give it to others.
    #[must_use]
    pub fn address(&self) -> &Address<Supervision> {
        &self.address
    }

    async fn ask<T: Send + 'static>(
        &self,
        message: impl FnOnce(Reply<T>) -> Message,
    ) -> Result<T, ChildError> {
        let answer = self.address.ask(|reply| Supervision(message(reply))).await;
        answer.map_err(|_| ChildError::SupervisorEnded)
    }
}

/// From the address of a supervisor that runs as the child of another.
impl From<Address<Supervision>> for SupervisorHandle {
    fn from(address: Address<Supervision>) -> Self {
        SupervisorHandle { address }
    }
}

/// A child as its supervisor sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildInfo {
    /// Its name.
    pub id: Arc<str>,
    /// When it is started again.
    pub restart: Restart,
    /// Whether it runs.
    pub state: ChildState,
    /// How often it has been started again.
    pub restarts: u64,
    /// How it ended last.
    pub last_exit: Option<Exit>,
    /// The number of the coroutine, if it runs.
    pub coroutine: Option<u64>,
}

/// Whether a child runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildState {
    /// It runs.
    Running,
    /// It is going to be started: after others, or after a pause.
    Starting,
    /// It has been, or is going to be, terminated by the supervisor, and has not ended.
    Stopping,
    /// It has ended and stays so.
    Stopped,
}

/// Why a supervisor cannot do what was asked with a child.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// There is no child of that name.
    #[error("the supervisor has no child {id:?}")]
    Unknown {
        /// The name.
        id: Arc<str>,
    },
    /// There is a child of that name.
    #[error("the supervisor has a child {id:?} already")]
    Exists {
        /// The name.
        id: Arc<str>,
    },
    /// The child does not run.
    #[error("child {id:?} does not run")]
    NotRunning {
        /// The name.
        id: Arc<str>,
    },
    /// The child takes other messages.
    #[error("child {id:?} takes messages of type {receives}, not {wanted}")]
    WrongType {
        /// The name.
        id: Arc<str>,
        /// The type of its messages.
        receives: &'static str,
        /// The type asked for.
        wanted: &'static str,
    },
    /// The supervisor has ended, or ended meanwhile.
    #[error("the supervisor has ended")]
    SupervisorEnded,
}
