//! The authority of a network: derived from a secret, or its owner's.
//!
//! [`Authority::derive`] makes the authority out of a [`Secret`]: the same secret and network name
//! give the same authority on every machine, so each node can issue its own certificate and needs
//! nobody's help to check another's:
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

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use argon2::{Algorithm, Argon2, Params, Version};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::certificate::NodeCertificate;
use super::credentials::{Credentials, Origin};
use super::folder::{self, Found, Kind};
use super::{IdentityError, Subject, Validity, check_name, check_network, fingerprint, leaf};
use crate::Secret;

/// RFC 9106, section 4, the second recommended option.
const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
const ARGON2_PASSES: u32 = 3;
const ARGON2_LANES: u32 = 4;

/// Issues the certificates of a network's nodes.
///
/// Either everybody who knows the network's secret is the authority:
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
///
/// or its owner alone is, who gives each machine a folder with a [`NodeCertificate`]:
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use coros_net::{Authority, Node, NodeCertificate};
///
/// const DAY: Duration = Duration::from_secs(24 * 3600);
/// # let home = tempfile::tempdir()?;
/// # let (safe, desk) = (home.path().join("safe"), home.path().join("desk"));
/// // Once, where the key of the authority is kept; as `coros secret new-ca` does.
/// Authority::generate("weather", 3650 * DAY)?.save(&safe)?;
/// // For each node, as `coros secret issue` does; then its folder goes to its machine.
/// Authority::load(&safe)?.certify("desk", 365 * DAY)?.save(&desk)?;
/// // There:
/// let node = Node::builder().certificate(NodeCertificate::load(&desk)?).build().await?;
/// assert_eq!(&*node.location().name, "desk");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Authority {
    inner: Arc<AuthorityInner>,
}

struct AuthorityInner {
    network: Arc<str>,
    origin: Origin,
    certificate: CertificateDer<'static>,
    valid: Validity,
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
        /// Every authority that this process has derived from a passphrase, by a hash of what it came from.
        /// There is no end of random secrets.
        static DERIVED: Mutex<Vec<([u8; 32], Authority)>> = Mutex::new(Vec::new());

        check_network(network)?;
        if secret.is_random() {
            return Authority::from_seed(&*seed(secret, network)?, network);
        }
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

    /// A new authority with a key of its own, valid for so long.
    ///
    /// # Errors
    /// [`IdentityError::Network`], as [`derive`](Authority::derive).
    pub fn generate(network: &str, lifetime: Duration) -> Result<Self, IdentityError> {
        check_network(network)?;
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let valid = leaf::from_now(lifetime);
        let params = made_params(network, &key, valid)?;
        let certificate = params.self_signed(&key)?.der().clone();
        let issuer = Issuer::new(params, key);
        Ok(Authority::assemble(
            network,
            Origin::Owned,
            certificate,
            valid,
            issuer,
        ))
    }

