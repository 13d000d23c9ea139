//! Who may join a network, and as whom.
//!
//! A network has one certificate authority, and every node shows a certificate of it on every
//! link. There are two kinds of authority:
//!
//! ```text
//! a shared secret:   secret ──> authority ──> leaf      each node makes all three for itself
//! certificates:      authority ──> node's certificate ──> leaf
//!                    (its owner's)  (a folder a node)      (each node for itself)
//! ```
//!
//! With a secret, everybody who knows it is the authority ([`Authority::derive`]); all nodes are
//! equals. With certificates, its owner alone is ([`Authority::generate`]), and a node can only be
//! what its [`NodeCertificate`] says: that one may issue leaves for its own name and for names
//! below it (`desk`, `desk/worker-1`), which TLS does not check and [`PeerIdentity::of`] does.
//!
//! A leaf carries two names: `<network>.coros` as a DNS name, which TLS checks, and
//! `coros://<network>/<node name, percent-encoded>` as a URI, which says who it is. A node's
//! certificate carries the URI alone, an authority `coros://<network>`.
//!
//! A leaf's key is made for one launch of a node and dies with it, and the launch id is a hash of
//! that key. So nobody can claim the id of another, not even those who may issue certificates.

mod authority;
mod certificate;
mod credentials;
mod folder;
mod leaf;
mod validity;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use coros_core::is_readable;
use coros_core::remote::NodeId;
use rustls::pki_types::CertificateDer;

pub use authority::Authority;
pub(crate) use authority::seed as stretched;
pub use certificate::NodeCertificate;
pub use credentials::Credentials;
pub(crate) use credentials::Origin;
pub use validity::Validity;
pub(crate) use validity::{About, Utc};

use crate::{SecretError, hex};

/// The name of the network that a node joins unless told otherwise.
pub const DEFAULT_NETWORK: &str = "default";
/// TLS knows whole seconds and takes a certificate until its last one is over. A link that ended
/// before could be made again at once, many times over.
const LAST: Duration = Duration::from_secs(1);
/// The longest name of a node, in bytes.
pub(crate) const MAX_NAME: usize = 128;

/// Who a certificate says that its holder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerIdentity {
    pub(crate) network: Arc<str>,
    pub(crate) node: NodeId,
    pub(crate) name: Arc<str>,
    /// Until when it is: from then on nobody takes the certificates any more.
    pub(crate) until: SystemTime,
}

impl PeerIdentity {
    /// Reads the certificates that a peer has shown, its leaf first.
    ///
    /// Says nothing about whether they are genuine: TLS has checked that the leaf comes from the
    /// authority, by way of the second certificate or directly.
    pub(crate) fn of(chain: &[CertificateDer<'_>]) -> Result<Self, ForeignCertificate> {
        let (leaf, issuer) = match chain {
            [leaf] => (leaf, None),
            [leaf, issuer] => (leaf, Some(issuer)),
            // With more, nothing would say which of them has issued the leaf.
            _ => return Err(ForeignCertificate::Chain),
        };
        let (network, name) = Subject::of(leaf).and_then(Subject::into_node)?;
        if let Some(issuer) = issuer {
            let (of, holder) = Subject::of(issuer).and_then(Subject::into_node)?;
            if of != network || !is_within(&name, &holder) {
                return Err(ForeignCertificate::Borrowed { name, holder });
            }
        }
        let valid = chain.iter().map(validity::of);
        let valid = valid.reduce(|one, other| Some(one?.overlap(other?)));
        let valid = valid.flatten().ok_or(ForeignCertificate::Timeless)?;
        Ok(PeerIdentity {
            until: valid.until() + LAST,
            network: network.into(),
            node: launch_id(&public_key(leaf)?),
            name: name.into(),
        })
    }
}

/// Why a certificate is not one of a node, though it comes from the right authority.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ForeignCertificate {
    #[error("it does not say which node it is for")]
    Nobody,
    #[error("it does not say until when it is valid")]
    Timeless,
    #[error("there are more certificates than a node shows")]
    Chain,
    #[error("{name:?} is none of the names that the holder of {holder:?} may give")]
    Borrowed { name: String, holder: String },
}

/// What [`NodeCertificate::load`] and [`Authority::load`] make of files with this in them, and a
/// node of a peer that shows these certificates; whether they are good for anything.
#[cfg(feature = "fuzzing")]
pub(crate) fn read(chain: &[u8], key: &str) -> bool {
    use folder::{Found, Kind};

    if let Ok(found) = Found::in_texts(Kind::Node, chain, key) {
        // Genuine or not: TLS looks at that first, but this is not to depend on it.
        let _ = PeerIdentity::of(found.chain());
        for certificate in found.chain() {
            let _ = Origin::said_by(certificate);
            let _ = validity::of(certificate);
        }
        if let Ok(certificate) = NodeCertificate::of(&found) {
            let _ = certificate.issue(certificate.name());
            return true;
        }
    }
    let found = Found::in_texts(Kind::Authority, chain, key);
    found.is_ok_and(|found| Authority::of(&found).is_ok())
}

/// Whether the holder of a certificate for `holder` may issue one for `name`.
pub(crate) fn is_within(name: &str, holder: &str) -> bool {
    let rest = name.strip_prefix(holder);
    rest.is_some_and(|rest| rest.is_empty() || (rest.starts_with('/') && rest.len() > 1))
}

