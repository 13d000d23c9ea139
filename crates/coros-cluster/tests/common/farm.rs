//! Daemons in this process, and schedulers that use them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use coros::cluster::daemon::{Daemon, DaemonBuilder};
use coros::cluster::{Event, Events, SchedulerBuilder};
use coros::net::{Builder, Node, Secret};
use coros::{Address, Context, Scheduler};
use tokio::sync::{mpsc, watch};

/// A network with daemons, each in a folder of its own.
pub(crate) struct Farm {
    pub(crate) secret: Secret,
    pub(crate) folders: tempfile::TempDir,
    pub(crate) daemons: Vec<Daemon>,
}

impl Farm {
    pub(crate) fn new() -> Self {
        Farm {
            secret: Secret::random(),
            folders: tempfile::tempdir().unwrap(),
            daemons: Vec::new(),
        }
    }

    /// A farm with so many slots on each of its nodes, `farm-1`, `farm-2`, …
    pub(crate) async fn of<const N: usize>(slots: [usize; N]) -> Self {
        let mut farm = Farm::new();
        for slots in slots {
            farm.add(slots).await;
        }
        farm
    }

    pub(crate) fn builder(&self, name: &str) -> Builder {
        Node::builder().name(name).secret(self.secret.clone())
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folders.path().join(name)
    }

    /// A daemon of which [`Changes`] tell.
    pub(crate) fn daemon(&self, name: &str) -> DaemonBuilder {
        let daemon = Daemon::builder(self.builder(name), self.folder(name));
        daemon.on_event(|_| changed())
    }

    pub(crate) async fn add(&mut self, slots: usize) {
        let name = format!("farm-{}", self.daemons.len() + 1);
        let daemon = self.daemon(&name).slots(slots);
        self.daemons.push(daemon.start().await.unwrap());
    }

    /// Somebody who knows where they are.
    pub(crate) fn knows_all(&self, name: &str) -> Builder {
        let daemons = self.daemons.iter();
        let peers = daemons.map(|daemon| endpoint(daemon.node()));
        peers.fold(self.builder(name), Builder::peer)
    }

    pub(crate) async fn client(&self) -> Node {
        self.knows_all("desk").build().await.unwrap()
    }

    pub(crate) async fn scheduler(&self) -> Scheduler {
        let scheduler = Scheduler::cluster(&self.client().await);
        quiet(scheduler).start().await.unwrap()
    }

    pub(crate) async fn close(self) {
        for daemon in &self.daemons {
            daemon.close().await;
        }
    }
}

pub(crate) fn endpoint(node: &Node) -> SocketAddr {
    node.location().endpoint.unwrap()
}

pub(crate) fn quiet(scheduler: SchedulerBuilder) -> SchedulerBuilder {
    scheduler.stderr(|_, _| {})
}

/// The node in the name of a worker.
pub(crate) fn node_of(worker: &str) -> String {
    let (_, node) = worker.split_once('@').unwrap();
    node.to_owned()
}

/// Waits until so many workers are ready; their names.
pub(crate) async fn workers(events: &mut Events, n: usize) -> BTreeSet<Arc<str>> {
    let mut names = BTreeSet::new();
    while names.len() < n {
        match events.next().await.unwrap() {
            Event::WorkerReady { name, .. } => drop(names.insert(name)),
            Event::WorkerLost { name, .. } | Event::WorkerClosed { name, .. } => {
                names.remove(&name);
            }
            _ => {}
        }
    }
    names
}

/// Waits for an event that is meant.
pub(crate) async fn until<T>(events: &mut Events, meant: impl Fn(&Event) -> Option<T>) -> T {
    loop {
        if let Some(it) = meant(&events.next().await.unwrap()) {
            return it;
        }
    }
}

/// Where [`Work`] is told.
pub(crate) fn told<M: Send + 'static>() -> (Address<M>, mpsc::UnboundedReceiver<M>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let coro = coros::spawn(async move |mut me: Context<M>| {
        while let Some(message) = me.receive().await {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    (coro.address(), receiver)
}

static CHANGED: LazyLock<watch::Sender<()>> = LazyLock::new(|| watch::Sender::new(()));

/// Something has happened at a daemon or a service of this process.
pub(crate) fn changed() {
    CHANGED.send_replace(());
}

/// Passes on what happens at a daemon or a service, for one that has somebody else to tell too.
pub(crate) fn passing<E: Clone>(to: mpsc::UnboundedSender<E>) -> impl Fn(&E) {
    move |event| {
        let _ = to.send(event.clone());
        changed();
    }
}

/// What happens at daemons and services, for whoever waits until one of them is as it should be: made before it is
/// looked at.
pub(crate) struct Changes(watch::Receiver<()>);

impl Changes {
    pub(crate) fn from_now() -> Self {
        Changes(CHANGED.subscribe())
    }

    /// Waits for the next.
    pub(crate) async fn next(&mut self) {
        self.0.changed().await.unwrap();
    }
}

/// How many slots each client of a daemon has.
pub(crate) async fn lent(daemon: &Daemon) -> Vec<usize> {
    let status = daemon.status().await.unwrap();
    status.clients.iter().map(|client| client.lent).collect()
}

/// Waits until the clients of a daemon have so many slots each.
pub(crate) async fn lends(daemon: &Daemon, wanted: &[usize]) {
    let mut changes = Changes::from_now();
    while lent(daemon).await != wanted {
        changes.next().await;
    }
}

/// Waits until a daemon has no client.
pub(crate) async fn idle(daemon: &Daemon) {
    lends(daemon, &[]).await;
}

#[coros::remote]
pub(crate) fn square(n: u64) -> u64 {
    n * n
}

/// Has a node get a program, of a scheduler, that cannot run there; and then one more that can.
pub(crate) async fn gets_the_program_that_it_can_run(
    farm: &Farm,
    scheduler: impl Fn() -> SchedulerBuilder,
) {
    let foreign = foreign(farm.folders.path());
    let scheduler = || quiet(scheduler().program(&foreign));
    let impatient = scheduler().patience(Duration::from_millis(1500));
    let error = impatient.start().await.unwrap_err().to_string();
    assert!(
        error.contains("riscv64") || error.contains("x86_64"),
        "{error}"
    );
    let scheduler = scheduler().binary(std::env::current_exe().unwrap());
    let scheduler = scheduler.start().await.unwrap();
    assert_eq!(scheduler.run(square(3)).await, Ok(9));
    scheduler.close().await.unwrap();
}

/// A copy of this program that says that it is for another processor.
fn foreign(folder: &Path) -> PathBuf {
    let mut program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let other: u16 = if cfg!(target_arch = "riscv64") {
        62
    } else {
        243
    };
    program[18..20].copy_from_slice(&other.to_le_bytes());
    let path = folder.join("foreign");
    std::fs::write(&path, program).unwrap();
    path
}
