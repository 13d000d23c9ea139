//! Where calls run: on this machine, or on a node, which is a process that lends it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use coros::cluster::daemon::Daemon;
use coros::cluster::{Event, SchedulerBuilder};
use coros::net::{LocateError, Secret};
use coros::{Address, Node, Scheduler};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

/// Processes that run one call at a time.
pub(crate) const WORKERS: usize = 2;
/// What does not happen within this does not happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// Under this name a daemon is found.
const DAEMON: &str = "coros.node";

/// Where calls run.
pub(crate) enum Place {
    Local,
    Node(NodeProcess),
}

impl Place {
    /// A node that has never seen a program.
    pub(crate) async fn node() -> Result<Self> {
        let started = tokio::task::spawn_blocking(NodeProcess::start);
        Ok(Place::Node(started.await??))
    }

    /// A scheduler, and the processes of its workers, all of which take calls.
    pub(crate) async fn scheduler(&self) -> Result<(Scheduler, Vec<u32>)> {
        let scheduler = match self {
            Place::Local => local(),
            Place::Node(node) => cluster(node.endpoint, Secret::load(node.secret())?).await?,
        };
        let scheduler = scheduler.start().await?;
        let mut events = scheduler.events();
        let mut pids = Vec::new();
        let ready = async {
            while pids.len() < WORKERS {
                match events.next().await {
                    Some(Event::WorkerReady { pid, .. }) => pids.push(pid),
                    Some(_) => {}
                    None => bail!("the scheduler has ended"),
                }
            }
            Ok(())
        };
        let ready = tokio::time::timeout(LIMIT, ready).await;
        ready.context("not all workers have come")??;
        Ok((scheduler, pids))
    }

    /// How this program is started again, to run one call there.
    pub(crate) fn first_result(&self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("first-result");
        if let Place::Node(node) = self {
            command.arg(node.endpoint.to_string());
            command.env(Secret::VARIABLE, node.secret());
        }
        Ok(command)
    }
}

/// On this machine.
pub(crate) fn local() -> SchedulerBuilder {
    Scheduler::local().workers(WORKERS)
}

/// On the node that listens there, which is known when this resolves.
pub(crate) async fn cluster(endpoint: SocketAddr, secret: Secret) -> Result<SchedulerBuilder> {
    let node = Node::builder().secret(secret).peer(endpoint);
    let node = node.build().await?;
    // A daemon is of a type of its own: that it is of another than this is how it is seen to be there.
    match node.locate_timeout::<Address<()>>(DAEMON, LIMIT).await {
        Ok(_) | Err(LocateError::WrongType(_)) => Ok(Scheduler::cluster(&node)),
        Err(error) => Err(error.into()),
    }
}

/// The process of a node, with a folder and a secret of its own. Killed when it is dropped.
pub(crate) struct NodeProcess {
    process: Child,
    endpoint: SocketAddr,
    folder: TempDir,
}

impl NodeProcess {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let secret = folder.path().join("secret");
        Secret::load_or_create(&secret)?;
        let mut process = Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg(folder.path().join("node"))
            .env(Secret::VARIABLE, secret)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().context("stdout is piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let endpoint = line.trim().parse().context("the node has not started")?;
        Ok(NodeProcess {
            process,
            endpoint,
            folder,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    fn secret(&self) -> std::path::PathBuf {
        self.folder.path().join("secret")
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // Its standard input ends, so it does, and leaves nothing behind.
        drop(self.process.stdin.take());
        self.process.wait().ok();
    }
}

/// Is a node, until standard input ends.
pub(crate) async fn serve(folder: &Path) -> Result<()> {
    let daemon = Daemon::builder(Node::builder().name("bench"), folder);
    let daemon = daemon.slots(WORKERS).start().await?;
    let endpoint = daemon.node().listening_on().context("it listens")?;
    println!("{endpoint}");
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    daemon.close().await;
    Ok(())
}
