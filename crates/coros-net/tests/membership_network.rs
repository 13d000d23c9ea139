//! Nodes that find out who else is on the network, over real links, in virtual time.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::*;
use coros_net::sim::{SimHost, SimNetwork};
use coros_net::{Node, NodeId, PeerEvent};
use tokio::sync::mpsc;
use tokio::time::Instant;

const PERIOD: Duration = Duration::from_secs(1);

struct Crowd {
    network: SimNetwork,
    hosts: Vec<SimHost>,
    nodes: Vec<Node>,
    period: Duration,
}

impl Crowd {
    /// So many members, all of which were given the address of the first.
    async fn gather(seed: u64, count: usize, period: Duration) -> Self {
        let network = SimNetwork::new(seed);
        let mut crowd = Crowd {
            network,
            hosts: Vec::new(),
            nodes: Vec::new(),
            period,
        };
        for _ in 0..count {
            crowd.join().await;
        }
        crowd
    }

    async fn join(&mut self) {
        let host = self.network.host(&format!("n{}", self.hosts.len()));
        self.join_on(host).await;
    }

    async fn join_on(&mut self, host: SimHost) {
        let builder = host.builder().probe(self.period).silence(self.silence());
        let node = builder.build().await.expect("it starts");
        if let Some(first) = self.nodes.first() {
            node.connect(endpoint(first)).await.expect("it is there");
        }
        self.hosts.push(host);
        self.nodes.push(node);
    }

    fn silence(&self) -> Duration {
        10 * self.period
    }

    /// Within how long all know of a death, as [`Builder::probe`](coros_net::Builder::probe) says.
    fn bound(&self) -> Duration {
        let magnitude = (self.nodes.len() as f64 + 1.0).log10().max(1.0);
        self.silence().mul_f64(1.1) + self.period.mul_f64(3.0 * magnitude + 4.0)
    }

    /// Waits until each of some nodes knows all the others of them, and nobody else.
    async fn settle(&self, who: &[usize], limit: Duration) -> Duration {
        let ids = |who: &[usize]| -> BTreeSet<NodeId> {
            who.iter()
                .map(|&it| self.nodes[it].location().node)
                .collect()
        };
        let all = ids(who);
        let began = Instant::now();
        loop {
            let knows_all = |&it: &usize| {
                let mut known: BTreeSet<_> =
                    self.nodes[it].peers().iter().map(|it| it.node).collect();
                known.insert(self.nodes[it].location().node);
                known == all
            };
            if who.iter().all(knows_all) {
                return began.elapsed();
            }
            let missing = who.iter().filter(|it| !knows_all(it)).count();
            assert!(
                began.elapsed() < limit,
                "{missing} do not know all after {limit:?}"
            );
            // To ask two hundred nodes takes longer than what they do meanwhile.
            tokio::time::sleep(self.period / 5).await;
        }
    }

    fn all(&self) -> Vec<usize> {
        (0..self.nodes.len()).collect()
    }
}

