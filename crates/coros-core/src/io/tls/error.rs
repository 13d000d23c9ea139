//! What goes wrong with certificates, keys and handshakes.
//!
//! Each error says all it knows in its own text, so none has a `source` that would repeat it.

use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError, Error as RustlsError};

/// Why certificates or keys are of no use. Every message names where they come from: the file's
/// path, or `the given PEM`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// What was read is not well-formed PEM.
    #[error("{origin} is not well-formed PEM: {why}")]
    Pem {
        /// Where it comes from.
        origin: String,
        /// What is wrong.
        why: String,
    },
    /// There is no certificate in it.
    #[error("{origin} contains no certificate (no `-----BEGIN CERTIFICATE-----`)")]
    NoCertificate {
        /// Where it comes from.
        origin: String,
    },
    /// There is no private key in it.
    #[error(
        "{origin} contains no private key that is not encrypted (`-----BEGIN PRIVATE KEY-----`, \
         or one of RSA or EC)"
    )]
    NoKey {
        /// Where it comes from.
        origin: String,
    },
    /// A certificate of an authority cannot be used.
    #[error("certificate {position} in {origin} cannot be used as an authority: {why}")]
    BadAuthority {
        /// Where it comes from.
        origin: String,
        /// Which one, counted from 1.
        position: usize,
        /// What is wrong.
        why: RustlsError,
    },
    /// The key is not the one the certificate was made for.
    #[error("the key does not belong to the certificate: {origin}")]
    KeyMismatch {
        /// Where certificate and key come from.
        origin: String,
    },
    /// The certificate or the key cannot be used for another reason.
    #[error("certificate and key cannot be used: {origin}: {why}")]
    BadIdentity {
        /// Where certificate and key come from.
        origin: String,
        /// What is wrong.
        why: RustlsError,
    },
    /// The authorities cannot be used to verify anybody.
    #[error("{origin} cannot be used to verify the peer: {why}")]
    NoVerifier {
        /// Where they come from.
        origin: String,
        /// What is wrong.
        why: String,
    },
}

impl TlsConfigError {
    pub(super) fn unusable(origin: String, why: RustlsError) -> Self {
        match why {
            RustlsError::InconsistentKeys(_) => Self::KeyMismatch { origin },
            why => Self::BadIdentity { origin, why },
        }
    }
}

/// Why a TLS handshake failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The name to connect to is neither a DNS name nor an IP address.
    #[error("`{host}` is neither a DNS name nor an IP address")]
    InvalidName {
        /// The name.
        host: String,
    },
    /// The peer's certificate is not signed by one of our authorities.
    #[error(
        "the certificate of {peer} is not signed by an authority that is trusted here: wrong \
         authority file, or not the peer it claims to be"
    )]
    UnknownAuthority {
        /// The host's name, or `the client`.
        peer: String,
    },
    /// The server's certificate is for other names.
    #[error("the server is not `{host}`: its certificate is for {presented}")]
    WrongName {
        /// The name that was connected to.
        host: String,
        /// The names in the certificate.
        presented: String,
    },
    /// The peer's certificate is not valid at this time.
    #[error("the certificate of {peer} has expired or is not valid yet; or a clock is wrong")]
    NotValidNow {
        /// The host's name, or `the client`.
        peer: String,
    },
    /// The client showed no certificate, and the server takes none without.
    #[error("the client shows no certificate, which this server asks for")]
    NoClientCertificate,
    /// The peer refused our side, with a TLS alert.
    #[error("{peer} refused the handshake: {alert:?}{}", explain(*alert))]
    Refused {
        /// The host's name, or `the client`.
        peer: String,
        /// What the peer said.
        alert: AlertDescription,
    },
    /// Another error of TLS: bad certificate, no common version, not TLS at all.
    #[error("the TLS handshake with {peer} failed: {why}")]
    Tls {
        /// The host's name, or `the client`.
        peer: String,
        /// What is wrong.
        why: RustlsError,
    },
    /// The stream failed or ended.
    #[error("the stream to {peer} failed during the TLS handshake: {why}")]
    Io {
        /// The host's name, or `the client`.
        peer: String,
        /// What happened.
        why: io::Error,
    },
}

impl HandshakeError {
    pub(super) fn from_accept(why: io::Error) -> Self {
        Self::from_io("the client".to_owned(), None, why)
    }

    pub(super) fn from_connect(host: &str, why: io::Error) -> Self {
        Self::from_io(format!("`{host}`"), Some(host), why)
    }

    /// tokio-rustls wraps what rustls says into an `io::Error`.
    fn from_io(peer: String, host: Option<&str>, why: io::Error) -> Self {
        let why = match why.downcast::<RustlsError>() {
            Ok(why) => why,
            Err(why) => return Self::Io { peer, why },
        };
        match why {
            RustlsError::NoCertificatesPresented => Self::NoClientCertificate,
            RustlsError::AlertReceived(alert) => Self::Refused { peer, alert },
            RustlsError::InvalidCertificate(why) => Self::from_certificate(peer, host, why),
            why => Self::Tls { peer, why },
        }
    }

    fn from_certificate(peer: String, host: Option<&str>, why: CertificateError) -> Self {
        use CertificateError::{
            BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
            NotValidYet, NotValidYetContext, UnknownIssuer,
        };
        match (why, host) {
            // A bad signature is what an authority of the same name with another key looks like.
            (UnknownIssuer | BadSignature, _) => Self::UnknownAuthority { peer },
            (Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }, _) => {
                Self::NotValidNow { peer }
            }
            (NotValidForName, Some(host)) => Self::WrongName {
                host: host.to_owned(),
                presented: "other names".to_owned(),
            },
            (NotValidForNameContext { presented, .. }, Some(host)) => {
                let presented = if presented.is_empty() {
                    "no name".to_owned()
                } else {
                    presented.join(", ")
                };
                Self::WrongName {
                    host: host.to_owned(),
                    presented,
                }
            }
            (why, _) => Self::Tls {
                peer,
                why: RustlsError::InvalidCertificate(why),
            },
        }
    }
}

fn explain(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            " (it does not trust the authority that signed our certificate)"
        }
        AlertDescription::BadCertificate => " (it does not accept our certificate)",
        AlertDescription::CertificateExpired => " (our certificate is not valid by its clock)",
        AlertDescription::CertificateRequired => " (it wants a certificate, and we have none)",
        _ => "",
    }
}
