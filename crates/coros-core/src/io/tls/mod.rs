//! TLS for any stream, by rustls.
//!
//! An [`Identity`] is a certificate chain and its private key; [`Authorities`] are the certificate
//! authorities whose word is taken. A server needs an identity, and authorities too if clients
//! must prove who they are (mutual TLS); a client needs authorities, and an identity if the server
//! asks for one:
//!
//! | | identity | authorities |
//! |---|---|---|
//! | [`TlsAcceptor::new`] | the server's | |
//! | [`TlsAcceptor::mutual`] | the server's | that sign clients |
//! | [`TlsConnector::new`] | | that sign servers |
//! | [`TlsConnector::mutual`] | the client's | that sign servers |
//!
//! All come from PEM, in files or in memory. The authorities are exactly those given: the system's
//! store is not consulted. TLS 1.3 and 1.2 are spoken, with the ring provider, whatever the
//! process-wide default of rustls is. For other settings build a
//! [`ServerConfig`] or [`ClientConfig`] and convert it
//! with `From`.
//!
//! Files are read at once, blocking: make these objects when the program starts. They are cheap to
//! clone.

mod error;
mod pem;

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{client, server};

pub use error::{HandshakeError, TlsConfigError};
pub use pem::{Authorities, Identity};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The server's side: turns accepted streams into encrypted ones.
///
/// # Examples
///
/// ```no_run
/// use coros_core::io::MessageStream;
/// use coros_core::io::tls::{Identity, TlsAcceptor};
/// use tokio::net::TcpListener;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let acceptor = TlsAcceptor::new(Identity::from_files("server.crt", "server.key")?)?;
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let (stream, _peer) = listener.accept().await?;
/// let mut messages = MessageStream::new(acceptor.accept(stream).await?);
/// messages.send_message(b"nobody else can read this").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct TlsAcceptor {
    inner: tokio_rustls::TlsAcceptor,
}

impl TlsAcceptor {
    /// A server that proves to be `identity` and takes any client.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`] if the key does not belong to the certificate or is of a kind that is
    /// not supported.
    pub fn new(identity: Identity) -> Result<Self, TlsConfigError> {
        let config = Self::builder().with_no_client_auth();
        let Identity { chain, key, origin } = identity;
        let config = config
            .with_single_cert(chain, key)
            .map_err(|why| TlsConfigError::unusable(origin, why))?;
        Ok(config.into())
    }

    /// A server that proves to be `identity` and takes only clients with a certificate signed by
    /// one of `clients`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn mutual(identity: Identity, clients: Authorities) -> Result<Self, TlsConfigError> {
        let Authorities { store, origin } = clients;
        let verifier = WebPkiClientVerifier::builder_with_provider(store, provider())
            .build()
            .map_err(|why| TlsConfigError::NoVerifier {
                origin,
                why: why.to_string(),
            })?;
        let Identity { chain, key, origin } = identity;
        let config = Self::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|why| TlsConfigError::unusable(origin, why))?;
        Ok(config.into())
    }

    fn builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
        ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has the cipher suites of the default versions")
    }

    /// Does the handshake on a stream that a client has opened.
    ///
    /// A client that sends nothing keeps it waiting: bound it with [`tokio::time::timeout`].
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]: why it failed, the peer's certificate included.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping the future drops the stream.
    pub async fn accept<S>(&self, stream: S) -> Result<server::TlsStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.inner
            .accept(stream)
            .await
            .map_err(HandshakeError::from_accept)
    }
}

impl From<ServerConfig> for TlsAcceptor {
    fn from(config: ServerConfig) -> Self {
        Self {
            inner: Arc::new(config).into(),
        }
    }
}

impl std::fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsAcceptor").finish_non_exhaustive()
    }
}

/// The client's side: turns opened streams into encrypted ones.
///
/// # Examples
///
/// ```no_run
/// use coros_core::io::MessageStream;
/// use coros_core::io::tls::{Authorities, TlsConnector};
/// use tokio::net::TcpStream;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let connector = TlsConnector::new(Authorities::from_file("ca.crt")?)?;
/// let stream = TcpStream::connect("db.example.org:7000").await?;
/// let mut messages = MessageStream::new(connector.connect("db.example.org", stream).await?);
/// println!("{:?}", messages.receive_message().await?);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct TlsConnector {
    inner: tokio_rustls::TlsConnector,
}

impl TlsConnector {
    /// A client that takes servers with a certificate signed by one of `servers`, and does not say
    /// who it is.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`] if the authorities are of no use.
    pub fn new(servers: Authorities) -> Result<Self, TlsConfigError> {
        Ok(Self::builder(servers)?.with_no_client_auth().into())
    }

    /// A client that takes servers with a certificate signed by one of `servers`, and proves to be
    /// `identity` to those that ask.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`] if the key does not belong to the certificate or is of a kind that is
    /// not supported.
    pub fn mutual(servers: Authorities, identity: Identity) -> Result<Self, TlsConfigError> {
        let Identity { chain, key, origin } = identity;
        let config = Self::builder(servers)?
            .with_client_auth_cert(chain, key)
            .map_err(|why| TlsConfigError::unusable(origin, why))?;
        Ok(config.into())
    }

    fn builder(
        servers: Authorities,
    ) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, TlsConfigError>
    {
        let Authorities { store, origin } = servers;
        let verifier = WebPkiServerVerifier::builder_with_provider(store, provider())
            .build()
            .map_err(|why| TlsConfigError::NoVerifier {
                origin,
                why: why.to_string(),
            })?;
        Ok(ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has the cipher suites of the default versions")
            .with_webpki_verifier(verifier))
    }

    /// Does the handshake on a stream to a server, which must prove to be `host`: a DNS name or an
    /// IP address, as in its certificate.
    ///
    /// In TLS 1.3 a client is done before the server has looked at the client's certificate: a
    /// server that refuses it is seen as an error of the first read, not here.
    ///
    /// A server that sends nothing keeps it waiting: bound it with [`tokio::time::timeout`].
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]: why it failed, the peer's certificate included.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping the future drops the stream.
    pub async fn connect<S>(
        &self,
        host: &str,
        stream: S,
    ) -> Result<client::TlsStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(|_invalid| {
            HandshakeError::InvalidName {
                host: host.to_owned(),
            }
        })?;
        let stream = self.inner.connect(name, stream).await;
        stream.map_err(|why| HandshakeError::from_connect(host, why))
    }
}

impl From<ClientConfig> for TlsConnector {
    fn from(config: ClientConfig) -> Self {
        Self {
            inner: Arc::new(config).into(),
        }
    }
}

impl std::fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsConnector").finish_non_exhaustive()
    }
}
