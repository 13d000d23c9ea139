//! The scheduler as a service: runs the calls of many clients on the nodes of a network.
//!
//! [`Service`] is what `coros scheduler` runs. It is a node of the network of its clients and of the
//! [daemons](crate::daemon), and registered there. A client finds it ([`Scheduler::at`]), sends the program
//! that it is itself, unless that is here already, and hands its calls over; the service has them run on the
//! nodes and gives back what came of them. Nothing of a client's program runs in the service's process.
//!
//! Who needs one: several clients that want the nodes in turn, each alone ([`exclusive`]), or by
//! [priority]; and clients that the nodes cannot reach well, or that have better things to do than to keep
//! workers busy. Without, each client has a scheduler of its own ([`Scheduler::cluster`]), and they share
//! the nodes as well.
//!
//! | part | what it is |
//! |---|---|
//! | `reception` | the coroutine that clients find; has a tenant for each |
//! | `tenant` | the coroutine that has one client's program and its scheduler |
//! | `window`, `backlog` | how much it has of a client, in calls and in what came of them: an account, a state machine |
//! | `lookout` | the nodes that there are, and what happens to them: a state machine |
//! | `queue` | whose turn it is: a state machine |
//! | `protocol` | what all of them and the clients say to each other |
//! | `event` | what happens, for whoever wants to know |
//!
//! [`Scheduler::at`]: crate::Scheduler::at
//! [`Scheduler::cluster`]: crate::Scheduler::cluster
//! [`exclusive`]: crate::SchedulerBuilder::exclusive
//! [priority]: crate::SchedulerBuilder::priority

mod backlog;
mod event;
mod lookout;
pub(crate) mod protocol;
mod queue;
mod reception;
mod tenant;
pub(crate) mod window;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coros_core::{Address, Reply};
use coros_net::{Location, Node, NodeError, RegisterError};

pub use self::event::ServiceEvent;
use self::protocol::{NAME, Own, ToService};
use self::reception::{CLOSE_LIMIT, Reception};
use crate::daemon::fetch;
use crate::farewell;
use crate::placement::NodeView;
use crate::store::{self, Store};
use crate::told::Told;

#[cfg(test)]
mod tests;

/// How long what runs for clients that are not there any more may take to end, unless told otherwise.
const GRACE: Duration = Duration::from_secs(10);

/// A scheduler for many clients. Dropping it, or the end of the program by Ctrl-C, closes it;
/// [`close`](Service::close) waits for that.
#[derive(Debug)]
pub struct Service {
    node: Node,
    reception: Address<ToService>,
    store: Store,
}

/// What a service is doing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// It is about to end: see [`drain`](Service::drain).
    pub draining: bool,
    /// The nodes that it sees, by name.
    pub nodes: Vec<NodeStatus>,
    /// What clients have here, in the order in which they came.
    pub computations: Vec<ComputationStatus>,
}

/// A node as a service sees it, some seconds ago at most.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Where it listens.
    pub endpoint: Option<SocketAddr>,
    /// What it is called, what it has, and how busy it is.
    pub node: Arc<NodeView>,
    /// How many slots there are when it is not suspended.
    pub slots: usize,
    /// How many are lent, to whomever.
    pub lent: usize,
    /// It lends none at present.
    pub suspended: bool,
    /// It is about to end.
    pub draining: bool,
}

/// What a client has at a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComputationStatus {
    /// Its number, never used twice.
    pub id: u64,
    /// The client's node.
    pub from: Location,
    /// It wants all nodes for itself.
    pub exclusive: bool,
    /// The higher goes first.
    pub priority: i32,
    /// It has its turn. Else its program is on its way, or others go before it.
    pub runs: bool,
    /// How many workers it has, by the name of their node.
    pub workers: BTreeMap<Arc<str>, usize>,
    /// How many of its calls run, as far as is known.
    pub running: usize,
    /// How many of its calls wait here. The client may have more.
    pub waiting: usize,
}

/// Why there is no service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The folder for programs cannot be used: why, and what to do.
    #[error("{0}")]
    Store(String),
    /// What programs and files may take makes no sense: why, and what would.
    #[error("{0}")]
    Room(String),
    /// The node cannot be started.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// It cannot be found by others.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The service has ended.
    #[error("the scheduler has ended")]
    Ended,
}

/// Options of a service: see [`Service::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `start`"]
pub struct ServiceBuilder {
    node: coros_net::Builder,
    folder: PathBuf,
    cache: u64,
    largest: Option<u64>,
    grace: Duration,
    told: Told<ServiceEvent>,
}

