//! The daemon of a node: lends this machine to programs that have never been here.
//!
//! [`Daemon`] is what `coros node` runs. It is a node of the network of its clients and registered
//! there; a client finds it, sends the program that it is itself, unless that is here already, and is
//! lent *slots*, each of which is leave to run one worker process. What comes from those that
//! run belongs to their client, who has a network of his own with them: the daemon
//! sees neither calls nor messages, and workers never see the secret of the daemons' network.
//!
//! | part | what it is |
//! |---|---|
//! | `keeper` | the coroutine that clients find; opens a desk for each |
//! | `desk` | the coroutine that has one client's program and workers |
//! | `leases` | who may use how many slots: a state machine |
//! | `fetch` | how a program comes to be here |
//! | `folder` | the folders in which workers run |
//! | `protocol` | what all of them and the clients say to each other |

mod desk;
mod fetch;
pub(crate) mod folder;
mod keeper;
pub(crate) mod leases;
pub(crate) mod protocol;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use coros_core::Address;
use coros_net::{Folder, Node, NodeError, RegisterError};

use self::folder::WorkRoot;
use self::keeper::Keeper;
use self::protocol::{NAME, Own, ToDaemon};
use crate::blocking::blocking;
use crate::machine::{Label, Machine};
use crate::store::{self, Store};

/// How much programs and files of clients may take on disk, unless told otherwise: 10 GiB.
const CACHE: u64 = 10 << 30;
/// How long workers and their folders may take to go at the end.
const GRACE: Duration = Duration::from_secs(10);

/// A node that runs workers for others. Dropping it ends them; [`close`](Daemon::close) waits for
/// that.
#[derive(Debug)]
pub struct Daemon {
    node: Node,
    keeper: Address<ToDaemon>,
}

/// What a daemon is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// How many slots there are.
    pub slots: usize,
    /// How many of them are lent.
    pub lent: usize,
    /// How many clients have a desk.
    pub clients: usize,
}

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The folder for programs cannot be used: why, and what to do.
    #[error("{0}")]
    Store(String),
    /// The folder for workers cannot be made.
    #[error("cannot make the folder {}, in which workers run: {why}", .path.display())]
    Work {
        /// The folder.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// The node cannot be started.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// It cannot be found by others.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The daemon has ended.
    #[error("the daemon has ended")]
    Ended,
}

/// Options of a daemon: see [`Daemon::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `start`"]
pub struct DaemonBuilder {
    node: coros_net::Builder,
    folder: PathBuf,
    slots: Option<usize>,
    cache: u64,
    labels: Vec<Label>,
}

impl Daemon {
    /// A daemon with a node that is built so, and a folder of its own, in which it keeps programs and
    /// runs workers. The folder is made if it is missing; no other daemon may use it.
    ///
    /// What `node` says of [files](coros_net::Builder::files) is replaced.
    pub fn builder(node: coros_net::Builder, folder: impl Into<PathBuf>) -> DaemonBuilder {
        DaemonBuilder {
            node,
            folder: folder.into(),
            slots: None,
            cache: CACHE,
            labels: Vec::new(),
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
    pub async fn status(&self) -> Result<Status, DaemonError> {
        let status = self.keeper.ask(|reply| ToDaemon::Own(Own::Status(reply)));
        status.await.map_err(|_| DaemonError::Ended)
    }

    /// From now on there are so many slots. Of those that are lent beyond that, each is asked back, and
    /// comes when its worker has nothing left to do: with 0 the node is suspended.
    pub fn resize(&self, slots: usize) {
        // One that has ended has none.
        let _ = self.keeper.send(ToDaemon::Own(Own::Resize(slots)));
    }

    /// Takes no new clients, asks back all slots, and waits until none is lent: until all calls that
    /// run here have ended.
    ///
    /// Cancel safe: what has been asked back stays so.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn drain(&self) -> Result<(), DaemonError> {
        let drained = self.keeper.ask(|reply| ToDaemon::Own(Own::Drain(reply)));
        drained.await.map_err(|_| DaemonError::Ended)
    }

    /// Kills all workers, waits until nothing is left of them, and closes the node.
    ///
    /// Cancel safe: once polled, it ends.
    pub async fn close(&self) {
        self.node.unregister(NAME);
        self.keeper.terminate();
        self.keeper.exit().await;
        self.node.close().await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.keeper.terminate();
    }
}

impl DaemonBuilder {
    /// How many workers run at a time, each on a core: one for each core unless told otherwise.
    pub fn slots(mut self, n: usize) -> Self {
        self.slots = Some(n);
        self
    }

    /// How many bytes programs and files may take, with those that are not in use: 10 GiB unless told
    /// otherwise. Those used longest ago go first.
    pub fn cache(mut self, bytes: u64) -> Self {
        self.cache = bytes;
        self
    }

    /// What clients can choose it by.
    pub fn labels(mut self, labels: impl IntoIterator<Item = Label>) -> Self {
        self.labels.extend(labels);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the folder cannot be used, or the node cannot be started.
    pub async fn start(self) -> Result<Daemon, DaemonError> {
        let DaemonBuilder {
            node,
            folder,
            slots,
            cache,
            labels,
        } = self;
        let store = make(&folder).and_then(|()| std::path::absolute(&folder));
        let folder = store.map_err(|why| DaemonError::Store(cannot_make(&folder, &why)))?;
        let store = Store::open(&folder.join("store"), cache).await;
        let store = store.map_err(|why: store::OpenError| DaemonError::Store(why.to_string()))?;
        // The lock of the store keeps others out of this one too.
        let path = folder.join("work");
        let work = WorkRoot::open(&path).await;
        let work = work.map_err(|why| DaemonError::Work { path, why })?;
        let machine = blocking(move || Machine::look(labels)).await;
        let slots = slots.unwrap_or(machine.cores.get() as usize);

        let incoming = Folder::new(store.incoming()).largest(cache).total(cache);
        let node = node.files(incoming).build().await?;
        let keeper = Keeper::new(machine, folder, slots, store, work);
        let keeper = coros_core::build()
            .name(NAME)
            .daemon()
            .grace(GRACE)
            .spawn(move |me| keeper.run(me))
            .address();
        let daemon = Daemon { node, keeper };
        daemon.node.register(NAME, &daemon.keeper)?;
        Ok(daemon)
    }
}

fn make(folder: &std::path::Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

fn cannot_make(folder: &std::path::Path, why: &io::Error) -> String {
    format!("cannot make the folder {}: {why}", folder.display())
}
