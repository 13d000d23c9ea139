//! Who may join a network, and as whom.
//!
//! A network has one certificate authority, and every node shows a certificate of it on every
//! link. [`Authority::derive`] makes the authority out of a [`Secret`]: the same secret and
//! network name give the same authority on every machine, so each node can issue its own
//! certificate and needs nobody's help to check another's:
//!
//! ```text
//! passphrase ── argon2id(salt = "coros1 network <name>") ──┐
//! random secret ── blake3 derive_key + network name ───────┴─> 32 bytes ──> Ed25519 key of the CA
//! ```
//!
//! A passphrase is stretched with argon2id with the parameters that RFC 9106 (section 4)
//! recommends where memory is scarce: 64 MiB, 3 passes, 4 lanes; that takes a tenth of a second
//! or so, once per process. Stretching adds nothing to 256 random bits, so a
//! [random](Secret::random) secret goes through blake3's key derivation instead, which costs
//! microseconds.
//!
//! A certificate carries two names: `<network>.coros` as a DNS name, which TLS checks, and
//! `coros://<network>/<node id, 32 hex digits>/<node name, percent-encoded>` as a URI, which says
//! who it is.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use argon2::{Algorithm, Argon2, Params, Version};
use coros_core::remote::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Secret;

/// RFC 9106, section 4, the second recommended option.
const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
const ARGON2_PASSES: u32 = 3;
const ARGON2_LANES: u32 = 4;

/// The DER in front of the 32 bytes of an Ed25519 private key in PKCS#8 version 1 (RFC 8410,
/// section 7): SEQUENCE (46 bytes), version 0, algorithm 1.3.101.112, OCTET STRING (34 bytes)
/// that holds an OCTET STRING (32 bytes).
const PKCS8_ED25519: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A certificate is valid from this long before it is issued, for clocks that run behind.
const BACK_DATING: Duration = Duration::from_secs(24 * 3600);
/// A leaf's key lives in the memory of one process and dies with it, so this only has to outlast
/// any process.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The name of the network that a node joins unless told otherwise.
pub const DEFAULT_NETWORK: &str = "default";
/// The longest name of a node, in bytes.
pub(crate) const MAX_NAME: usize = 128;

/// Issues the certificates of a network's nodes.
///
/// ```
/// use coros_net::{Authority, Secret};
///
/// let secret = Secret::from_text("a long enough passphrase")?;
/// let here = Authority::derive(&secret, "weather")?;
/// let there = Authority::derive(&secret, "weather")?;
/// assert_eq!(here.certificate(), there.certificate());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Authority {
    inner: Arc<AuthorityInner>,
}

