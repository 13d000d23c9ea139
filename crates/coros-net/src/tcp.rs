//! The transport that nodes use unless told otherwise.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::task::{Context, Poll, ready};

use coros_core::remote::BoxFuture;
use tokio::net::{TcpListener, TcpStream};

use crate::transport::{BoxListener, BoxStream, Listener, Transport};

/// TCP, without Nagle's algorithm.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpTransport;

impl Transport for TcpTransport {
    fn listen(&self, endpoint: SocketAddr) -> BoxFuture<io::Result<BoxListener>> {
        Box::pin(async move {
            let listener = TcpListener::bind(endpoint).await?;
            let endpoint = listener.local_addr()?;
            Ok(Box::new(Listening { listener, endpoint }) as BoxListener)
        })
    }

    fn dial(&self, endpoint: SocketAddr) -> BoxFuture<io::Result<BoxStream>> {
        Box::pin(async move { Ok(prepared(TcpStream::connect(endpoint).await?)) })
    }
}

struct Listening {
    listener: TcpListener,
    endpoint: SocketAddr,
}

impl Listener for Listening {
    fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    fn outward(&self) -> SocketAddr {
        outward(self.endpoint)
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(BoxStream, SocketAddr)>> {
        let (tcp, from) = ready!(self.listener.poll_accept(cx))?;
        Poll::Ready(Ok((prepared(tcp), from)))
    }
}

/// Small frames are not to wait for more.
fn prepared(tcp: TcpStream) -> BoxStream {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch off Nagle's algorithm");
    }
    Box::new(tcp)
}

/// Replaces an address that stands for all interfaces by that of the one which leads outward.
fn outward(endpoint: SocketAddr) -> SocketAddr {
    if !endpoint.ip().is_unspecified() {
        return endpoint;
    }
    // Connecting a datagram socket sends nothing: it only looks up the route. The addresses are
    // those reserved for documentation.
    let (any, far, loopback): (IpAddr, IpAddr, IpAddr) = if endpoint.is_ipv4() {
        let far = Ipv4Addr::new(192, 0, 2, 1);
        (
            Ipv4Addr::UNSPECIFIED.into(),
            far.into(),
            Ipv4Addr::LOCALHOST.into(),
        )
    } else {
        let far = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        (
            Ipv6Addr::UNSPECIFIED.into(),
            far.into(),
            Ipv6Addr::LOCALHOST.into(),
        )
    };
    let route = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((far, 9))?;
        socket.local_addr()
    });
    SocketAddr::new(route.map_or(loopback, |local| local.ip()), endpoint.port())
}
