//! What the tests of nodes share.

#![allow(dead_code, reason = "no test uses all of it")]

pub(crate) mod channels;
pub(crate) mod files;
pub(crate) mod kept;
pub(crate) mod meddler;
pub(crate) mod seeds;
pub(crate) mod strangers;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use coros_core::remote::Message;
use coros_core::{Address, Context};
use coros_net::{Node, PeerEvent, Secret};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// Every wait in a test ends.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("it must not hang")
}

/// What a future says when it is polled once.
pub(crate) async fn polled<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Machines that run tests stand still at times.
pub(crate) const PATIENT: Duration = Duration::from_secs(20);

pub(crate) fn builder(name: &str, secret: &Secret) -> coros_net::Builder {
    Node::builder()
        .name(name)
        .secret(secret.clone())
        .silence(PATIENT)
        // What is told of links is not to depend on what others tell.
        .member(false)
}

pub(crate) async fn node(name: &str, secret: &Secret) -> Node {
    builder(name, secret).build().await.expect("it starts")
}

/// Two nodes that trust each other, not linked.
pub(crate) async fn pair() -> [Node; 2] {
    let secret = Secret::random();
    [node("desk", &secret).await, node("farm", &secret).await]
}

pub(crate) fn endpoint(node: &Node) -> SocketAddr {
    node.location().endpoint.expect("it listens")
}

/// The address of a coroutine of `home` as `abroad` sees it.
pub(crate) fn sent<M: Message>(home: &Node, abroad: &Node, address: &Address<M>) -> Address<M> {
    let bytes = home.encode(address).expect("addresses can be encoded");
    abroad.decode(&bytes).expect("and decoded")
}

/// A coroutine that passes on all that it receives.
pub(crate) fn collector<M: Message>() -> (Address<M>, mpsc::UnboundedReceiver<M>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let coro = coros_core::spawn(async move |mut me: Context<M>| {
        while let Some(message) = me.receive().await {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    (coro.address(), receiver)
}

/// The events of a node, in order.
pub(crate) fn events(node: &Node) -> mpsc::UnboundedReceiver<PeerEvent> {
    let (sender, receiver) = mpsc::unbounded_channel();
    node.on_peer_event(move |event| drop(sender.send(event)));
    receiver
}

pub(crate) async fn next<T>(receiver: &mut mpsc::UnboundedReceiver<T>) -> T {
    soon(receiver.recv()).await.expect("there is one more")
}

/// Stands between two nodes; can stand still, and be cut.
pub(crate) struct Cable {
    pub(crate) endpoint: SocketAddr,
    state: watch::Sender<State>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    Still,
    Cut,
}

impl Cable {
    /// A cable that leads to `to`, once that is known.
    pub(crate) async fn lay() -> (Self, watch::Sender<Option<SocketAddr>>) {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let endpoint = listener.local_addr().expect("it listens");
        let (state, watched) = watch::channel(State::Open);
        let (to, mut known) = watch::channel(None::<SocketAddr>);
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let to = known.wait_for(Option::is_some).await.map(|to| *to);
                let Ok(Some(to)) = to else { return };
                let Ok(far) = TcpStream::connect(to).await else {
                    continue;
                };
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                tokio::spawn(forward(near_read, far_write, watched.clone()));
                tokio::spawn(forward(far_read, near_write, watched.clone()));
            }
        });
        let cable = Cable {
            endpoint,
            state,
            accepting,
        };
        (cable, to)
    }

    /// Everything through it stops, and nobody is told.
    pub(crate) fn hold(&self) {
        self.state.send_replace(State::Still);
    }

    pub(crate) fn release(&self) {
        self.state.send_replace(State::Open);
    }

    /// Nobody can use it any more, and all connections through it end.
    pub(crate) async fn end(mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
        self.cut();
    }

    /// All connections through it end.
    pub(crate) fn cut(&self) {
        self.state.send_replace(State::Cut);
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut cut = state.clone();
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = cut.wait_for(|state| *state == State::Cut) => return,
        };
        let Ok(read @ 1..) = read else { return };
        match state.wait_for(|state| *state != State::Still).await {
            Ok(state) if *state == State::Open => {}
            _ => return,
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
