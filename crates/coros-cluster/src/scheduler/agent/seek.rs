//! Finds a service and opens a computation there, for as long as that takes.

use std::time::Duration;

use coros_core::Address;
use coros_net::{LocateError, Location, Node};
use tokio::time::{MissedTickBehavior, interval};

use super::super::Command;
use crate::protocol::ToScheduler;
use crate::service::protocol::{NAME, Opening, ToService};

/// How often it looks into the names that the node knows; asking nobody.
const PERIOD: Duration = Duration::from_millis(100);
/// How long a service may take to open a computation.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// How long one that did not is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells the client of it, and of those that are of no use.
pub(super) async fn run(node: Node, name: Option<String>, opening: Opening) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let found = node.locate_all::<Address<ToService>>(NAME);
        let named = |(at, _): &(Location, _)| name.as_ref().is_none_or(|name| *at.name == **name);
        for (at, service) in found.into_iter().filter(named) {
            let command = match open(service, &opening).await {
                Ok(tenant) => Command::Joined {
                    epoch: opening.epoch,
                    at,
                    tenant,
                },
                Err(why) => Command::NotUsed(at, why),
            };
            let joined = matches!(command, Command::Joined { .. });
            // When it has ended, so has this.
            let _ = opening.client.send(ToScheduler::Command(command));
            if joined {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn open(
    service: Result<Address<ToService>, LocateError>,
    opening: &Opening,
) -> Result<Address<crate::service::protocol::ToTenant>, String> {
    let service = service.map_err(|error| format!("it is of another version: {error}"))?;
    let opening = Box::new(opening.clone());
    let opened = service.ask_timeout(OPEN_LIMIT, |reply| ToService::Open(opening, reply));
    match opened.await {
        Ok(Ok(tenant)) => Ok(tenant),
        Ok(Err(closed)) => Err(closed.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
