//! Where a peer listens, by its own word and by that of others; in virtual time.

mod common;

use std::time::Duration;

use coros_core::Context;
use coros_core::remote::Location;
use coros_net::sim::SimNetwork;
use coros_net::{Node, Rci};
use tokio::time::sleep;

async fn one(_me: Context<()>, (): ()) -> u32 {
    1
}

/// Whether `node` can start something at a place.
async fn reaches(node: &Node, at: &Location) -> bool {
    let one: Rci<(), (), u32> = node.function_at(at, "one");
    one.start(()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_false_endpoint_does_not_outlast_the_true_one() {
    let network = SimNetwork::new(1);
    let [desk, farm, other] = ["desk", "farm", "other"].map(|name| network.host(name).builder());
    let desk = desk.build().await.expect("it starts");
    let farm = farm.build().await.expect("it starts");
    let other = other.build().await.expect("it starts");
    farm.offer("one", one).expect("it is the first");
    let truth = farm.location();
    // Where nobody listens, and where somebody else does.
    let mut nobody = truth.clone();
    let endpoint = nobody.endpoint.as_mut().expect("it listens");
    endpoint.set_port(endpoint.port() + 1);
    let mut somebody = truth.clone();
    somebody.endpoint = other.location().endpoint;

    // Somebody has an address there all the time, so that what is known is kept.
    let _kept: Rci<(), (), u32> = desk.function_at(&nobody, "one");
    let unreached = [reaches(&desk, &nobody).await, {
        // What failed just now is not tried again.
        sleep(Duration::from_secs(2)).await;
        reaches(&desk, &somebody).await
    }];
    assert_eq!(unreached, [false, false]);
    sleep(Duration::from_secs(2)).await;
    // One who tells the truth is believed at the latest when the others have failed again.
    let mut tries = 1;
    while !reaches(&desk, &truth).await {
        sleep(Duration::from_secs(2)).await;
        tries += 1;
        assert!(tries <= 2);
    }
    // What the peer says itself is believed, and nobody else from then on.
    assert!(reaches(&desk, &nobody).await);
    farm.close().await;
}
