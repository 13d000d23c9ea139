//! Channels on several nodes of a simulated network, in virtual time.

use std::time::Duration;

use coros_core::Channel;
use coros_core::remote::Message;
use coros_net::Node;
use coros_net::sim::{SimHost, SimNetwork};
use tokio::sync::mpsc::UnboundedReceiver;

pub(crate) const LATENCY: Duration = Duration::from_millis(20);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Nodes on hosts of their own.
pub(crate) struct Scene<const N: usize> {
    pub(crate) network: SimNetwork,
    pub(crate) hosts: [SimHost; N],
    pub(crate) nodes: [Node; N],
}

impl<const N: usize> Scene<N> {
    pub(crate) async fn set() -> Self {
        let network = SimNetwork::new(1);
        network.latency(LATENCY..=LATENCY);
        let hosts = std::array::from_fn(|n| network.host(["a", "b", "c", "d"][n]));
        let mut nodes = Vec::new();
        for host in &hosts {
            nodes.push(host.builder().build().await.expect("it starts"));
        }
        Scene {
            network,
            hosts,
            nodes: nodes.try_into().expect("as many"),
        }
    }

    /// A channel of one node as another one sees it.
    pub(crate) fn see<M: Message + Clone>(
        &self,
        home: usize,
        node: usize,
        it: &Channel<M>,
    ) -> Channel<M> {
        let bytes = self.nodes[home].encode(it).expect("channels travel");
        self.nodes[node].decode(&bytes).expect("and arrive")
    }
}

/// Until the home has taken all that was asked for before, and relays have told it their numbers.
pub(crate) async fn settled<M: Message + Clone>(remote: &Channel<M>) -> usize {
    remote.ask_subscribers().await.expect("the home answers");
    tokio::time::sleep(Duration::from_millis(200)).await;
    remote.ask_subscribers().await.expect("the home answers")
}

pub(crate) fn quiet<M: std::fmt::Debug>(received: &mut UnboundedReceiver<M>) {
    if let Ok(message) = received.try_recv() {
        panic!("{message:?} came");
    }
}