impl Service {
    /// A service with a node that is built so, and a folder of its own, in which it keeps programs. The
    /// folder is made if it is missing; no other service, and no daemon, may use it.
    ///
    /// The node must listen. What `node` says of [files](coros_net::Builder::files) is replaced.
    pub fn builder(node: coros_net::Builder, folder: impl Into<PathBuf>) -> ServiceBuilder {
        ServiceBuilder {
            node,
            folder: folder.into(),
            cache: store::USUAL_LIMIT,
            largest: None,
            grace: GRACE,
            told: Told::default(),
        }
    }

    /// The node on the network of its clients.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// How it stands.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn status(&self) -> Result<Status, ServiceError> {
        self.ask(Own::Status).await
    }

    /// Takes no new clients, and waits until those that are here have left.
    ///
    /// Cancel safe: nobody is taken then either.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn drain(&self) -> Result<(), ServiceError> {
        self.ask(Own::Drain).await
    }

    /// Resolves when it has ended: closed, or by itself, as it would after a panic.
    ///
    /// Cancel safe.
    pub async fn ended(&self) {
        self.reception.exit().await;
    }

    /// Whether there is a service at a node, as far as another node of its network knows: one hears of it a moment after
    /// they are linked.
    #[must_use]
    pub fn is_at(there: &Location, node: &Node) -> bool {
        let mut services = node.locate_all::<Address<ToService>>(NAME).into_iter();
        services.any(|(at, _)| at.node == there.node)
    }

    async fn ask<T: Send + 'static>(
        &self,
        f: impl FnOnce(Reply<T>) -> Own,
    ) -> Result<T, ServiceError> {
        let answer = self.reception.ask(|reply| ToService::Own(f(reply)));
        answer.await.map_err(|_| ServiceError::Ended)
    }

    /// Ends the workers of all clients, waits until they are gone, and closes the node. Clients wait
    /// for another service, or for this one to come back.
    ///
    /// Workers have [their grace](ServiceBuilder::grace), and all the rest of what clients have here some 10
    /// seconds; of a client for which that is not enough [`ServiceEvent::ClientLeft`] tells.
    ///
    /// Cancel safe: once polled, it ends.
    pub async fn close(&self) {
        self.node.unregister(NAME);
        self.reception.terminate();
        self.reception.exit().await;
        self.node.close().await;
        self.store.release();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.reception.terminate();
    }
}

impl ServiceBuilder {
    /// How many bytes programs and files may take, with those that are not in use: 10 GiB unless told
    /// otherwise, and 1 MiB at least. Those used longest ago go first.
    pub fn cache(mut self, bytes: u64) -> Self {
        self.cache = bytes;
        self
    }

    /// How many bytes one program or file may have: as many as [all](Self::cache) unless told otherwise, which is the
    /// most, and 1 MiB at least.
    pub fn largest_file(mut self, bytes: u64) -> Self {
        self.largest = Some(bytes);
        self
    }

    /// How long workers of a client that is gone, and those of all clients at the end, may take to end by
    /// themselves: 10 seconds unless told otherwise. A client's own
    /// [grace](crate::SchedulerBuilder::grace) holds if it is less, and as long as the client waits for
    /// them.
    pub fn grace(mut self, limit: Duration) -> Self {
        self.grace = limit;
        self
    }

    /// Called with every [`ServiceEvent`], from the first. It runs in the service's coroutines: it must
    /// not block, but may send to an address. If it panics, it is not called any more, and the log says so.
    pub fn on_event(mut self, f: impl Fn(&ServiceEvent) + Send + Sync + 'static) -> Self {
        self.told = Told::new(f);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the folder cannot be used, what may be kept there makes no sense, or the node cannot be started.
    pub async fn start(self) -> Result<Service, ServiceError> {
        let largest = fetch::largest(self.largest, self.cache).map_err(ServiceError::Room)?;
        let (_, store) = store::open_in(&self.folder, self.cache)
            .await
            .map_err(ServiceError::Store)?;
        let incoming = store.folder(largest, self.cache);
        let node = self.node.files(incoming).build().await?;
        let grace = self.grace + 2 * CLOSE_LIMIT;
        let reception = Reception::new(node.clone(), store.clone(), largest, self.grace, self.told);
        let reception = coros_core::build()
            .name(NAME)
            .daemon()
            // It looks at the time itself.
            .grace(grace)
            .spawn(move |me| reception.run(me))
            .address();
        farewell::closes_after(&node, &reception, grace);
        let service = Service {
            node,
            reception,
            store,
        };
        service.node.register(NAME, &service.reception)?;
        Ok(service)
    }
}