    /// Writes the authority's key (`ca.key`, for its owner's eyes only) and certificate (`ca.pem`)
    /// to a folder, which is made if there is none.
    ///
    /// # Errors
    /// When either is there already, or a node's certificate; when a file cannot be made, or when others
    /// could change the folder.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), IdentityError> {
        let chain = [self.inner.certificate.clone()];
        folder::save(
            folder.as_ref(),
            Kind::Authority,
            &chain,
            self.inner.issuer.key(),
        )
    }

    /// Reads an authority that [`save`](Authority::save) has written.
    ///
    /// # Errors
    /// When a file cannot be read or holds something else, or others can read the key.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, IdentityError> {
        Authority::of(&folder::load(folder.as_ref(), Kind::Authority)?)
    }

    pub(super) fn of(found: &Found) -> Result<Self, IdentityError> {
        let (certificate, key) = (found.own()?, found.key()?);
        let subject = found.subject(&certificate)?;
        if subject.name.is_some() {
            return Err(found.unusable("it is that of a node".into()));
        }
        let valid = found.validity(&certificate)?;
        let network = subject.network;
        let params = made_params(&network, &key, valid)?;
        let issuer = Issuer::new(params, key);
        Ok(Authority::assemble(
            &network,
            Origin::Owned,
            certificate,
            valid,
            issuer,
        ))
    }

    fn assemble(
        network: &str,
        origin: Origin,
        certificate: CertificateDer<'static>,
        valid: Validity,
        issuer: Issuer<'static, KeyPair>,
    ) -> Self {
        Authority {
            inner: Arc::new(AuthorityInner {
                network: network.into(),
                origin,
                certificate,
                valid,
                issuer,
            }),
        }
    }

    fn from_seed(seed: &[u8; 32], network: &str) -> Result<Self, IdentityError> {
        let key = leaf::key_from_seed(seed)?;
        // Fixed in every detail: all nodes have to make the same.
        let mut params = CertificateParams::default();
        let mut subject = DistinguishedName::new();
        let name = leaf::name_with_key(&Origin::Secret.name_of_authority(network), &key);
        subject.push(DnType::CommonName, name);
        params.distinguished_name = subject;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.serial_number = Some(SerialNumber::from(1));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(4096, 1, 1);
        let certificate = params.self_signed(&key)?.der().clone();
        let valid = Validity::new(params.not_before.into(), params.not_after.into());
        let issuer = Issuer::new(params, key);
        Ok(Authority::assemble(
            network,
            Origin::Secret,
            certificate,
            valid,
            issuer,
        ))
    }

    /// Issues credentials with a new key for one launch of a node, valid from a day ago for ten
    /// years, at most as long as the authority.
    ///
    /// # Errors
    /// [`IdentityError::Name`] when `name` is empty, longer than 128 bytes or has control
    /// characters, or when a part of it between slashes is empty, `.` or `..`; [`IdentityError::Expired`].
    pub fn issue(&self, name: &str) -> Result<Credentials, IdentityError> {
        let valid = self.unexpired(leaf::lifetime())?;
        self.issue_for(name, valid.from(), valid.until())
    }

    /// Issues credentials that are valid from `not_before` to `not_after`.
    ///
    /// # Errors
    /// As [`issue`](Authority::issue).
    pub fn issue_for(
        &self,
        name: &str,
        not_before: SystemTime,
        not_after: SystemTime,
    ) -> Result<Credentials, IdentityError> {
        let valid = Validity::new(not_before, not_after);
        let leaf = leaf::issue(&self.inner.issuer, &self.inner.network, name, valid)?;
        Ok(self.credentials(name, leaf))
    }

    /// [`issue`](Authority::issue) with a key, and with it a launch id, that is known beforehand.
    #[cfg(feature = "sim")]
    pub(crate) fn issue_from_seed(
        &self,
        name: &str,
        seed: &[u8; 32],
    ) -> Result<Credentials, IdentityError> {
        let valid = self.unexpired(leaf::lifetime())?;
        let key = leaf::key_from_seed(seed)?;
        let issuer = &self.inner.issuer;
        let leaf = leaf::issue_with(&key, issuer, &self.inner.network, name, valid)?;
        Ok(self.credentials(name, leaf))
    }

    fn credentials(&self, name: &str, leaf: leaf::Leaf) -> Credentials {
        let Self { inner } = self;
        Credentials::new(
            leaf,
            inner.origin,
            &inner.network,
            name,
            None,
            &inner.certificate,
        )
    }

    /// Issues a certificate to a node, valid from a day ago and `lifetime` from now, at most as
    /// long as the authority: for all launches of that node until then.
    ///
    /// # Errors
    /// As [`issue`](Authority::issue).
    pub fn certify(
        &self,
        name: &str,
        lifetime: Duration,
    ) -> Result<NodeCertificate, IdentityError> {
        let valid = self.unexpired(leaf::from_now(lifetime))?;
        self.certify_for(name, valid.from(), valid.until())
    }

    /// Issues a certificate to a node that is valid from `not_before` to `not_after`.
    ///
    /// # Errors
    /// As [`issue`](Authority::issue).
    pub fn certify_for(
        &self,
        name: &str,
        not_before: SystemTime,
        not_after: SystemTime,
    ) -> Result<NodeCertificate, IdentityError> {
        check_name(name)?;
        let Self { inner } = self;
        let valid = Validity::new(not_before, not_after);
        NodeCertificate::issue_by(
            &inner.issuer,
            &inner.network,
            name,
            valid,
            &inner.certificate,
        )
    }

    fn unexpired(&self, wanted: Validity) -> Result<Validity, IdentityError> {
        wanted.within(self.inner.valid, || IdentityError::Expired {
            what: format!("the authority of network {:?}", self.network()),
            until: self.inner.valid.until(),
            advice: "make a new one by `coros secret new-ca`, and issue all certificates anew",
        })
    }

    /// The authority's own certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.inner.certificate
    }

    /// SHA-256 of its certificate in hexadecimal digits. Two nodes can talk if theirs are the same.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(self.certificate())
    }

    /// When it is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.inner.valid
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

/// All that [`Authority::load`] has to know again: how the authority names itself.
fn made_params(
    network: &str,
    key: &KeyPair,
    valid: Validity,
) -> Result<CertificateParams, IdentityError> {
    let subject = Subject {
        network: network.to_owned(),
        name: None,
    };
    let name = leaf::name_with_key(&Origin::Owned.name_of_authority(network), key);
    // Between it and a leaf is the node's certificate.
    leaf::issuing(&name, &subject, valid, 1)
}

/// The key of the authority that comes from a secret.
pub(crate) fn seed(secret: &Secret, network: &str) -> Result<Zeroizing<[u8; 32]>, IdentityError> {
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
