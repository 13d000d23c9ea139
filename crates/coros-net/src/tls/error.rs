//! Why two nodes do not talk to each other, as each of them can tell.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, OtherError};

use super::verify::OtherOrigin;
use crate::identity::{About, Origin, Utc, Validity};
use crate::transport::why_broken;

/// What a node is, as far as it explains why others refuse it.
pub(super) struct Own {
    pub(super) network: Arc<str>,
    pub(super) protocol: &'static str,
    pub(super) origin: Origin,
    /// The fingerprint of the authority.
    pub(super) authority: String,
    pub(super) valid: Option<Validity>,
}

impl Own {
    /// Finds the reason in what a stream says.
    pub(super) fn explain(&self, error: &io::Error) -> HandshakeError {
        let Some(tls) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>())
        else {
            return HandshakeError::Connection {
                kind: error.kind(),
                reason: why_broken(error),
            };
        };
        let not_coros = |why: &str| HandshakeError::NotCoros(why.into());
        match tls {
            Error::InvalidCertificate(why) => self.bad_certificate(why),
            Error::AlertReceived(alert) => self.alerted(*alert),
            Error::NoApplicationProtocol => self.other_version(),
            Error::NoCertificatesPresented => HandshakeError::NoCertificate,
            Error::InvalidMessage(_) => not_coros("it does not speak TLS"),
            Error::PeerIncompatible(_) => not_coros("it does not speak TLS 1.3 as nodes do"),
            Error::DecryptError => not_coros("it does not know the key of its own connection"),
            other => HandshakeError::NotCoros(other.to_string()),
        }
    }

    /// What the peer found wrong.
    fn alerted(&self, alert: AlertDescription) -> HandshakeError {
        match alert {
            AlertDescription::UnknownCA | AlertDescription::DecryptError => self.other_authority(),
            AlertDescription::CertificateUnknown => self.other_means(),
            AlertDescription::CertificateExpired => self.out_of_time(SystemTime::now()),
            AlertDescription::NoApplicationProtocol => self.other_version(),
            AlertDescription::AccessDenied => self.other_network(),
            AlertDescription::ProtocolVersion => {
                HandshakeError::NotCoros("it does not speak TLS 1.3".into())
            }
            other => HandshakeError::NotCoros(format!("it answered with TLS alert {other:?}")),
        }
    }

    fn bad_certificate(&self, why: &CertificateError) -> HandshakeError {
        match *why {
            CertificateError::Other(OtherError(ref why)) if why.is::<OtherOrigin>() => {
                self.other_means()
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                self.other_authority()
            }
            CertificateError::ExpiredContext { time, not_after } => HandshakeError::PeerExpired {
                until: system_time(not_after),
                ago: between(not_after, time),
            },
            CertificateError::NotValidYetContext { time, not_before } => {
                HandshakeError::PeerNotYetValid {
                    from: system_time(not_before),
                    ahead: between(time, not_before),
                }
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                self.other_network()
            }
            _ => HandshakeError::BadCertificate(why.to_string()),
        }
    }

    fn other_authority(&self) -> HandshakeError {
        match self.origin {
            Origin::Secret => HandshakeError::OtherSecret,
            Origin::Owned => HandshakeError::OtherAuthority {
                ours: self.authority.clone(),
            },
        }
    }

    fn other_means(&self) -> HandshakeError {
        match self.origin {
            Origin::Secret => HandshakeError::PeerHasCertificate,
            Origin::Owned => HandshakeError::PeerHasSecret {
                ours: self.authority.clone(),
            },
        }
    }

    fn other_version(&self) -> HandshakeError {
        HandshakeError::OtherVersion {
            ours: self.protocol,
            theirs: None,
        }
    }

    fn other_network(&self) -> HandshakeError {
        HandshakeError::OtherNetwork {
            ours: self.network.to_string(),
            theirs: None,
        }
    }

    /// The peer says that our certificate is out of its time, and not in which direction.
    fn out_of_time(&self, now: SystemTime) -> HandshakeError {
        let since = |from, to: SystemTime| to.duration_since(from).unwrap_or_default();
        match self.valid {
            Some(valid) if valid.until() < now => HandshakeError::OwnExpired {
                until: valid.until(),
                ago: since(valid.until(), now),
            },
            Some(valid) => HandshakeError::ClocksDiffer {
                valid,
                now,
                behind: since(valid.from(), now),
                ahead: since(now, valid.until()),
            },
            None => HandshakeError::BadCertificate("the peer finds ours out of its time".into()),
        }
    }
}

