//! Mutual TLS 1.3: nothing a peer sends is looked at before it has proved that it belongs to
//! the network.
//!
//! Both sides show a certificate of the network's [`Authority`](crate::Authority). Two more things
//! are settled in the handshake, in the open, so that both sides learn why they cannot talk: the
//! protocol version is the ALPN name (`coros/1`), and the network's name is part of the server
//! name that the dialler asks for (`<network>.coros`).
//!
//! There is no session resumption: links are few and long, and tickets would cost memory.

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
    AlertDescription, CertificateError, ClientConfig, CommonState, ConfigBuilder, ConfigSide,
    Error, RootCertStore, ServerConfig, WantsVerifier, WantsVersions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream};

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
    network: Arc<str>,
    protocol: &'static str,
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
        let mut client = tls13(ClientConfig::builder_with_provider(Arc::clone(&provider)))?
            .with_root_certificates(Arc::clone(&roots))
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
            network: credentials.network().into(),
            protocol,
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
        if !names.contains(&self.protocol.as_bytes()) {
            let coros = names.iter().find(|name| name.starts_with(b"coros/"));
            return Some(match coros {
                Some(name) => {
                    let theirs = Some(String::from_utf8_lossy(name).into_owned());
                    HandshakeError::OtherVersion {
                        ours: self.protocol,
                        theirs,
                    }
                }
                None => HandshakeError::NotCoros("it speaks TLS for another purpose".into()),
            });
        }
        let wanted = hello.server_name().unwrap_or_default();
        if wanted.strip_suffix(".coros") != Some(&*self.network) {
            let theirs = wanted.strip_suffix(".coros").map(str::to_owned);
            return Some(HandshakeError::OtherNetwork {
                ours: self.network.to_string(),
                theirs,
            });
        }
        None
    }

    fn identify(&self, connection: &CommonState) -> Result<PeerIdentity, HandshakeError> {
        if connection.alpn_protocol() != Some(self.protocol.as_bytes()) {
            return Err(HandshakeError::OtherVersion {
                ours: self.protocol,
                theirs: None,
            });
        }
        let leaf = connection
            .peer_certificates()
            .and_then(|chain| chain.first());
        let peer = leaf.and_then(PeerIdentity::of).ok_or_else(|| {
            HandshakeError::BadCertificate("it does not say which node it is for".into())
        })?;
        if peer.network != self.network {
            return Err(HandshakeError::OtherNetwork {
                ours: self.network.to_string(),
                theirs: Some(peer.network.to_string()),
            });
        }
        Ok(peer)
    }

    /// Finds the reason in what a stream says; also for the first reads after the handshake.
    pub(crate) fn explain(&self, error: &io::Error) -> HandshakeError {
        let Some(tls) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>())
        else {
            return HandshakeError::Connection {
                kind: error.kind(),
                reason: error.to_string(),
            };
        };
        match tls {
            Error::InvalidCertificate(why) => certificate_error(why, &self.network),
            Error::AlertReceived(alert) => match alert {
                AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                    HandshakeError::OtherSecret
                }
                AlertDescription::CertificateExpired => HandshakeError::OwnExpired,
                AlertDescription::NoApplicationProtocol => HandshakeError::OtherVersion {
                    ours: self.protocol,
                    theirs: None,
                },
                AlertDescription::AccessDenied => HandshakeError::OtherNetwork {
                    ours: self.network.to_string(),
                    theirs: None,
                },
                other => HandshakeError::NotCoros(format!("it answered with TLS alert {other:?}")),
            },
            Error::NoApplicationProtocol => HandshakeError::OtherVersion {
                ours: self.protocol,
                theirs: None,
            },
            Error::NoCertificatesPresented => {
                HandshakeError::BadCertificate("it shows none".into())
            }
            other => HandshakeError::NotCoros(other.to_string()),
        }
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
    let chain = vec![CertificateDer::from(credentials.certificate()).into_owned()];
    CertifiedKey::from_der(chain, key, provider)
}