struct AuthorityInner {
    network: Arc<str>,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The authority of the network of this name for those who know this secret.
    ///
    /// Takes about a tenth of a second of computing the first time in a process when the secret
    /// is a passphrase: in async code call it by `spawn_blocking`.
    ///
    /// # Errors
    /// [`IdentityError::Network`] when `network` is not 1 to 63 lower-case ASCII letters, digits
    /// and inner hyphens.
    pub fn derive(secret: &Secret, network: &str) -> Result<Self, IdentityError> {
        /// Every authority that this process has derived, by a hash of what it came from.
        static DERIVED: Mutex<Vec<([u8; 32], Authority)>> = Mutex::new(Vec::new());

        check_network(network)?;
        let origin = *blake3::Hasher::new_derive_key("coros 1 cache of derived authorities")
            .update(network.as_bytes())
            .update(&[0])
            .update(secret.reveal().as_bytes())
            .finalize()
            .as_bytes();
        // Held while deriving, so that nodes that start together derive once.
        let mut derived = DERIVED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, authority)) = derived.iter().find(|(of, _)| *of == origin) {
            return Ok(authority.clone());
        }
        let seed = seed(secret, network)?;
        let authority = Authority::from_seed(&seed, network)?;
        derived.push((origin, authority.clone()));
        Ok(authority)
    }

    fn from_seed(seed: &[u8; 32], network: &str) -> Result<Self, IdentityError> {
        let mut pkcs8 = Zeroizing::new([0; PKCS8_ED25519.len() + 32]);
        pkcs8[..PKCS8_ED25519.len()].copy_from_slice(&PKCS8_ED25519);
        pkcs8[PKCS8_ED25519.len()..].copy_from_slice(seed);
        let key = KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from(pkcs8.as_slice()),
            &PKCS_ED25519,
        )?;
        let mut params = CertificateParams::default();
        let fingerprint = blake3::hash(key.public_key_raw());
        let mut subject = DistinguishedName::new();
        // With the key in the name, another secret's authority is an unknown one, not one with a
        // wrong signature.
        let name = format!("coros network {network} {}", &fingerprint.to_hex()[..16]);
        subject.push(DnType::CommonName, name);
        params.distinguished_name = subject;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.serial_number = Some(SerialNumber::from(1));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(4096, 1, 1);
        let certificate = params.self_signed(&key)?.der().clone();
        let issuer = Issuer::new(params, key);
        Ok(Authority {
            inner: Arc::new(AuthorityInner {
                network: network.into(),
                certificate,
                issuer,
            }),
        })
    }

    /// Issues a certificate with a new key to a node, valid from a day ago for ten years.
    ///
    /// # Errors
    /// [`IdentityError::Name`] when `name` is empty, longer than 128 bytes or has control
    /// characters.
    pub fn issue(&self, name: &str, node: NodeId) -> Result<Credentials, IdentityError> {
        let now = SystemTime::now();
        self.issue_for(name, node, now - BACK_DATING, now + LIFETIME)
    }

    /// Issues a certificate that is valid from `not_before` to `not_after`.
    ///
    /// # Errors
    /// As [`issue`](Authority::issue).
    pub fn issue_for(
        &self,
        name: &str,
        node: NodeId,
        not_before: SystemTime,
        not_after: SystemTime,
    ) -> Result<Credentials, IdentityError> {
        check_name(name)?;
        let network = &self.inner.network;
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut params = CertificateParams::default();
        let identity = PeerIdentity {
            network: Arc::clone(network),
            node,
            name: name.into(),
        };
        params.subject_alt_names = vec![
            SanType::DnsName(dns_name(network).try_into()?),
            SanType::URI(identity.to_uri().try_into()?),
        ];
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, node.to_string());
        params.distinguished_name = subject;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        params.not_before = date_time_ymd(1970, 1, 1) + since_1970(not_before);
        params.not_after = date_time_ymd(1970, 1, 1) + since_1970(not_after);
        let certificate = params.signed_by(&key, &self.inner.issuer)?;
        Ok(Credentials {
            network: network.to_string(),
            node,
            name: name.to_owned(),
            certificate: certificate.der().to_vec(),
            key: Zeroizing::new(key.serialize_der()),
            authority: self.inner.certificate.to_vec(),
        })
    }

    /// The authority's own certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.inner.certificate
    }

    /// The network whose nodes it vouches for.
    #[must_use]
    pub fn network(&self) -> &str {
        &self.inner.network
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("network", &self.network())
            .finish_non_exhaustive()
    }
}

/// All that a node needs to join a network: its certificate and key, and the authority's
/// certificate to check others with.
///
/// It can be written and read by serde, so that a process can start another one that joins under
/// a name given to it and never sees the secret. It holds a private key: hand it over only by
/// ways that nobody else can read, such as a pipe.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    network: String,
    node: NodeId,
    name: String,
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    authority: Vec<u8>,
}

impl Credentials {
    /// The launch id of the node they are for.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The name of the node they are for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The network that they open.
    #[must_use]
    pub fn network(&self) -> &str {
        &self.network
    }

    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn authority(&self) -> &[u8] {
        &self.authority
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("network", &self.network)
            .field("node", &self.node)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Who a certificate says that its holder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerIdentity {
    pub(crate) network: Arc<str>,
    pub(crate) node: NodeId,
    pub(crate) name: Arc<str>,
}

impl PeerIdentity {
    /// Reads a certificate. Says nothing about whether it is genuine: TLS has checked that.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
        certificate
            .valid_uri_names()
            .find_map(PeerIdentity::from_uri)
    }

    fn to_uri(&self) -> String {
        let mut uri = format!("coros://{}/{}/", self.network, self.node);
        for byte in self.name.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                uri.push(char::from(byte));
            } else {
                uri.push_str(&format!("%{byte:02x}"));
            }
        }
        uri
    }

    fn from_uri(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix("coros://")?.split('/');
        let (network, node, name) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || node.len() != 32 {
            return None;
        }
        let name = percent_decode(name)?;
        check_network(network).ok()?;
        check_name(&name).ok()?;
        Some(PeerIdentity {
            network: network.into(),
            node: NodeId(u128::from_str_radix(node, 16).ok()?),
            name: name.into(),
        })
    }
}

