//! The nodes that are to do the work, and the way to them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use coros::Scheduler;
use coros::cluster::daemon::Daemon;
use coros::cluster::placement::{Decision, NodeView, Placement};
use coros::cluster::service::Service;
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

/// How often it looks into the names that this process knows; asking nobody.
const LOOK: Duration = Duration::from_millis(100);

pub(super) struct Nodes {
    /// This process on their network.
    node: Node,
    given: Given,
}

/// Who was given.
enum Given {
    /// Those that do the work, and no others.
    Nodes(Arc<[Location]>),
    /// Who sees to that, and whether alone.
    Scheduler(Location, bool),
}

impl Nodes {
    /// Links with those that were given; one that is there is enough. `None` if none are.
    pub(super) async fn join(flags: &DemoFlags) -> anyhow::Result<Option<Self>> {
        let nodes = flags.nodes.iter().map(|at| &at.0);
        let scheduler = flags.scheduler.iter().map(|at| &at.0);
        let peer: Vec<_> = nodes.chain(scheduler).cloned().collect();
        if peer.is_empty() {
            return Ok(None);
        }
        let network = Network {
            around: Around {
                peer,
                discover: false,
            },
            identity: flags.identity.clone(),
        };
        let builder = network::member(&network).await?;
        let node = network::start(builder).await?;
        let what = match flags.scheduler {
            Some(_) => "coros scheduler",
            None => "coros node",
        };
        let hint = format!("does `{what}` run there, with the same secret");
        let mut there = network::join(&node, &network.around, &hint).await?;
        let given = match (&flags.scheduler, there.pop()) {
            (Some(_), Some(at)) => Given::Scheduler(at, flags.exclusive),
            (_, last) => {
                there.extend(last);
                Given::Nodes(there.into())
            }
        };
        Ok(Some(Nodes { node, given }))
    }

    /// A scheduler on those and on no others.
    pub(super) fn scheduler(&self) -> anyhow::Result<SchedulerBuilder> {
        let given = match &self.given {
            Given::Nodes(given) => Arc::clone(given),
            Given::Scheduler(at, alone) => {
                let scheduler = Scheduler::at(&self.node);
                // Whatever it is called when it comes back.
                let scheduler = match at.endpoint {
                    Some(endpoint) => scheduler.service_at(endpoint),
                    None => scheduler.service(&*at.name),
                };
                return Ok(match alone {
                    true => scheduler.exclusive(),
                    false => scheduler,
                });
            }
        };
        let placement = Placement::builder().allocate(move |node, decision| {
            match given.iter().any(|at| is_it(at, node)) {
                true => decision,
                false => Decision::exclude("it is not among --nodes"),
            }
        });
        Ok(Scheduler::cluster(&self.node).placement(placement.build()?))
    }

    /// Resolves when it is known that what was given as a scheduler is a node, or the other way round, and gives what
    /// to do; never otherwise. Nobody else would tell: one may still come.
    pub(super) async fn is_another(&self) -> String {
        let advise = |at: &Location, is: &str, option: &str| {
            let endpoint = at.endpoint.map(|it| format!(" {it}"));
            let endpoint = endpoint.unwrap_or_default();
            format!("{at} is a {is}: try {option}{endpoint}")
        };
        loop {
            match &self.given {
                Given::Scheduler(at, _) if Daemon::is_at(at, &self.node) => {
                    return advise(at, "node, and no scheduler", "--nodes");
                }
                Given::Scheduler(..) => {}
                Given::Nodes(all) => {
                    if let Some(at) = all.iter().find(|at| Service::is_at(at, &self.node)) {
                        return advise(at, "scheduler, and no node", "--scheduler");
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether an event is that a node is not used which nobody wants to be.
    pub(super) fn stranger(&self) -> impl Fn(&Event) -> bool + Send + use<> {
        let given = match &self.given {
            Given::Nodes(given) => Some(Arc::clone(given)),
            Given::Scheduler(..) => None,
        };
        move |event| match (event, &given) {
            (Event::NodeNotUsed { endpoint, .. }, Some(given)) => {
                !given.iter().any(|at| at.endpoint == *endpoint)
            }
            _ => false,
        }
    }

    /// Waits until there is a worker on each, or it is known that there is none.
    pub(super) async fn settle(&self, happens: &mut UnboundedReceiver<Event>) {
        // A scheduler does not say how many there will be.
        let Given::Nodes(given) = &self.given else {
            return;
        };
        let mut awaited: HashSet<&str> = given.iter().map(|at| &*at.name).collect();
        let deadline = Instant::now() + SETTLE;
        while !awaited.is_empty()
            && let Ok(Some(event)) = timeout_at(deadline, happens.recv()).await
        {
            let settled = match &event {
                Event::WorkerReady { name, .. } => name.split_once('@').map(|(_, node)| node),
                Event::NodeNotUsed { name, .. } => Some(&**name),
                Event::NodeUnfit { node, .. }
                | Event::NodeSuspended { node }
                | Event::NodeDraining { node }
                | Event::NodeEnded { node }
                | Event::NodeLost { node, .. } => Some(&*node.name),
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

/// Whether a node is that which was given: two on one machine may have one name, and another process may have come
/// back in its place.
fn is_it(at: &Location, node: &NodeView) -> bool {
    let Some(endpoint) = at.endpoint else {
        return *at.name == *node.name;
    };
    let port = node.endpoint.map(|it| it.port());
    *at.name == *node.name
        && node.addresses.contains(&endpoint.ip())
        && port.is_none_or(|port| port == endpoint.port())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use coros::cluster::machine::Machine;
    use coros::net::NodeId;

    use super::*;

    #[test]
    fn of_two_nodes_of_one_name_on_one_machine_the_one_that_was_given_is_meant() {
        let at = |port| Some(SocketAddr::from(([10, 0, 0, 1], port)));
        let given = Location {
            node: NodeId(1),
            name: "farm".into(),
            endpoint: at(7),
        };
        let mut node = NodeView::new("farm", Machine::look([]));
        node.addresses = vec![[10, 0, 0, 1].into()];
        for (endpoint, is) in [(at(7), true), (at(8), false), (None, true)] {
            node.endpoint = endpoint;
            assert_eq!(is_it(&given, &node), is, "{endpoint:?}");
        }
        node.name = "desk".into();
        assert!(!is_it(&given, &node));
    }
}