fn certificate_error(why: &CertificateError, network: &str) -> HandshakeError {
    match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            HandshakeError::OtherSecret
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            HandshakeError::PeerExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            HandshakeError::PeerNotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            HandshakeError::OtherNetwork {
                ours: network.into(),
                theirs: None,
            }
        }
        other => HandshakeError::BadCertificate(other.to_string()),
    }
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

/// Why two nodes do not talk to each other. Both sides get to know it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The two certificates come from different authorities.
    #[error("the two nodes have different secrets: give both the same one")]
    OtherSecret,
    /// The peer is on another network.
    #[error(
        "the peer is on {}, this node on network {ours:?}",
        named(theirs, "another network", "network")
    )]
    OtherNetwork {
        /// This node's network.
        ours: String,
        /// The peer's, if it said so.
        theirs: Option<String>,
    },
    /// The peer speaks another version of the protocol.
    #[error(
        "the peer speaks {}, this node {ours}: run the same version of coros on both",
        named(theirs, "another version of the protocol", "version")
    )]
    OtherVersion {
        /// This node's version.
        ours: &'static str,
        /// The peer's, if it said so.
        theirs: Option<String>,
    },
    /// The peer's certificate has run out.
    #[error("the peer's certificate has expired, or this machine's clock is wrong")]
    PeerExpired,
    /// The peer's certificate is not valid yet.
    #[error("the peer's certificate is not valid yet: one of the two machines' clocks is wrong")]
    PeerNotYetValid,
    /// The peer says that our certificate is out of its time.
    #[error(
        "the peer finds this node's certificate expired or not valid yet: \
         issue a new one, or set the clocks right"
    )]
    OwnExpired,
    /// The peer's certificate is not one of a node.
    #[error("the peer's certificate is not a node's: {0}")]
    BadCertificate(String),
    /// Whatever listens there is no coros node.
    #[error("not a coros node: {0}")]
    NotCoros(String),
    /// The peer refused, and why.
    #[error("the peer refused: {0}")]
    Refused(String),
    /// The peer did not keep to the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// The connection broke.
    #[error("the connection broke during the handshake: {reason}")]
    Connection {
        /// What kind of failure.
        kind: io::ErrorKind,
        /// What the operating system said.
        reason: String,
    },
    /// The peer did not finish the handshake in time.
    #[error("no handshake within {0:.1?}")]
    TimedOut(Duration),
}

