//! Bytes as they are, or mutual TLS 1.3.

use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{
    CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What both sides are called. Erlang's nodes have to be called by the name of their host.
const NAME: &str = "localhost";

/// Whether a connection is encrypted.
pub(crate) trait Security: Send + Sync + Sized + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Keys for a server and for its client.
    fn identities() -> Result<(Identity, Identity)>;
    fn accept(
        identity: &Identity,
        stream: TcpStream,
    ) -> impl Future<Output = Result<Self::Stream>> + Send;
    fn connect(
        identity: &Identity,
        stream: TcpStream,
    ) -> impl Future<Output = Result<Self::Stream>> + Send;
}

/// Bytes as they are.
pub(crate) struct Plain;

impl Security for Plain {
    type Stream = TcpStream;

    fn identities() -> Result<(Identity, Identity)> {
        Ok(Default::default())
    }

    async fn accept(_: &Identity, stream: TcpStream) -> Result<TcpStream> {
        Ok(stream)
    }

    async fn connect(_: &Identity, stream: TcpStream) -> Result<TcpStream> {
        Ok(stream)
    }
}

/// Mutual TLS 1.3 with ring, as coros has it.
pub(crate) struct Tls;

impl Security for Tls {
    type Stream = tokio_rustls::TlsStream<TcpStream>;

    fn identities() -> Result<(Identity, Identity)> {
        identities()
    }

    async fn accept(identity: &Identity, stream: TcpStream) -> Result<Self::Stream> {
        let acceptor = TlsAcceptor::from(identity.server()?);
        Ok(acceptor.accept(stream).await?.into())
    }

    async fn connect(identity: &Identity, stream: TcpStream) -> Result<Self::Stream> {
        let connector = TlsConnector::from(identity.client()?);
        let name = ServerName::try_from(NAME)?;
        Ok(connector.connect(name, stream).await?.into())
    }
}

/// What one side proves who it is with; empty where nothing is proved.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Identity {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authority: Vec<u8>,
}

/// Those of a server and of its client.
pub(crate) fn identities() -> Result<(Identity, Identity)> {
    let mut authority = CertificateParams::new(Vec::new())?;
    // Another than that of the leaves, which would else pass for their own issuers with some.
    authority.distinguished_name = common_name("bench authority");
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let issue = || -> Result<Identity> {
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(vec![NAME.to_owned()])?;
        leaf.distinguished_name = common_name("bench");
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        Ok(Identity {
            certificate: leaf.signed_by(&key, &authority)?.der().to_vec(),
            key: key.serialize_der(),
            authority: authority.as_ref().der().to_vec(),
        })
    };
    Ok((issue()?, issue()?))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

impl Identity {
    /// The names of files, and what is to be in them.
    pub(crate) fn pem(&self) -> [(&'static str, String); 3] {
        let pem = |tag: &str, contents: &[u8]| pem::encode(&pem::Pem::new(tag, contents));
        [
            ("certificate.pem", pem("CERTIFICATE", &self.certificate)),
            ("key.pem", pem("PRIVATE KEY", &self.key)),
            ("authority.pem", pem("CERTIFICATE", &self.authority)),
        ]
    }

    fn roots(&self) -> Result<Arc<RootCertStore>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.authority.clone()))?;
        Ok(Arc::new(roots))
    }

    fn own(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let key = PrivateKeyDer::try_from(self.key.clone()).map_err(anyhow::Error::msg)?;
        Ok((vec![CertificateDer::from(self.certificate.clone())], key))
    }

    fn server(&self) -> Result<Arc<ServerConfig>> {
        let (certificate, key) = self.own()?;
        let clients = WebPkiClientVerifier::builder_with_provider(self.roots()?, provider());
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(clients.build().context("no verifier")?)
            .with_single_cert(certificate, key)?;
        Ok(Arc::new(config))
    }

    fn client(&self) -> Result<Arc<ClientConfig>> {
        let (certificate, key) = self.own()?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(certificate, key)?;
        Ok(Arc::new(config))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
