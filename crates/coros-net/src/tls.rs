//! Mutual TLS 1.3: nothing a peer sends is looked at before it has proved that it belongs to
//! the network.
//!
//! Both sides show a certificate of the network's [`Authority`](crate::Authority). Two more things
//! are settled in the handshake, in the open, so that both sides learn why they cannot talk: the
//! protocol version is the ALPN name (`coros/1`), and the network's name is part of the server
//! name that the dialler asks for (`<network>.coros`).
//!
//! There is no session resumption: links are few and long, and tickets would cost memory.

mod error;
mod verify;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{
    Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, CommonState, ConfigBuilder, ConfigSide, Error, RootCertStore, ServerConfig,
    WantsVerifier, WantsVersions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream};

pub use self::error::HandshakeError;
use self::error::Own;
use self::verify::OfAuthority;
use crate::Credentials;
use crate::identity::{self, PeerIdentity};
use crate::transport::ByteStream;

/// The protocol version, as ALPN.
const PROTOCOL: &str = "coros/1";
/// How long the reason of a refusal is given to arrive before the connection is closed.
const LINGER: Duration = Duration::from_millis(500);

/// One node's side of every handshake.
pub(crate) struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    server_name: ServerName<'static>,
    own: Own,
}

impl Tls {
    pub(crate) fn new(credentials: &Credentials) -> Result<Self, Error> {
        Tls::speaking(PROTOCOL, credentials)
    }

    fn speaking(protocol: &'static str, credentials: &Credentials) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let name = identity::dns_name(credentials.network());
        let server_name = ServerName::try_from(name.clone())
            .map_err(|_| Error::General(format!("{name:?} is not a DNS name")))?;
        let own = Arc::new(certified_key(credentials, &provider)?);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(credentials.authority()).into_owned())?;
        let roots = Arc::new(roots);

        let shown = SingleCertAndKey::from(Arc::clone(&own));
        let verifier = OfAuthority::new(Arc::clone(&roots), &provider, credentials.origin())?;
        let mut client = tls13(ClientConfig::builder_with_provider(Arc::clone(&provider)))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(shown));
        client.resumption = Resumption::disabled();

        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|e| Error::General(e.to_string()))?;
        let mut server = tls13(ServerConfig::builder_with_provider(provider))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(OfNetwork { name, own }));
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        for alpn in [&mut client.alpn_protocols, &mut server.alpn_protocols] {
            alpn.push(protocol.into());
        }
        Ok(Tls {
            client: Arc::new(client),
            server: Arc::new(server),
            server_name,
            own: Own {
                network: credentials.network().into(),
                protocol,
                origin: credentials.origin(),
                authority: identity::fingerprint(credentials.authority()),
                valid: credentials.validity(),
            },
        })
    }

    /// Shakes hands as the side that dialled.
    ///
    /// In TLS 1.3 this side is done before the other has checked its certificate: a refusal may
    /// only show in the first read.
    pub(crate) async fn dial<S: ByteStream>(
        &self,
        io: S,
    ) -> Result<(TlsStream<S>, PeerIdentity), HandshakeError> {
        let connector = TlsConnector::from(Arc::clone(&self.client));
        match connector
            .connect(self.server_name.clone(), io)
            .into_fallible()
            .await
        {
            Ok(stream) => {
                let peer = self.identify(stream.get_ref().1)?;
                Ok((stream.into(), peer))
            }
            Err((error, io)) => {
                linger(io).await;
                Err(self.explain(&error))
            }
        }
    }

    /// Shakes hands as the side that was dialled.
    pub(crate) async fn accept<S: ByteStream>(
        &self,
        io: S,
    ) -> Result<(TlsStream<S>, PeerIdentity), HandshakeError> {
        let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), io);
        let start = match (&mut acceptor).await {
            Ok(start) => start,
            Err(error) => {
                if let Some(io) = acceptor.take_io() {
                    linger(io).await;
                }
                return Err(self.explain(&error));
            }
        };
        // Rustls will refuse these by itself and tell the peer; it is known here what the peer
        // wanted instead.
        let foreign = self.foreign(&start.client_hello());
        match start
            .into_stream(Arc::clone(&self.server))
            .into_fallible()
            .await
        {
            Ok(stream) => {
                let peer = self.identify(stream.get_ref().1)?;
                Ok((stream.into(), peer))
            }
            Err((error, io)) => {
                linger(io).await;
                Err(foreign.unwrap_or_else(|| self.explain(&error)))
            }
        }
    }

    /// Whether a client asks for another version or network than ours.
    fn foreign(&self, hello: &ClientHello<'_>) -> Option<HandshakeError> {
        let names: Vec<&[u8]> = hello.alpn().into_iter().flatten().collect();
        if !names.contains(&self.own.protocol.as_bytes()) {
            let coros = names.iter().find(|name| name.starts_with(b"coros/"));
            return Some(match coros {
                Some(name) => {
                    let theirs = Some(String::from_utf8_lossy(name).into_owned());
                    HandshakeError::OtherVersion {
                        ours: self.own.protocol,
                        theirs,
                    }
                }
                None => HandshakeError::NotCoros("it speaks TLS for another purpose".into()),
            });
        }
        let wanted = hello.server_name().unwrap_or_default();
        if wanted.strip_suffix(".coros") != Some(&*self.own.network) {
            let theirs = wanted.strip_suffix(".coros").map(str::to_owned);
            return Some(HandshakeError::OtherNetwork {
                ours: self.own.network.to_string(),
                theirs,
            });
        }
        None
    }

    fn identify(&self, connection: &CommonState) -> Result<PeerIdentity, HandshakeError> {
        if connection.alpn_protocol() != Some(self.own.protocol.as_bytes()) {
            return Err(HandshakeError::OtherVersion {
                ours: self.own.protocol,
                theirs: None,
            });
        }
        let chain = connection.peer_certificates().unwrap_or_default();
        let peer = PeerIdentity::of(chain)
            .map_err(|why| HandshakeError::BadCertificate(why.to_string()))?;
        if peer.network != self.own.network {
            return Err(HandshakeError::OtherNetwork {
                ours: self.own.network.to_string(),
                theirs: Some(peer.network.to_string()),
            });
        }
        Ok(peer)
    }

    /// Finds the reason in what a stream says; also for the first reads after the handshake.
    pub(crate) fn explain(&self, error: &io::Error) -> HandshakeError {
        self.own.explain(error)
    }
}

/// What the configurations of both sides begin with.
fn tls13<Side: ConfigSide>(
    builder: ConfigBuilder<Side, WantsVersions>,
) -> Result<ConfigBuilder<Side, WantsVerifier>, Error> {
    builder.with_protocol_versions(&[&TLS13])
}

/// Shows our certificate to those who ask for our network.
#[derive(Debug)]
struct OfNetwork {
    name: String,
    own: Arc<CertifiedKey>,
}

impl ResolvesServerCert for OfNetwork {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        (hello.server_name() == Some(&self.name)).then(|| Arc::clone(&self.own))
    }
}

fn certified_key(
    credentials: &Credentials,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Error> {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(credentials.key().to_vec()));
    CertifiedKey::from_der(credentials.chain(), key, provider)
}

/// Lets the last bytes arrive: closing a socket that holds unread bytes would destroy them.
async fn linger<S: ByteStream>(mut io: S) {
    let drain = async {
        let mut waste = [0; 1024];
        io.shutdown().await?;
        while io.read(&mut waste).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

#[cfg(test)]
mod stranger_tests;
#[cfg(test)]
mod tests;
