//! Nodes that find each other on the local network: over the loopback interface, where other
//! machines hear nothing. Each test has a network of its own.

mod common;

use std::net::Ipv6Addr;
use std::time::Duration;

use common::{events, next, soon};
use coros_net::{Builder, HandshakeError, Node, NodeId, PeerEvent, Secret};
use mdns_sd::{ServiceDaemon, ServiceEvent};

/// A network that no other test, and no other run of this one, is on.
fn network() -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("there is chance");
    format!("test-{:016x}", u64::from_le_bytes(bytes))
}

fn builder(name: &str, network: &str, secret: &Secret) -> Builder {
    let builder = Node::builder().name(name).network(network);
    builder
        .secret(secret.clone())
        .discover(true)
        .silence(common::PATIENT)
}

async fn started(builder: Builder) -> Node {
    builder.build().await.expect("it starts")
}

#[tokio::test]
async fn nodes_that_were_told_of_nobody_find_each_other() {
    let (network, secret) = (network(), Secret::random());
    let build = |name| builder(name, &network, &secret).member(false);
    let desk = started(build("desk")).await;
    let mut seen = events(&desk);
    let farm = started(build("farm")).await;
    assert_eq!(next(&mut seen).await, PeerEvent::Joined(farm.location()));
    // One that cannot be dialled finds the others all the same, and one on all interfaces is found.
    let guest = started(build("guest").no_listen()).await;
    let everywhere = ([0, 0, 0, 0], 0).into();
    let barn = started(build("barn").listen(everywhere)).await;
    // Where there is a version 6 at all; its loopback interface has no multicast on most machines.
    let v6 = build("loft").listen((Ipv6Addr::UNSPECIFIED, 0).into());
    let loft = v6.build().await.ok();
    let mut expected = vec!["barn", "desk", "farm"];
    expected.extend(loft.as_ref().map(|_| "loft"));
    let mut names = Vec::new();
    let mut met = events(&guest);
    while names.len() < expected.len() {
        if let PeerEvent::Joined(peer) = next(&mut met).await {
            names.push(peer.name.to_string());
        }
    }
    names.sort();
    assert_eq!(names, expected);
    for node in [desk, farm, guest, barn].into_iter().chain(loft) {
        soon(node.close()).await;
    }
}

/// Reads what is announced until something of a node comes.
async fn heard(
    events: &mdns_sd::Receiver<ServiceEvent>,
    node: NodeId,
    wanted: impl Fn(&ServiceEvent) -> Option<String>,
) {
    let wanted = async {
        let name = format!("{node}._coros._tcp.local.");
        loop {
            let event = events.recv_async().await.expect("it goes on");
            if wanted(&event).is_some_and(|of| of == name) {
                return;
            }
        }
    };
    soon(wanted).await;
}

fn resolved(event: &ServiceEvent) -> Option<String> {
    match event {
        ServiceEvent::ServiceResolved(service) => Some(service.fullname.clone()),
        _ => None,
    }
}

fn removed(event: &ServiceEvent) -> Option<String> {
    match event {
        ServiceEvent::ServiceRemoved(_, name) => Some(name.clone()),
        _ => None,
    }
}

#[tokio::test]
async fn whoever_leaves_says_so_and_leaves_no_thread_behind() {
    let listener = ServiceDaemon::new().expect("there is multicast");
    let events = listener.browse("_coros._tcp.local.").expect("it listens");
    let (network, secret) = (network(), Secret::random());
    let desk = started(builder("desk", &network, &secret)).await;
    let id = desk.location().node;
    heard(&events, id, resolved).await;
    let with_it = responders();
    soon(desk.close()).await;
    heard(&events, id, removed).await;
    // It has said goodbye before it ends.
    let ended = async {
        while with_it.is_some() && responders() >= with_it {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(ended).await;

    // Also one that is dropped.
    let barn = started(builder("barn", &network, &secret)).await;
    let id = barn.location().node;
    heard(&events, id, resolved).await;
    drop(barn);
    heard(&events, id, removed).await;
    listener.shutdown().expect("it runs");
}

/// How many threads of this process listen to multicast, where that can be known.
fn responders() -> Option<usize> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?.flatten();
    let names = threads.filter_map(|thread| std::fs::read(thread.path().join("comm")).ok());
    Some(
        names
            .filter(|name| name.starts_with(b"mDNS_daemon"))
            .count(),
    )
}

#[tokio::test]
async fn who_is_found_and_has_another_secret_stays_outside() {
    let network = network();
    let desk = started(builder("desk", &network, &Secret::random())).await;
    let mut seen = events(&desk);
    let stranger = started(builder("stranger", &network, &Secret::random())).await;
    let refused = next(&mut seen).await;
    assert!(
        matches!(refused, PeerEvent::Refused(_, HandshakeError::OtherSecret)),
        "{refused:?}"
    );
    assert_eq!((desk.peers(), stranger.peers()), (vec![], vec![]));
    for node in [desk, stranger] {
        soon(node.close()).await;
    }
}
