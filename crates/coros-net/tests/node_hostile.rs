//! Strangers at the door: they cost a node little and its peers nothing.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::strangers::stranger;
use common::*;
use coros_net::{PeerEvent, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_disturb_nobody() {
    let secret = Secret::random();
    let farm = node("farm", &secret).await;
    let mut at_farm = events(&farm);
    let at = endpoint(&farm);
    // More than may be pending at a time, and all stay.
    let mut strangers = Vec::new();
    for n in 0..400 {
        let mut tcp = TcpStream::connect(at).await.unwrap();
        match n % 4 {
            0 => tcp.write_all(&[n as u8; 300]).await.unwrap(),
            1 => tcp.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap(),
            // The beginning of a TLS record that never ends.
            2 => tcp
                .write_all(&[0x16, 0x03, 0x01, 0x40, 0x00, 0x01])
                .await
                .unwrap(),
            _ => {}
        }
        strangers.push(tcp);
    }
    let drip = tokio::spawn(async move {
        let mut tcp = TcpStream::connect(at).await.unwrap();
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        while tcp.write_all(&[0x16]).await.is_ok() {
            pace.tick().await;
        }
    });
    let (address, mut received) = collector::<u32>();
    for n in 0..10 {
        let desk = node("desk", &secret).await;
        soon(sent(&farm, &desk, &address).deliver(n)).await.unwrap();
        assert_eq!(next(&mut received).await, n);
        assert_eq!(next(&mut at_farm).await, PeerEvent::Joined(desk.location()));
        desk.close().await;
        assert_eq!(next(&mut at_farm).await, PeerEvent::Left(desk.location()));
    }
    // All are shown out, by their turn or by the time limit.
    for mut tcp in strangers {
        let mut waste = [0; 1024];
        soon(async { while let Ok(1..) = tcp.read(&mut waste).await {} }).await;
    }
    soon(drip).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_does_not_wait_for_strangers() {
    let farm = node("farm", &Secret::random()).await;
    let stranger = TcpStream::connect(endpoint(&farm)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(3), farm.close())
        .await
        .expect("at once");
    drop(stranger);
}

/// As many strangers at once as the limit on descriptors allows of any process by default, with
/// room to spare: both ends are in this one.
const AT_ONCE: usize = 300;

/// Ten thousand strangers, one after the other, `AT_ONCE` at a time.
async fn crowd(from: [u8; 4], to: SocketAddr) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    for n in 0..10_000 {
        let place = Arc::clone(&room)
            .acquire_owned()
            .await
            .expect("it stays open");
        let socket = TcpSocket::new_v4().expect("there are descriptors");
        socket
            .bind((from, 0).into())
            .expect("it is of this machine");
        tokio::spawn(async move {
            if let Ok(tcp) = socket.connect(to).await {
                // Some stay as long as they can, most make room for the next.
                let patience = Duration::from_millis(if n % 16 < 4 { 10_000 } else { 40 });
                let _ = tokio::time::timeout(patience, stranger(n, tcp)).await;
            }
            drop(place);
        });
    }
    drop(
        room.acquire_many(AT_ONCE as u32)
            .await
            .expect("it stays open"),
    );
}

/// How many descriptors and how many bytes of memory this process has, where that can be found out.
fn in_use() -> (usize, usize) {
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|it| it.parse().ok());
    (descriptors, pages.unwrap_or(0_usize) * 4096)
}

/// A friend that comes again and again while the crowd is there. How often it was turned away.
async fn friend_among(crowd_from: [u8; 4]) -> usize {
    let secret = Secret::random();
    let farm = node("farm", &secret).await;
    let old = node("old", &secret).await;
    let linked = soon(old.connect(endpoint(&farm))).await;
    linked.expect("nobody is in the way yet");
    let (address, mut received) = collector::<u32>();
    let known = sent(&farm, &old, &address);
    let (descriptors, memory) = in_use();
    let crowd = tokio::spawn(crowd(crowd_from, endpoint(&farm)));
    let (mut visits, mut turned_away) = (0, 0);
    while !crowd.is_finished() {
        let desk = node("desk", &secret).await;
        let arrived = async {
            while let Err(error) = desk.connect(endpoint(&farm)).await {
                turned_away += 1;
                drop(error);
            }
            let delivered = sent(&farm, &desk, &address).deliver(1).await;
            delivered.expect("the link is there");
            known.deliver(2).await.expect("nothing happens to a link");
        };
        tokio::time::timeout(Duration::from_secs(10), arrived)
            .await
            .expect("a friend gets in, and friends talk");
        assert_eq!(
            [next(&mut received).await, next(&mut received).await],
            [1, 2]
        );
        desk.close().await;
        visits += 1;
        let (now, memory_now) = in_use();
        assert!(now < descriptors + AT_ONCE + 256 + 128, "{now} descriptors");
        assert!(memory_now < memory + (128 << 20), "{memory_now} bytes");
    }
    crowd.await.expect("it does not panic");
    assert!(visits > 10, "{visits} visits");
    turned_away
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_strangers_on_another_machine_are_not_even_noticed() {
    // All of 127.0.0.0/8 is this machine, and each a source of its own.
    assert_eq!(friend_among([127, 0, 0, 2]).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_strangers_on_the_same_machine_keep_no_friend_out() {
    friend_among([127, 0, 0, 1]).await;
}
