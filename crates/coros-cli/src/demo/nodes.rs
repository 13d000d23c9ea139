//! The nodes that are to do the work, and the way to them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use coros::Scheduler;
use coros::cluster::placement::{Decision, Placement};
use coros::cluster::{Event, SchedulerBuilder};
use coros::net::{Location, Node};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout_at};

use crate::flags::DemoFlags;
use crate::flags::network::{Around, Network};
use crate::network;

/// How long nodes are waited for once one is ready: others may be about to have the program, or have
/// all their cores lent to somebody else.
const SETTLE: Duration = Duration::from_secs(3);

pub(super) struct Nodes {
    /// This process on their network.
    node: Node,
    given: Arc<[Location]>,
}

impl Nodes {
    /// Links with those that were given; one that is there is enough.
    pub(super) async fn join(flags: &DemoFlags) -> anyhow::Result<Self> {
        let peers = flags.nodes.iter().map(|at| at.0.clone());
        let network = Network {
            around: Around {
                peer: peers.collect(),
                discover: false,
            },
            identity: flags.identity.clone(),
        };
        let builder = network::member(&network).await?;
        let node = network::start(builder).await?;
        let hint = "does `coros node` run there, with the same secret";
        let given = network::join(&node, &network.around, hint).await?;
        let given = given.into();
        Ok(Nodes { node, given })
    }

    /// A scheduler on those and on no others.
    pub(super) fn scheduler(&self) -> anyhow::Result<SchedulerBuilder> {
        let given = Arc::clone(&self.given);
        let placement = Placement::builder().allocate(move |node, decision| {
            let is_it = |at: &Location| {
                let ip = at.endpoint.map(|endpoint| endpoint.ip());
                *at.name == *node.name && ip.is_none_or(|ip| node.addresses.contains(&ip))
            };
            match given.iter().any(is_it) {
                true => decision,
                false => Decision::exclude("it is not among --nodes"),
            }
        });
        Ok(Scheduler::cluster(&self.node).placement(placement.build()?))
    }

    /// Whether an event is that a node is not used which nobody wants to be.
    pub(super) fn stranger(&self) -> impl Fn(&Event) -> bool + Send + use<> {
        let given = Arc::clone(&self.given);
        move |event| match event {
            Event::NodeNotUsed { endpoint, .. } => !given.iter().any(|at| at.endpoint == *endpoint),
            _ => false,
        }
    }

    /// Waits until there is a worker on each, or it is known that there is none.
    pub(super) async fn settle(&self, happens: &mut UnboundedReceiver<Event>) {
        let mut awaited: HashSet<&str> = self.given.iter().map(|at| &*at.name).collect();
        let deadline = Instant::now() + SETTLE;
        while !awaited.is_empty()
            && let Ok(Some(event)) = timeout_at(deadline, happens.recv()).await
        {
            let settled = match &event {
                Event::WorkerReady { name, .. } => name.split_once('@').map(|(_, node)| node),
                Event::NodeNotUsed { name, .. }
                | Event::NodeSuspended { name }
                | Event::NodeDraining { name }
                | Event::NodeLost { name, .. } => Some(&**name),
                _ => None,
            };
            if let Some(name) = settled {
                awaited.remove(name);
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn leave(self) {
        self.node.close().await;
    }
}
