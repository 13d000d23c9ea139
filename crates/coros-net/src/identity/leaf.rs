//! The certificate that a node shows: made at its launch, for that launch.

use std::time::{Duration, SystemTime};

use coros_core::remote::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::{IdentityError, Subject, Validity, check_name, dns_name, launch_id};

/// A certificate is valid from this long before it is issued, for clocks that run behind.
const BACK_DATING: Duration = Duration::from_secs(24 * 3600);
/// A leaf's key lives in the memory of one process and dies with it, so this only has to outlast
/// any process.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The DER in front of the 32 bytes of an Ed25519 private key in PKCS#8 version 1 (RFC 8410,
/// section 7): SEQUENCE (46 bytes), version 0, algorithm 1.3.101.112, OCTET STRING (34 bytes)
/// that holds an OCTET STRING (32 bytes).
const PKCS8_ED25519: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

pub(super) struct Leaf {
    pub(super) node: NodeId,
    pub(super) certificate: CertificateDer<'static>,
    /// PKCS #8, DER.
    pub(super) key: Zeroizing<Vec<u8>>,
}

/// From a day ago for `lifetime`, to make up for clocks that differ a little.
pub(super) fn from_now(lifetime: Duration) -> Validity {
    let now = SystemTime::now();
    Validity::new(
        now - BACK_DATING,
        now.checked_add(lifetime).unwrap_or(now + LIFETIME),
    )
}

pub(super) fn lifetime() -> Validity {
    from_now(LIFETIME)
}

/// Issues a leaf with a new key.
pub(super) fn issue(
    issuer: &Issuer<'_, KeyPair>,
    network: &str,
    name: &str,
    valid: Validity,
) -> Result<Leaf, IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    issue_with(&key, issuer, network, name, valid)
}

/// Issues a leaf with this key.
pub(super) fn issue_with(
    key: &KeyPair,
    issuer: &Issuer<'_, KeyPair>,
    network: &str,
    name: &str,
    valid: Validity,
) -> Result<Leaf, IdentityError> {
    check_name(name)?;
    let node = launch_id(&key.subject_public_key_info());
    let subject = Subject {
        network: network.to_owned(),
        name: Some(name.to_owned()),
    };
    let mut params = params(&node.to_string(), &subject, valid)?;
    let dns = SanType::DnsName(dns_name(network).try_into()?);
    params.subject_alt_names.push(dns);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(key, issuer)?;
    Ok(Leaf {
        node,
        certificate: certificate.der().clone(),
        key: Zeroizing::new(key.serialize_der()),
    })
}

/// What a certificate that issues others begins with; `depth` counts those between it and a leaf.
pub(super) fn issuing(
    common_name: &str,
    subject: &Subject,
    valid: Validity,
    depth: u8,
) -> Result<CertificateParams, IdentityError> {
    let mut params = params(common_name, subject, valid)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(depth));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

fn params(
    common_name: &str,
    subject: &Subject,
    valid: Validity,
) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.subject_alt_names = vec![SanType::URI(subject.to_uri().try_into()?)];
    params.not_before = date_time_ymd(1970, 1, 1) + since_1970(valid.from());
    params.not_after = date_time_ymd(1970, 1, 1) + since_1970(valid.until());
    Ok(params)
}

/// A common name with the key in it, so that another authority of the same network is an unknown
/// one, not one with a wrong signature.
pub(super) fn name_with_key(what: &str, key: &KeyPair) -> String {
    let fingerprint = blake3::hash(key.public_key_raw());
    format!("{what} {}", &fingerprint.to_hex()[..16])
}

/// The key that these bytes are the secret of.
pub(super) fn key_from_seed(seed: &[u8; 32]) -> Result<KeyPair, rcgen::Error> {
    let mut pkcs8 = Zeroizing::new([0; PKCS8_ED25519.len() + 32]);
    pkcs8[..PKCS8_ED25519.len()].copy_from_slice(&PKCS8_ED25519);
    pkcs8[PKCS8_ED25519.len()..].copy_from_slice(seed);
    read_key(&*pkcs8)
}

/// The key in a PKCS #8 document.
pub(super) fn read_key(pkcs8: &[u8]) -> Result<KeyPair, rcgen::Error> {
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8), &PKCS_ED25519)
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}