fn system_time(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs())
}

fn between(from: UnixTime, to: UnixTime) -> Duration {
    Duration::from_secs(to.as_secs().saturating_sub(from.as_secs()))
}

/// Why two nodes do not talk to each other. Both sides get to know it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The two certificates come from different secrets.
    #[error(
        "the two nodes have different secrets: give both the same one, as `coros secret show` says"
    )]
    OtherSecret,
    /// The two certificates come from different authorities.
    #[error(
        "the peer's certificate is not from this node's authority, nor this node's from the \
         peer's: issue both with the same (here it is the one with the SHA-256 {ours})"
    )]
    OtherAuthority {
        /// The [fingerprint](crate::Authority::fingerprint) of this node's authority.
        ours: String,
    },
    /// The peer joins the network by a certificate from an authority, this node by a secret.
    #[error(
        "the peer has a certificate from an authority, this node has none and uses a secret: give \
         this one a certificate from the same authority (`coros secret issue`), or let both use \
         one secret"
    )]
    PeerHasCertificate,
    /// The peer joins the network by a secret, this node by a certificate from an authority.
    #[error(
        "this node has a certificate from an authority, the peer has none and uses a secret: give \
         the peer a certificate from the same authority (`coros secret issue`; here it is the one \
         with the SHA-256 {ours}), or let both use one secret"
    )]
    PeerHasSecret {
        /// The [fingerprint](crate::Authority::fingerprint) of this node's authority.
        ours: String,
    },
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
    #[error(
        "the peer's certificate expired {} ago by this machine's clock, on {}: \
         issue a new one, or set the clock right", About(*ago), Utc(*until)
    )]
    PeerExpired {
        /// When it expired.
        until: SystemTime,
        /// How long ago that was.
        ago: Duration,
    },
    /// The peer's certificate is not valid yet.
    #[error(
        "the peer's certificate is not valid before {}: the peer's clock is at least {} ahead of \
         this machine's; set both right", Utc(*from), About(*ahead)
    )]
    PeerNotYetValid {
        /// When it begins to be valid.
        from: SystemTime,
        /// How long until then.
        ahead: Duration,
    },
    /// The peer says that our certificate is out of its time, and it has indeed run out.
    #[error(
        "this node's certificate expired {} ago, on {}: issue a new one", About(*ago), Utc(*until)
    )]
    OwnExpired {
        /// When it expired.
        until: SystemTime,
        /// How long ago that was.
        ago: Duration,
    },
    /// The peer says that our certificate is out of its time, and by our clock it is not.
    #[error(
        "by the peer's clock this node's certificate, which is valid from {valid}, is not valid \
         now; here it is {}, so the peer's clock is at least {} behind or {} ahead: set both right",
        Utc(*now), About(*behind), About(*ahead)
    )]
    ClocksDiffer {
        /// When our certificate is valid.
        valid: Validity,
        /// Now, by our clock.
        now: SystemTime,
        /// If the peer's clock is behind, so much.
        behind: Duration,
        /// If the peer's clock is ahead, so much.
        ahead: Duration,
    },
    /// The peer has no certificate.
    #[error(
        "the peer shows no certificate, as every node has one by the network's secret or from its \
         authority: it is no node"
    )]
    NoCertificate,
    /// The peer's certificate is not one of a node.
    #[error("the peer's certificate is not a node's: {0}")]
    BadCertificate(String),
    /// Whatever is at the other end is no coros node.
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
