//! Where an example's functions run: [`Farm`] is among its arguments.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use coros::cluster::SchedulerBuilder;
use coros::net::HostPort;
use coros::{Node, Scheduler};

use crate::dial::dial;

#[derive(clap::Args)]
pub(crate) struct Farm {
    /// A node to run on, where `coros node` has the same secret as this program; may be given several times.
    /// Without one, all runs on this machine.
    #[arg(long, value_name = "HOST:PORT")]
    peer: Vec<HostPort>,
}

impl Farm {
    /// A scheduler with workers there.
    pub(crate) async fn scheduler(&self) -> anyhow::Result<SchedulerBuilder> {
        if self.peer.is_empty() {
            return Ok(Scheduler::local());
        }
        // Nodes find each other both ways, so this one listens too.
        let mut node = Node::builder().listen((Ipv4Addr::UNSPECIFIED, 0).into());
        for peer in &self.peer {
            node = node.peer(peer);
        }
        let node = node.build().await?;
        for peer in &self.peer {
            dial(&node, peer)
                .await
                .context("does `coros node` run there?")?;
        }
        Ok(Scheduler::cluster(&node))
    }
}