fn named(theirs: &Option<String>, unknown: &str, what: &str) -> String {
    match theirs {
        Some(theirs) => format!("{what} {theirs:?}"),
        None => unknown.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use coros_core::remote::NodeId;

    use super::*;
    use crate::{Authority, Secret};

    type Ends = [Result<PeerIdentity, HandshakeError>; 2];

    /// What the dialler and the dialled make of each other, with one byte each way after the
    /// handshake.
    async fn meet(dialler: &Tls, dialled: &Tls) -> Ends {
        let (near, far) = tokio::io::duplex(1 << 16);
        let far_end = async {
            let (mut stream, peer) = dialled.accept(far).await?;
            exchange(dialled, &mut stream).await.map(|()| peer)
        };
        let near_end = async {
            let (mut stream, peer) = dialler.dial(near).await?;
            exchange(dialler, &mut stream).await.map(|()| peer)
        };
        let (near, far) = tokio::join!(near_end, far_end);
        [near, far]
    }

    async fn exchange<S: ByteStream>(
        tls: &Tls,
        stream: &mut TlsStream<S>,
    ) -> Result<(), HandshakeError> {
        let mut byte = [0];
        let explain = |e: io::Error| tls.explain(&e);
        stream.write_all(&[7]).await.map_err(explain)?;
        stream.flush().await.map_err(explain)?;
        stream.read_exact(&mut byte).await.map_err(explain)?;
        Ok(())
    }

    fn authority() -> Authority {
        Authority::derive(&Secret::random(), "default").unwrap()
    }

    fn node(authority: &Authority, id: u128) -> Tls {
        Tls::new(&authority.issue("desk", NodeId(id)).unwrap()).unwrap()
    }

    fn both(ends: Ends) -> [HandshakeError; 2] {
        ends.map(|end| end.expect_err("they must not talk"))
    }

    #[tokio::test]
    async fn the_same_secret_lets_in() {
        let authority = authority();
        let [near, far] = meet(&node(&authority, 1), &node(&authority, 2)).await;
        assert_eq!(near.unwrap().node, NodeId(2));
        assert_eq!(far.unwrap().node, NodeId(1));
    }

    #[tokio::test]
    async fn another_secret_is_named_on_both_sides() {
        let errors = both(meet(&node(&authority(), 1), &node(&authority(), 2)).await);
        assert_eq!(
            errors,
            [HandshakeError::OtherSecret, HandshakeError::OtherSecret]
        );
        assert!(errors[0].to_string().contains("different secrets"));
    }

    #[tokio::test]
    async fn another_network_is_named_on_both_sides() {
        let secret = Secret::random();
        let [a, b] = ["desk", "farm"].map(|network| Authority::derive(&secret, network).unwrap());
        let [near, far] = both(meet(&node(&a, 1), &node(&b, 2)).await);
        assert_eq!(
            near.to_string(),
            "the peer is on another network, this node on network \"desk\""
        );
        assert_eq!(
            far.to_string(),
            "the peer is on network \"desk\", this node on network \"farm\""
        );
    }

    #[tokio::test]
    async fn another_version_is_named_on_both_sides() {
        let authority = authority();
        let newer = authority.issue("desk", NodeId(1)).unwrap();
        let newer = Tls::speaking("coros/2", &newer).unwrap();
        let [near, far] = both(meet(&newer, &node(&authority, 2)).await);
        assert!(matches!(
            near,
            HandshakeError::OtherVersion {
                ours: "coros/2",
                theirs: None
            }
        ));
        assert!(
            far.to_string()
                .contains("version \"coros/2\", this node coros/1"),
            "{far}"
        );
        let [near, far] = both(meet(&node(&authority, 2), &newer).await);
        assert!(matches!(
            near,
            HandshakeError::OtherVersion {
                ours: "coros/1",
                theirs: None
            }
        ));
        assert!(
            far.to_string()
                .contains("version \"coros/1\", this node coros/2"),
            "{far}"
        );
    }

    #[tokio::test]
    async fn certificates_out_of_their_time_are_named_on_both_sides() {
        let authority = authority();
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 3600);
        let issue = |from, to| {
            Tls::new(&authority.issue_for("desk", NodeId(1), from, to).unwrap()).unwrap()
        };
        let good = node(&authority, 2);
        for (bad, says) in [
            (issue(now - 3 * day, now - day), HandshakeError::PeerExpired),
            (
                issue(now + day, now + 3 * day),
                HandshakeError::PeerNotYetValid,
            ),
        ] {
            assert_eq!(
                both(meet(&good, &bad).await),
                [says.clone(), HandshakeError::OwnExpired]
            );
            assert_eq!(
                both(meet(&bad, &good).await),
                [HandshakeError::OwnExpired, says]
            );
        }
    }

    #[tokio::test]
    async fn an_authority_of_the_same_name_gains_nothing() {
        // A certificate that an outsider made for our network, checked against our roots.
        let ours = authority();
        let forged = authority().issue("desk", NodeId(2)).unwrap();
        let [near, far] = both(meet(&node(&ours, 1), &Tls::new(&forged).unwrap()).await);
        assert_eq!(
            [near, far],
            [HandshakeError::OtherSecret, HandshakeError::OtherSecret]
        );
    }

    #[tokio::test]
    async fn garbage_is_no_coros_node() {
        let tls = node(&authority(), 1);
        let (near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(b"GET / HTTP/1.1\r\nhost: example.org\r\n\r\n")
            .await
            .unwrap();
        far.shutdown().await.unwrap();
        let error = tls.accept(near).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, HandshakeError::NotCoros(_)), "{error}");

        let (near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(b"220 mail.example.org ESMTP, at your service\r\n")
            .await
            .unwrap();
        far.shutdown().await.unwrap();
        let error = tls.dial(near).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, HandshakeError::NotCoros(_)), "{error}");
    }
}
