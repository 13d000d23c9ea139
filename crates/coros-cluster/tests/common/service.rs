//! A service on a farm, clients of it, and what they call.

use coros::cluster::service::{Service, ServiceBuilder};
use coros::cluster::worker;
use coros::net::Node;
use coros::{Address, Context, Scheduler};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::farm::*;

/// A call has begun: whose it is, at which worker, its process, and what ends it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Begun {
    pub(crate) of: String,
    pub(crate) at: String,
    pub(crate) pid: u32,
    pub(crate) end: Address<()>,
}

/// Computes until it is told to end.
#[coros::remote]
pub(crate) async fn computes(mut me: Context<()>, of: String, to: Address<Begun>) -> String {
    let at = worker::name().unwrap_or_default().to_owned();
    let begun = Begun {
        of,
        at: at.clone(),
        pid: std::process::id(),
        end: me.address(),
    };
    to.deliver(begun).await.unwrap();
    me.receive().await;
    at
}

impl Farm {
    /// A service of which [`Changes`] tell.
    pub(crate) fn service(&self) -> ServiceBuilder {
        let service = Service::builder(self.knows_all("scheduler"), self.folder("service"));
        service.on_event(|_| changed())
    }
}

/// A farm with a service in this process.
pub(crate) async fn farm_with_service<const N: usize>(slots: [usize; N]) -> (Farm, Service) {
    let farm = Farm::of(slots).await;
    let service = farm.service().start().await.unwrap();
    (farm, service)
}

/// A client that knows the service, and the nodes by way of it.
pub(crate) async fn client(farm: &Farm, service: &Service) -> Node {
    let builder = farm.builder("desk").peer(endpoint(service.node()));
    builder.build().await.unwrap()
}

pub(crate) async fn at(farm: &Farm, service: &Service) -> Scheduler {
    let scheduler = Scheduler::at(&client(farm, service).await);
    quiet(scheduler).start().await.unwrap()
}

pub(crate) async fn close(farm: Farm, service: Service) {
    service.close().await;
    farm.close().await;
}

pub(crate) async fn next(begun: &mut mpsc::UnboundedReceiver<Begun>) -> Begun {
    begun.recv().await.unwrap()
}

/// Waits until the computations of a service are such: whether each has its turn.
pub(crate) async fn turns(service: &Service, wanted: &[bool]) {
    let mut changes = Changes::from_now();
    loop {
        let status = service.status().await.unwrap();
        let runs: Vec<_> = status.computations.iter().map(|it| it.runs).collect();
        if runs == wanted {
            return;
        }
        changes.next().await;
    }
}
