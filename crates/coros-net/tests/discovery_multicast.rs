//! Nodes that find each other on the local network: over the loopback interface, where other
//! machines hear nothing. Each test has a network of its own.

mod common;
#[path = "common/trial.rs"]
mod trial;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::process::{Command, ExitCode};
use std::time::Duration;

use common::{events, next, soon};
use coros_net::{Builder, HandshakeError, Node, NodeId, PeerEvent, Secret};
use libtest_mimic::{Arguments, Failed};
use mdns_sd::{ServiceDaemon, ServiceEvent};
use trial::{trial, why_not};

/// What this program is told when it runs where nobody else hears it.
const ALONE: &str = "--alone-with-a-flood";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(ALONE) {
        let ran = run(what_a_flood_leaves_is_forgotten());
        return ran.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let missing = no_multicast();
    let no_machine = why_not(
        "make a network namespace",
        &["unshare", "--net", "ip", "link", "set", "lo", "up"],
    );
    let trials = vec![
        trial(
            "nodes_that_were_told_of_nobody_find_each_other",
            missing.as_deref(),
            || run(nodes_that_were_told_of_nobody_find_each_other()),
        ),
        trial(
            "whoever_leaves_says_so_and_leaves_no_thread_behind",
            missing.as_deref(),
            || run(whoever_leaves_says_so_and_leaves_no_thread_behind()),
        ),
        trial(
            "who_is_found_and_has_another_secret_stays_outside",
            missing.as_deref(),
            || run(who_is_found_and_has_another_secret_stays_outside()),
        ),
        trial(
            "what_a_flood_leaves_is_forgotten",
            missing.or(no_machine).as_deref(),
            alone,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn run(test: impl Future<Output = ()>) -> Result<(), Failed> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(test);
    Ok(())
}

/// Why there is no multicast on this machine, if there is none.
fn no_multicast() -> Option<String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    let joined = socket.and_then(|it| it.join_multicast_v4(&GROUP, &Ipv4Addr::LOCALHOST));
    let why = joined.err()?;
    Some(format!(
        "this machine has no multicast on its loopback interface: {why}"
    ))
}

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);

/// Runs this program on a machine of its own: a flood would be heard by other tests.
fn alone() -> Result<(), Failed> {
    let up = format!("ip link set lo up && ip route add 224.0.0.0/4 dev lo && exec \"$0\" {ALONE}");
    let status = Command::new("unshare")
        .args(["--net", "sh", "-c", &up])
        .arg(std::env::current_exe()?)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(status.to_string().into())
    }
}

/// Somebody announces nodes that there are not, more and more of them.
async fn what_a_flood_leaves_is_forgotten() {
    let (network, secret) = (network(), Secret::random());
    let build = |name| builder(name, &network, &secret).member(false);
    let desk = started(build("desk")).await;
    let mut seen = events(&desk);
    // A thread gives itself its name, when it runs.
    let named = async {
        while responder_threads().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(named).await;
    let before = responder_threads();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a port");
    let flooded = async {
        let mut packets = 0..;
        while !responder_threads().is_disjoint(&before) {
            let packet = announcement(packets.next().expect("numbers have no end"));
            socket.send_to(&packet, (GROUP, 5353)).expect("it is sent");
            // Not faster than what is listened to can be told.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(flooded).await;

    // It goes on, with another one.
    let farm = started(build("farm")).await;
    assert_eq!(next(&mut seen).await, PeerEvent::Joined(farm.location()));
    for node in [desk, farm] {
        soon(node.close()).await;
    }
}

/// A response with texts of 50 nodes that nobody has heard of, for more than a year.
fn announcement(number: u32) -> Vec<u8> {
    const RECORDS: u16 = 50;
    // Number and flags of a response; no questions, the answers, nothing else.
    let mut packet = vec![0, 0, 0x84, 0, 0, 0];
    packet.extend(RECORDS.to_be_bytes());
    packet.extend([0; 4]);
    for record in 0..RECORDS {
        packet.push(12);
        packet.extend(format!("{number:06}{record:06}").bytes());
        if record == 0 {
            packet.extend(b"\x06_coros\x04_tcp\x05local\0");
        } else {
            // As behind the first label of the first name.
            packet.extend([0xc0, 12 + 13]);
        }
        // A text, of the internet, so many seconds, one byte: the length of an empty text.
        packet.extend([0, 16, 0, 1]);
        packet.extend(40_000_000_u32.to_be_bytes());
        packet.extend([0, 1, 0]);
    }
    packet
}

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

async fn whoever_leaves_says_so_and_leaves_no_thread_behind() {
    let listener = ServiceDaemon::new().expect("there is multicast");
    let events = listener.browse("_coros._tcp.local.").expect("it listens");
    let (network, secret) = (network(), Secret::random());
    let desk = started(builder("desk", &network, &secret)).await;
    let id = desk.location().node;
    heard(&events, id, resolved).await;
    let with_it = responder_threads();
    soon(desk.close()).await;
    heard(&events, id, removed).await;
    // It has said goodbye before it ends.
    let ended = async {
        while !with_it.is_empty() && responder_threads().len() >= with_it.len() {
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

/// The threads of this process that listen to multicast; none where that cannot be known.
fn responder_threads() -> BTreeSet<std::ffi::OsString> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return BTreeSet::new();
    };
    let listens = |path: &std::path::Path| {
        std::fs::read(path.join("comm")).is_ok_and(|name| name.starts_with(b"mDNS_daemon"))
    };
    threads
        .flatten()
        .filter(|thread| listens(&thread.path()))
        .map(|thread| thread.file_name())
        .collect()
}

async fn who_is_found_and_has_another_secret_stays_outside() {
    let network = network();
    let desk = started(builder("desk", &network, &Secret::random())).await;
    let mut seen = events(&desk);
    let stranger = started(builder("stranger", &network, &Secret::random())).await;
    // Each dials the other.
    let (mut dialled, mut dials) = (false, false);
    while !(dialled && dials) {
        match next(&mut seen).await {
            PeerEvent::Refused(_, HandshakeError::OtherSecret) => dialled = true,
            PeerEvent::Unreachable(_, why) if why.contains("different secrets") => dials = true,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((desk.peers(), stranger.peers()), (vec![], vec![]));
    for node in [desk, stranger] {
        soon(node.close()).await;
    }
}
