//! How far away peers are, in virtual time.

use std::time::Duration;

use coros_net::sim::{SimHost, SimNetwork};
use coros_net::{Node, PingError};
use tokio::time::{Instant, sleep};

const LATENCY: Duration = Duration::from_millis(10);
const ROUND_TRIP: Duration = Duration::from_millis(20);
/// The defaults of silence, and a tenth, and grace.
const GIVEN_UP: Duration = Duration::from_millis(2200 + 5000);

async fn scene() -> (SimNetwork, [SimHost; 2], [Node; 2]) {
    let network = SimNetwork::new(1);
    network.latency(LATENCY..=LATENCY);
    let hosts = ["desk", "farm"].map(|name| network.host(name));
    let start = |host: &SimHost| host.builder().member(false).build();
    let [desk, farm] = hosts.each_ref().map(start);
    let nodes = [
        desk.await.expect("it starts"),
        farm.await.expect("it starts"),
    ];
    (network, hosts, nodes)
}

#[tokio::test(start_paused = true)]
async fn only_the_way_there_and_back_counts_and_idle_links_wake() {
    let (network, _hosts, [desk, farm]) = scene().await;
    assert_eq!(desk.links(), []);
    let begun = Instant::now();
    assert_eq!(desk.ping(&farm.location()).await, Ok(ROUND_TRIP));
    assert!(begun.elapsed() > ROUND_TRIP, "a link was made first");
    let begun = Instant::now();
    assert_eq!(desk.ping(&farm.location()).await, Ok(ROUND_TRIP));
    assert_eq!(begun.elapsed(), ROUND_TRIP, "over the link there is");
    assert_eq!(farm.ping(&desk.location()).await, Ok(ROUND_TRIP));

    sleep(Duration::from_secs(60)).await;
    assert_eq!(desk.links(), [], "nobody uses it");
    let begun = Instant::now();
    assert_eq!(desk.ping(&farm.location()).await, Ok(ROUND_TRIP));
    assert!(begun.elapsed() > ROUND_TRIP, "a link was made first");

    network.latency(3 * LATENCY..=3 * LATENCY);
    assert_eq!(desk.ping(&farm.location()).await, Ok(3 * ROUND_TRIP));
    let many: Vec<_> = (0..100)
        .map(|_| {
            let (desk, farm) = (desk.clone(), farm.location());
            tokio::spawn(async move { desk.ping(&farm).await })
        })
        .collect();
    for one in many {
        assert_eq!(one.await.expect("no panic"), Ok(3 * ROUND_TRIP));
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_is_lost_with_its_link_is_asked_again() {
    let (network, hosts, [desk, farm]) = scene().await;
    desk.ping(&farm.location()).await.expect("it is there");
    network.partition(&hosts[..1], &hosts[1..]);
    let asking = {
        let (desk, farm) = (desk.clone(), farm.location());
        tokio::spawn(async move { desk.ping(&farm).await })
    };
    sleep(Duration::from_secs(4)).await;
    assert!(!asking.is_finished(), "it waits for another link");
    network.heal();
    // The time without a link is none of it.
    assert_eq!(asking.await.expect("no panic"), Ok(ROUND_TRIP));
}

#[tokio::test(start_paused = true)]
async fn no_answer_comes_soon_and_says_why() {
    let (network, hosts, [desk, farm]) = scene().await;
    desk.ping(&farm.location()).await.expect("it is there");
    assert_eq!(
        desk.ping(&desk.location()).await,
        Err(PingError::Itself),
        "there is no link with oneself"
    );

    network.partition(&hosts[..1], &hosts[1..]);
    let begun = Instant::now();
    let error = desk.ping(&farm.location()).await.unwrap_err().to_string();
    assert!(begun.elapsed() <= GIVEN_UP, "{:?}", begun.elapsed());
    assert!(error.starts_with("no answer from farm@"), "{error}");
    assert!(error.contains("no sign of life"), "{error}");
    network.heal();
    sleep(Duration::from_secs(2)).await;
    assert_eq!(desk.ping(&farm.location()).await, Ok(ROUND_TRIP));

    let there = farm.location();
    let left = {
        let (desk, there) = (desk.clone(), there.clone());
        network.latency(100 * LATENCY..=100 * LATENCY);
        tokio::spawn(async move { desk.ping(&there).await })
    };
    sleep(LATENCY).await;
    farm.close().await;
    let error = left.await.expect("no panic").unwrap_err().to_string();
    assert!(error.contains("left the network"), "{error}");
    let error = desk.ping(&there).await.unwrap_err().to_string();
    assert!(error.contains("cannot reach"), "{error}");
    desk.close().await;
    let error = desk.ping(&there).await.unwrap_err().to_string();
    assert!(error.contains("this node has closed"), "{error}");
}
