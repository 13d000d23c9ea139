//! What carries the bytes between nodes: how a node listens, accepts and dials.
//!
//! A transport moves ordered bytes between endpoints and knows nothing of nodes. Whatever it
//! is, TLS runs on its streams, so it need be neither secret nor trusted. Nothing above this seam
//! knows of sockets.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use coros_core::remote::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// Why a stream broke, for people.
pub(crate) fn why_broken(error: &io::Error) -> String {
    match error.kind() {
        // Of a process that has died, say; TLS asks for a farewell, and its text is for its users.
        io::ErrorKind::UnexpectedEof => "it closed the connection".into(),
        _ => error.to_string(),
    }
}

/// How a node reaches others and is reached: [`TcpTransport`](crate::TcpTransport) unless
/// [`Builder::transport`](crate::Builder::transport) gives another one.
///
/// ```
/// use std::io;
/// use std::net::SocketAddr;
/// use coros_net::{BoxFuture, BoxListener, BoxStream, Node, Secret, TcpTransport, Transport};
///
/// /// TCP that leads nowhere but to this machine.
/// #[derive(Debug)]
/// struct Homebound(TcpTransport);
///
/// impl Transport for Homebound {
///     fn listen(&self, endpoint: SocketAddr) -> BoxFuture<io::Result<BoxListener>> {
///         self.0.listen(endpoint)
///     }
///
///     fn dial(&self, endpoint: SocketAddr) -> BoxFuture<io::Result<BoxStream>> {
///         if endpoint.ip().is_loopback() {
///             return self.0.dial(endpoint);
///         }
///         Box::pin(async { Err(io::ErrorKind::NetworkUnreachable.into()) })
///     }
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::builder().secret(Secret::random()).transport(Homebound(TcpTransport));
/// let node = node.build().await?;
/// assert!(node.connect("192.0.2.1:9".parse()?).await.is_err());
/// # Ok(()) }
/// ```
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Listens on an endpoint; port 0 stands for any free one.
    ///
    /// # Errors
    /// Those of a socket: `AddrInUse`, `AddrNotAvailable`, …
    fn listen(&self, endpoint: SocketAddr) -> BoxFuture<io::Result<BoxListener>>;

    /// Makes a stream to whoever listens at an endpoint. Dropping the future gives up.
    ///
    /// It may take as long as it likes: the node has a
    /// [limit](crate::Builder::handshake_limit).
    ///
    /// # Errors
    /// Those of a socket: `ConnectionRefused`, `HostUnreachable`, …
    fn dial(&self, endpoint: SocketAddr) -> BoxFuture<io::Result<BoxStream>>;
}

/// Where others can dial a node. Dropping it ends that; streams that it has accepted go on.
pub trait Listener: Send + 'static {
    /// Where it listens, with the port that it got.
    fn endpoint(&self) -> SocketAddr;

    /// Where others find it, unless the node is [told](crate::Builder::advertise) better: by
    /// default its endpoint.
    fn outward(&self) -> SocketAddr {
        self.endpoint()
    }

    /// The next stream, and where it comes from.
    ///
    /// # Errors
    /// When there cannot be one now; the node asks again a little later.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(BoxStream, SocketAddr)>>;
}

/// Bytes both ways, in order, each once or, when the stream breaks, not at all. Shutting down the
/// writing side, or dropping the stream, lets the other side read to the end.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> ByteStream for T {}

/// Any stream of a [`Transport`].
pub type BoxStream = Box<dyn ByteStream>;

/// Any listener of a [`Transport`].
pub type BoxListener = Box<dyn Listener>;
