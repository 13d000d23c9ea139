//! Stands between two nodes, at the first connection that is made through it, and does it harm.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// From whom the bytes are that come to harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Dialler = 0,
    Dialled = 1,
}

/// What happens to them, after so many that pass unharmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    None,
    /// The connection is closed.
    Cut(usize),
    /// Nothing comes any more, and nobody is told.
    Stall(usize),
    /// One byte comes changed: these bits of it are flipped.
    Flip(usize, u8),
}

pub(crate) struct Meddler {
    pub(crate) endpoint: SocketAddr,
    seen: Arc<Mutex<[Vec<u8>; 2]>>,
    over: watch::Receiver<bool>,
    accepting: JoinHandle<()>,
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Meddler {
    /// One that leads to `to`.
    pub(crate) async fn between(to: SocketAddr, of: Of, harm: Harm) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let endpoint = listener.local_addr().expect("it listens");
        let seen = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
        let (tell, over) = watch::channel(false);
        let keep = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            let (near, _) = listener.accept().await.expect("it listens");
            // Nobody else: whoever comes again is to see that it is closed.
            drop(listener);
            let far = TcpStream::connect(to).await.expect("the node listens");
            for tcp in [&near, &far] {
                tcp.set_nodelay(true).expect("it is a socket");
            }
            meddle(near, far, of, harm, &keep).await;
            tell.send_replace(true);
        });
        Meddler {
            endpoint,
            seen,
            over,
            accepting,
        }
    }

    /// All that has been said by one side.
    pub(crate) fn seen(&self, of: Of) -> Vec<u8> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen[of as usize].clone()
    }

    /// Until the connection has ended on both sides.
    pub(crate) async fn over(&self) {
        let mut over = self.over.clone();
        over.wait_for(|over| *over).await.expect("it is told");
    }
}

async fn meddle(near: TcpStream, far: TcpStream, of: Of, harm: Harm, seen: &Mutex<[Vec<u8>; 2]>) {
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let harm_of = |side| if side == of { harm } else { Harm::None };
    let there = pump(near_read, far_write, harm_of(Of::Dialler), |bytes| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen[0].extend_from_slice(bytes);
    });
    let back = pump(far_read, near_write, harm_of(Of::Dialled), |bytes| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen[1].extend_from_slice(bytes);
    });
    if let Harm::Stall(_) = harm {
        // Whoever gives up first does not let the other know.
        drop(tokio::join!(there, back));
    } else {
        tokio::select! {
            _ = there => {}
            _ = back => {}
        }
    }
}

/// Returns what is to stay open as long as the other side has not closed.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    harm: Harm,
    seen: impl Fn(&[u8]),
) -> OwnedWriteHalf {
    let mut buffer = [0; 4096];
    let mut before = 0;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let bytes = &mut buffer[..read];
        seen(bytes);
        match harm {
            Harm::Cut(at) | Harm::Stall(at) if at < before + read => {
                let passing = &bytes[..at.saturating_sub(before)];
                let _ = to.write_all(passing).await;
                if matches!(harm, Harm::Cut(_)) {
                    return to;
                }
                while let Ok(1..) = from.read(&mut buffer).await {}
                return to;
            }
            Harm::Flip(at, bits) if (before..before + read).contains(&at) => {
                bytes[at - before] ^= bits;
            }
            _ => {}
        }
        before += read;
        if to.write_all(bytes).await.is_err() {
            return to;
        }
    }
    to
}