/// Whom a certificate is for: a node, or with no name the authority of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    network: String,
    name: Option<String>,
}

impl Subject {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, ForeignCertificate> {
        let certificate = webpki::EndEntityCert::try_from(certificate);
        let certificate = certificate.map_err(|_| ForeignCertificate::Nobody)?;
        let subject = certificate.valid_uri_names().find_map(Subject::from_uri);
        subject.ok_or(ForeignCertificate::Nobody)
    }

    fn into_node(self) -> Result<(String, String), ForeignCertificate> {
        let name = self.name.ok_or(ForeignCertificate::Nobody)?;
        Ok((self.network, name))
    }

    fn to_uri(&self) -> String {
        let mut uri = format!("coros://{}", self.network);
        let Some(name) = &self.name else {
            return uri;
        };
        uri.push('/');
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                uri.push(char::from(byte));
            } else {
                uri.push_str(&format!("%{byte:02x}"));
            }
        }
        uri
    }

    fn from_uri(uri: &str) -> Option<Self> {
        let rest = uri.strip_prefix("coros://")?;
        let (network, name) = match rest.split_once('/') {
            Some((network, name)) => (network, Some(percent_decode(name)?)),
            None => (rest, None),
        };
        check_network(network).ok()?;
        if let Some(name) = &name {
            check_name(name).ok()?;
        }
        Some(Subject {
            network: network.to_owned(),
            name,
        })
    }
}

/// The name under which TLS knows every node of a network.
pub(crate) fn dns_name(network: &str) -> String {
    format!("{network}.coros")
}

/// The launch that a key was made for. `key` is a subject public key info, DER.
fn launch_id(key: &[u8]) -> NodeId {
    let hash = blake3::derive_key("coros 1 launch id of a key", key);
    let (id, _) = hash.split_at(16);
    NodeId(u128::from_be_bytes(id.try_into().expect("16 bytes")))
}

fn public_key(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, ForeignCertificate> {
    let certificate = webpki::EndEntityCert::try_from(certificate);
    let certificate = certificate.map_err(|_| ForeignCertificate::Nobody)?;
    Ok(certificate.subject_public_key_info().to_vec())
}

/// SHA-256 of a certificate, 64 hexadecimal digits: what
/// `openssl x509 -fingerprint -sha256` prints, without its colons.
pub(crate) fn fingerprint(certificate: &[u8]) -> String {
    use rustls::SupportedCipherSuite::Tls13;
    use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let Tls13(suite) = TLS13_AES_128_GCM_SHA256 else {
        unreachable!("it is a suite of TLS 1.3");
    };
    hex::encode(suite.common.hash_provider.hash(certificate).as_ref())
}

/// A network's name is part of a DNS name.
pub(crate) fn check_network(name: &str) -> Result<(), IdentityError> {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let inner = !name.starts_with('-') && !name.ends_with('-');
    if (1..=63).contains(&name.len()) && inner && name.bytes().all(letters) {
        return Ok(());
    }
    Err(IdentityError::Network(name.to_owned()))
}

pub(crate) fn check_name(name: &str) -> Result<(), IdentityError> {
    // What is below a name comes after a slash, as in a path: no part may lead anywhere else.
    let leads = |part: &str| !["", ".", ".."].contains(&part);
    if name.len() <= MAX_NAME && is_readable(name) && name.split('/').all(leads) {
        return Ok(());
    }
    Err(IdentityError::Name(name.to_owned()))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'/' {
            return None;
        }
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.extend(hex::decode(std::str::from_utf8(digits).ok()?)?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// Why there is no [`Authority`], no [`NodeCertificate`] or no [`Credentials`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not a name for a network.
    #[error(
        "{0:?} cannot name a network: use 1 to 63 lower-case letters, digits, and hyphens inside"
    )]
    Network(String),
    /// Not a name for a node.
    #[error(
        "{0:?} cannot name a node: use 1 to 128 bytes of characters that can be seen, and no part \
         between slashes that is empty, \".\" or \"..\""
    )]
    Name(String),
    /// A node's certificate is for another name.
    #[error(
        "the certificate is for {holder:?}: with it a node can be {holder:?} or, below that, \
         \"{holder}/…\", but not {name:?}"
    )]
    OtherName {
        /// The name that was asked for.
        name: String,
        /// Whose certificate it is.
        holder: String,
    },
    /// A certificate or what it would be issued with has run out.
    #[error("{what} was valid until {}: {advice}", validity::Utc(*until))]
    Expired {
        /// What has expired.
        what: String,
        /// Since when.
        until: SystemTime,
        /// What to do.
        advice: &'static str,
    },
    /// A passphrase could not be stretched.
    #[error("cannot derive the network's key from the secret: {0}")]
    Derive(String),
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(rcgen::Error),
    /// A file holds something else than it should.
    #[error("{} is not {expected}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A private key that is at the mercy of others, or cannot be read or made.
    #[error(transparent)]
    Key(#[from] SecretError),
    /// A certificate cannot be read or made.
    #[error("cannot {action} {}: {why}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        why: io::Error,
    },
}

impl From<rcgen::Error> for IdentityError {
    fn from(why: rcgen::Error) -> Self {
        IdentityError::Certificate(why)
    }
}

#[cfg(test)]
mod tests;
