//! Whoever comes to a node's door and is none of its network.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the `n`th of them does until it is shown out: it says nothing, or what nobody understands,
/// or something that never ends.
pub(crate) async fn stranger(n: usize, tcp: TcpStream) {
    let (mut read, mut write) = tcp.into_split();
    let act = async {
        match n % 4 {
            0 => drop(write.write_all(&[n as u8; 300]).await),
            1 => drop(write.write_all(b"GET / HTTP/1.1\r\n\r\n").await),
            2 => {
                let mut pace = tokio::time::interval(Duration::from_secs(1));
                while write.write_all(&[0x16]).await.is_ok() {
                    pace.tick().await;
                }
            }
            _ => {}
        }
        std::future::pending::<()>().await;
    };
    let mut waste = [0; 256];
    let shown_out = async { while let Ok(1..) = read.read(&mut waste).await {} };
    tokio::select! {
        () = shown_out => {}
        () = act => {}
    }
}
