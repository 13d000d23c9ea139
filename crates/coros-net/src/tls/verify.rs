//! What a dialler makes of the certificates of whom it has dialled.
//!
//! As rustls has it, but for one reason more: that they come from another kind of authority, an owner's in
//! the place of a secret's or the other way round. The dialled side never sees the dialler's
//! certificates then, and gets to know it by the alert `certificate_unknown`.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use crate::identity::Origin;

/// The certificates come from another kind of authority than ours.
#[derive(Debug, thiserror::Error)]
#[error("they come from another kind of authority")]
pub(super) struct OtherOrigin;

/// Lets in who has a certificate of the authority.
#[derive(Debug)]
pub(super) struct OfAuthority {
    inner: Arc<WebPkiServerVerifier>,
    origin: Origin,
}

impl OfAuthority {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
        origin: Origin,
    ) -> Result<Self, Error> {
        let inner = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider));
        let inner = inner.build().map_err(|e| Error::General(e.to_string()))?;
        Ok(OfAuthority { inner, origin })
    }
}

impl ServerCertVerifier for OfAuthority {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .inner
            .verify_server_cert(leaf, between, name, ocsp, now);
        let topmost = between.last().unwrap_or(leaf);
        match verified {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
                if Origin::said_by(topmost).is_some_and(|theirs| theirs != self.origin) =>
            {
                let why = OtherError(Arc::new(OtherOrigin));
                Err(Error::InvalidCertificate(CertificateError::Other(why)))
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
