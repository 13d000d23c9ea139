//! Finds a service and opens a computation there, for as long as that takes.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coros_core::Address;
use coros_core::remote::NodeId;
use coros_net::{LocateError, Location, Node};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::super::Command;
use crate::protocol::ToScheduler;
use crate::service::protocol::{NAME, Opening, ToService, ToTenant};

/// How often it looks into the names that the node knows; asking nobody.
const PERIOD: Duration = Duration::from_millis(100);
/// How long a service may take to open a computation.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// How long one that did not is left alone.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Seek {
    pub(super) node: Node,
    pub(super) which: Which,
    /// Until when which are left alone.
    pub(super) resting: HashMap<NodeId, Instant>,
    /// How many openings there have been.
    pub(super) epochs: Arc<AtomicU64>,
    pub(super) opening: Opening,
}

/// Which service is meant.
#[derive(Clone, Debug)]
pub(in super::super) enum Which {
    Any,
    /// One with a node of that name.
    Named(String),
    /// The one that listens there.
    At(SocketAddr),
}

impl Which {
    fn is(&self, at: &Location) -> bool {
        match self {
            Which::Any => true,
            Which::Named(name) => *at.name == **name,
            Which::At(endpoint) => at.endpoint == Some(*endpoint),
        }
    }
}

/// After "none".
impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Any => Ok(()),
            Which::Named(name) => write!(f, " of the name {name:?}"),
            Which::At(endpoint) => write!(f, " at {endpoint}"),
        }
    }
}

impl Seek {
    /// Tells the client of it, and of those that are of no use.
    pub(super) async fn run(mut self) {
        loop {
            for (at, service) in self.node.locate_all::<Address<ToService>>(NAME) {
                if !self.may_try(&at) {
                    continue;
                }
                // What a tenant says that is no part of this one is told apart by it.
                let epoch = self.epochs.fetch_add(1, Ordering::Relaxed) + 1;
                self.opening.epoch = epoch;
                let opened = match service {
                    Ok(service) => open(service, self.opening.clone()).await,
                    Err(error) => Err(other_version(&error)),
                };
                let command = match opened {
                    Ok(tenant) => Command::Joined { epoch, at, tenant },
                    Err(why) => Command::NotUsed(at, why),
                };
                let joined = matches!(command, Command::Joined { .. });
                // When it has ended, so has this.
                let _ = self.opening.client.send(ToScheduler::Command(command));
                if joined {
                    return;
                }
                sleep(PAUSE).await;
            }
            sleep(PERIOD).await;
        }
    }

    fn may_try(&self, at: &Location) -> bool {
        let rests = self.resting.get(&at.node);
        self.which.is(at) && rests.is_none_or(|until| *until <= Instant::now())
    }
}

fn other_version(error: &LocateError) -> String {
    format!("it is of another version: {error}")
}

/// Opens a computation. One that comes too late, or when nobody wants it any more, is left at once.
async fn open(service: Address<ToService>, opening: Opening) -> Result<Address<ToTenant>, String> {
    let (tell, mut told) = oneshot::channel();
    tokio::spawn(async move {
        let opening = Box::new(opening);
        let opened = service.ask(|reply| ToService::Open(opening, reply)).await;
        if let Err(Ok(Ok(tenant))) = tell.send(opened) {
            let _ = tenant.deliver(ToTenant::Leave).await;
        }
    });
    let opened = match timeout(OPEN_LIMIT, &mut told).await {
        Ok(opened) => opened.ok(),
        Err(_) => {
            told.close();
            told.try_recv().ok()
        }
    };
    match opened {
        Some(Ok(Ok(tenant))) => Ok(tenant),
        Some(Ok(Err(closed))) => Err(closed.to_string()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err(format!("it has not answered for {OPEN_LIMIT:?}")),
    }
}

#[cfg(test)]
mod tests {
    use coros_core::Context;

    use super::*;
    use crate::service::protocol::samples;

    /// One that answers after so long, and how its tenant ends.
    fn service(after: Duration) -> (Address<ToService>, oneshot::Receiver<Option<ToTenant>>) {
        let (tell, told) = oneshot::channel();
        let run = async move |mut me: Context<ToService>| {
            let Some(ToService::Open(_, reply)) = me.receive().await else {
                return;
            };
            sleep(after).await;
            let tenant = coros_core::build().daemon();
            let tenant = tenant.spawn(async move |mut me: Context<ToTenant>| {
                let _ = tell.send(me.receive().await);
            });
            reply.send(Ok(tenant.address()));
        };
        (coros_core::build().daemon().spawn(run).address(), told)
    }

    fn opening(node: &Node) -> Opening {
        let client = coros_core::build()
            .daemon()
            .spawn(async |me: Context<_>| drop(me));
        samples::opening(client.address(), node.location())
    }

    #[tokio::test]
    async fn a_tenant_that_comes_too_late_is_left() {
        let node = Node::builder().build().await.unwrap();
        let opening = opening(&node);
        tokio::time::pause();
        let (soon, _told) = service(OPEN_LIMIT / 2);
        let tenant = open(soon, opening.clone()).await.unwrap();
        assert!(!tenant.is_closed());
        let (late, told) = service(OPEN_LIMIT * 2);
        let why = open(late, opening.clone()).await.unwrap_err();
        assert_eq!(why, "it has not answered for 10s");
        assert!(matches!(told.await, Ok(Some(ToTenant::Leave))));
        // Likewise when nobody waits for it any more.
        let (slow, told) = service(OPEN_LIMIT / 2);
        let opened = timeout(OPEN_LIMIT / 4, open(slow, opening)).await;
        assert!(opened.is_err());
        assert!(matches!(told.await, Ok(Some(ToTenant::Leave))));
    }
}