/// The name under which TLS knows every node of a network.
pub(crate) fn dns_name(network: &str) -> String {
    format!("{network}.coros")
}

/// The launch id of a node that starts now.
pub(crate) fn new_node_id() -> NodeId {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
    NodeId(u128::from_le_bytes(bytes))
}

/// Why there is no [`Authority`] or no [`Credentials`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not a name for a network.
    #[error(
        "{0:?} cannot name a network: use 1 to 63 lower-case letters, digits, and hyphens inside"
    )]
    Network(String),
    /// Not a name for a node.
    #[error("{0:?} cannot name a node: use 1 to 128 bytes without control characters")]
    Name(String),
    /// A passphrase could not be stretched.
    #[error("cannot derive the network's key from the secret: {0}")]
    Derive(String),
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

fn seed(secret: &Secret, network: &str) -> Result<Zeroizing<[u8; 32]>, IdentityError> {
    if let Some(bits) = secret.random_bits() {
        let mut hasher = blake3::Hasher::new_derive_key("coros 1 authority of a network");
        hasher.update(&*bits).update(network.as_bytes());
        return Ok(Zeroizing::new(*hasher.finalize().as_bytes()));
    }
    let failed = |e: argon2::Error| IdentityError::Derive(e.to_string());
    let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, Some(32));
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(failed)?);
    let salt = format!("coros1 network {network}");
    let mut seed = Zeroizing::new([0; 32]);
    argon2
        .hash_password_into(secret.reveal().as_bytes(), salt.as_bytes(), &mut *seed)
        .map_err(failed)?;
    Ok(seed)
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
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
    if (1..=MAX_NAME).contains(&name.len()) && !name.contains(char::is_control) {
        return Ok(());
    }
    Err(IdentityError::Name(name.to_owned()))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.extend(crate::hex::decode(std::str::from_utf8(digits).ok()?)?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> PeerIdentity {
        PeerIdentity {
            network: "default".into(),
            node: NodeId(7),
            name: name.into(),
        }
    }

    #[test]
    fn identity_survives_the_certificate() {
        let authority = Authority::derive(&Secret::random(), "default").unwrap();
        for name in ["desk", "büro 3/links", "100%", "a%zz"] {
            let credentials = authority.issue(name, NodeId(7)).unwrap();
            let leaf = CertificateDer::from(credentials.certificate().to_vec());
            assert_eq!(PeerIdentity::of(&leaf), Some(identity(name)));
        }
    }

    #[test]
    fn foreign_uris_name_nobody() {
        let id = "00000000000000000000000000000007";
        assert!(PeerIdentity::from_uri(&format!("coros://default/{id}/desk")).is_some());
        for uri in [
            "https://default/1/desk".to_owned(),
            format!("coros://default/{id}"),
            format!("coros://default/{id}/"),
            format!("coros://default/{id}/desk/more"),
            format!("coros://Default/{id}/desk"),
            format!("coros://default/{id}/des%"),
            format!("coros://default/{id}/des%0"),
            format!("coros://default/{id}/des%c3"),
            "coros://default/7/desk".to_owned(),
            "coros://default/+0000000000000000000000000000007z/desk".to_owned(),
        ] {
            assert_eq!(PeerIdentity::from_uri(&uri), None, "{uri}");
        }
    }

    #[test]
    fn a_random_secret_and_a_passphrase_take_different_ways() {
        let random = Secret::random();
        assert!(random.random_bits().is_some());
        let typed = Secret::from_text(&random.reveal().to_uppercase()).unwrap();
        assert!(typed.random_bits().is_none());
        let seeds = [
            seed(&random, "a"),
            seed(&random, "b"),
            seed(&typed, "a"),
            seed(&typed, "b"),
        ];
        let mut seeds = seeds.map(|seed| *seed.unwrap());
        seeds.sort_unstable();
        assert!(seeds.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn the_stretching_is_fixed() {
        // Nodes of different builds must agree: a change here is a new protocol version.
        let secret = Secret::from_text("correct horse battery staple").unwrap();
        let authority = Authority::derive(&secret, "default").unwrap();
        let subject = String::from_utf8_lossy(authority.certificate()).into_owned();
        assert!(
            subject.contains("coros network default 17e2b013afc971b9"),
            "{subject}"
        );
    }
}