/// Until a peer is told to be gone, and how.
async fn gone(events: &mut mpsc::UnboundedReceiver<PeerEvent>, peer: NodeId) -> &'static str {
    loop {
        match events.recv().await.expect("the node is open") {
            PeerEvent::Lost(it, _) if it.node == peer => return "lost",
            PeerEvent::Left(it) if it.node == peer => return "left",
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_hundred_nodes_know_each_other_and_of_a_death() {
    let crowd = Crowd::gather(1, 200, 5 * PERIOD).await;
    let took = crowd.settle(&crowd.all(), 6 * crowd.period).await;
    println!("all know all after {took:?}");

    let dead = crowd.nodes[99].location().node;
    let mut survivors = crowd.all();
    survivors.remove(99);
    let mut watching: Vec<_> = survivors
        .iter()
        .map(|&it| events(&crowd.nodes[it]))
        .collect();
    crowd.hosts[99].kill();
    let began = Instant::now();
    for events in &mut watching {
        let limit = crowd.bound().saturating_sub(began.elapsed());
        let gone = tokio::time::timeout(limit, gone(events, dead)).await;
        assert_eq!(gone.expect("within the bound"), "lost");
    }
    println!(
        "all report a death after {:?}, of {:?}",
        began.elapsed(),
        crowd.bound()
    );
    let links: Vec<usize> = crowd.nodes[1..]
        .iter()
        .map(|node| node.links().len())
        .collect();
    let most = links.iter().max().expect("there are nodes");
    println!("at most {most} links");
    // Two for each period so far.
    let periods = (Instant::now() - began + took).as_secs_f64() / crowd.period.as_secs_f64();
    assert!(
        *most <= 3 * (periods.ceil() as usize + 2),
        "{most} in {periods} periods"
    );
}

#[tokio::test(start_paused = true)]
async fn who_leaves_has_left_for_all() {
    for seed in 0..3 {
        let crowd = Crowd::gather(seed, 12, PERIOD).await;
        crowd.settle(&crowd.all(), 10 * PERIOD).await;
        let mut watching: Vec<_> = crowd.nodes[1..].iter().map(events).collect();
        let first = crowd.nodes[0].location().node;
        // The one that all were given at first.
        crowd.nodes[0].close().await;
        for events in &mut watching {
            let gone = tokio::time::timeout(10 * PERIOD, gone(events, first)).await;
            assert_eq!(gone.expect("soon"), "left", "seed {seed}");
        }
        crowd.settle(&crowd.all()[1..], PERIOD).await;
    }
}

#[tokio::test(start_paused = true)]
async fn halves_that_were_cut_off_find_each_other() {
    for seed in 0..3 {
        let crowd = Crowd::gather(seed, 10, PERIOD).await;
        crowd.settle(&crowd.all(), 10 * PERIOD).await;
        let mut events = events(&crowd.nodes[9]);
        let (left, right) = crowd.hosts.split_at(4);
        crowd.network.partition(left, right);
        let (some, others) = ([0, 1, 2, 3], [4, 5, 6, 7, 8, 9]);
        crowd.settle(&some, 40 * PERIOD).await;
        crowd.settle(&others, 40 * PERIOD).await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        crowd.network.heal();
        crowd.settle(&crowd.all(), 40 * PERIOD).await;
        // The same launches are back, and no strangers.
        let mut returned = BTreeSet::new();
        while let Ok(event) = events.try_recv() {
            match event {
                PeerEvent::Returned(peer) => drop(returned.insert(peer.node)),
                PeerEvent::Joined(_) | PeerEvent::Lost(..) => {}
                other => panic!("{other:?}"),
            }
        }
        let cut_off = some.map(|it| crowd.nodes[it].location().node);
        assert_eq!(returned, cut_off.into(), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_dial_each_other_knows_each_other_by_the_rest() {
    // As behind as many routers: what they send to each other gets nowhere.
    const HIDDEN: usize = 8;
    let mut crowd = Crowd::gather(4, 4, PERIOD).await;
    for _ in 0..HIDDEN {
        let hidden = crowd.hosts[4..].to_vec();
        let host = crowd.network.host(&format!("n{}", crowd.hosts.len()));
        crowd.network.partition(&hidden, [&host]);
        crowd.join_on(host).await;
    }
    crowd.settle(&crowd.all(), 45 * PERIOD).await;
    let mut watching: Vec<_> = crowd.nodes.iter().map(events).collect();
    tokio::time::sleep(200 * PERIOD).await;
    for events in &mut watching {
        while let Ok(event) = events.try_recv() {
            let known = matches!(event, PeerEvent::Joined(_) | PeerEvent::Unreachable { .. });
            assert!(known, "{event:?}");
        }
    }
    let dead = crowd.nodes[11].location().node;
    crowd.hosts[11].kill();
    let began = Instant::now();
    for events in &mut watching[..11] {
        let limit = crowd.bound().saturating_sub(began.elapsed());
        let gone = tokio::time::timeout(limit, gone(events, dead)).await;
        assert_eq!(gone.expect("within the bound"), "lost");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_no_member_is_known_to_those_it_has_met() {
    let mut crowd = Crowd::gather(3, 3, PERIOD).await;
    let host = crowd.network.host("worker");
    let worker = host.builder().member(false).silence(10 * PERIOD);
    let worker = worker.build().await.unwrap();
    worker.connect(endpoint(&crowd.nodes[1])).await.unwrap();
    crowd.join().await;
    tokio::time::sleep(10 * PERIOD).await;
    let knows = |node: &Node| node.peers().contains(&worker.location());
    assert_eq!(
        crowd.nodes.iter().map(knows).collect::<Vec<_>>(),
        [false, true, false, false]
    );
    assert_eq!(worker.peers(), [crowd.nodes[1].location()]);
}
