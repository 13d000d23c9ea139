//! Strangers at the door: they cost a node little and its peers nothing.

mod common;

use std::time::Duration;

use common::*;
use coros_net::{PeerEvent, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
