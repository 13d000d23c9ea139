//! A key and its certificate in a folder.
//!
//! The key is a private file, as a secret's (see `secret/file.rs`); the certificate is public.
//! Both are in PEM, which every tool reads.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::pem::{self as pki_pem, PemObject};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::{IdentityError, Subject, Validity, leaf, public_key, validity};
use crate::SecretError;
use crate::secret::file::{self, Made};

/// Far above two certificates.
const MAX_LENGTH: u64 = 64 << 10;

/// Whose key it is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Authority,
    Node,
}

impl Kind {
    fn files(self, folder: &Path) -> [PathBuf; 2] {
        let stem = match self {
            Kind::Authority => "ca",
            Kind::Node => "node",
        };
        [".key", ".pem"].map(|end| folder.join(format!("{stem}{end}")))
    }

    /// What does not belong in the same folder.
    fn other(self) -> Self {
        match self {
            Kind::Authority => Kind::Node,
            Kind::Node => Kind::Authority,
        }
    }

    fn own_folder(self) -> &'static str {
        match self {
            Kind::Authority => "a folder for an authority alone",
            Kind::Node => "a folder for the certificate of a node alone",
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Kind::Authority => "the certificate of an authority",
            Kind::Node => "the certificate of a node",
        }
    }

    fn expected_folder(self) -> &'static str {
        match self {
            Kind::Authority => "a folder with an authority, as `coros secret new-ca` makes it",
            Kind::Node => {
                "a folder with the certificate of a node, as `coros secret issue` makes it"
            }
        }
    }
}

pub(super) fn save(
    folder: &Path,
    kind: Kind,
    chain: &[CertificateDer<'_>],
    key: &KeyPair,
) -> Result<(), IdentityError> {
    let [key_path, chain_path] = kind.files(folder);
    for path in [&key_path, &chain_path] {
        if path.symlink_metadata().is_ok() {
            return Err(SecretError::Exists { path: path.clone() }.into());
        }
    }
    for path in kind.other().files(folder) {
        if path.symlink_metadata().is_ok() {
            let name = path.file_name().unwrap_or_default().display();
            return Err(IdentityError::Unusable {
                path: folder.to_owned(),
                expected: kind.own_folder(),
                reason: format!(
                    "{name} is in it; keep them apart, for the key of an authority belongs on no node"
                ),
            });
        }
    }
    let text = Zeroizing::new(key.serialize_pem());
    if file::create(&key_path, &text, file::PRIVATE)? == Made::WasThere {
        return Err(SecretError::Exists { path: key_path }.into());
    }
    let chain: String = chain.iter().map(|it| to_pem(it)).collect();
    let made = file::create(&chain_path, &chain, file::PUBLIC);
    let made = made.and_then(|made| match made {
        Made::New => Ok(()),
        Made::WasThere => Err(SecretError::Exists { path: chain_path }),
    });
    if made.is_err() {
        // A key without its certificate is of no use, and would be in the way of a second try.
        let _ = fs::remove_file(&key_path);
    }
    Ok(made?)
}

/// What was in a folder.
pub(super) struct Found {
    kind: Kind,
    chain_path: PathBuf,
    key_path: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    key: Zeroizing<String>,
}

pub(super) fn load(folder: &Path, kind: Kind) -> Result<Found, IdentityError> {
    let [key_path, chain_path] = kind.files(folder);
    for path in [&chain_path, &key_path] {
        if let Err(error) = fs::metadata(path)
            && error.kind() == io::ErrorKind::NotFound
        {
            let name = path.file_name().unwrap_or_default().display();
            return Err(IdentityError::Unusable {
                path: folder.to_owned(),
                expected: kind.expected_folder(),
                reason: format!("there is no {name} in it"),
            });
        }
    }
    let chain = read_public(&chain_path)?;
    let key = file::read(&key_path).map_err(|error| match error {
        SecretError::File { path, why } => no_key(&path, why.to_string()),
        error => error.into(),
    })?;
    let found = Found {
        kind,
        chain: Vec::new(),
        key,
        chain_path,
        key_path,
    };
    found.with_chain(&chain)
}

impl Found {
    /// What would have been found in files with this in them.
    #[cfg(feature = "fuzzing")]
    pub(super) fn in_texts(kind: Kind, chain: &[u8], key: &str) -> Result<Self, IdentityError> {
        let [key_path, chain_path] = kind.files(Path::new("fuzzing"));
        let found = Found {
            kind,
            chain: Vec::new(),
            key: Zeroizing::new(key.to_owned()),
            chain_path,
            key_path,
        };
        found.with_chain(chain)
    }

    #[cfg(feature = "fuzzing")]
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    fn with_chain(self, pem: &[u8]) -> Result<Self, IdentityError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let chain = chain.map_err(|_| self.unusable("what is in it is damaged".into()))?;
        Ok(Found { chain, ..self })
    }

    /// The certificate that the key is for.
    pub(super) fn own(&self) -> Result<CertificateDer<'static>, IdentityError> {
        let certificate = self.certificate(0)?;
        let key = public_key(&certificate).map_err(|error| self.unusable(error.to_string()))?;
        if key != self.key()?.subject_public_key_info() {
            let why = format!("{} is the key of another one", self.key_path.display());
            return Err(self.unusable(why));
        }
        Ok(certificate)
    }

    /// That of the authority, which comes after a node's own.
    pub(super) fn authority(&self) -> Result<CertificateDer<'static>, IdentityError> {
        self.certificate(1)
    }

    fn certificate(&self, index: usize) -> Result<CertificateDer<'static>, IdentityError> {
        let found = self.chain.get(index).cloned();
        let missing = || match self.chain.len() {
            0 => "there is no certificate in it",
            _ => "that of its authority is missing in it",
        };
        found.ok_or_else(|| self.unusable(missing().into()))
    }

    pub(super) fn key(&self) -> Result<KeyPair, IdentityError> {
        let no_key = |why: &str| no_key(&self.key_path, why.into());
        let key = match PrivatePkcs8KeyDer::from_pem_slice(self.key.as_bytes()) {
            Ok(key) => key,
            Err(pki_pem::Error::NoItemsFound) => return Err(no_key("there is none in it")),
            Err(_) => return Err(no_key("what is in it is damaged")),
        };
        leaf::read_key(key.secret_pkcs8_der())
            .map_err(|_| no_key("the key in it is damaged, or of another kind"))
    }

    pub(super) fn subject(
        &self,
        certificate: &CertificateDer<'_>,
    ) -> Result<Subject, IdentityError> {
        Subject::of(certificate).map_err(|error| self.unusable(error.to_string()))
    }

    pub(super) fn validity(
        &self,
        certificate: &CertificateDer<'_>,
    ) -> Result<Validity, IdentityError> {
        let unreadable = || self.unusable("it does not say when it is valid".into());
        validity::of(certificate).ok_or_else(unreadable)
    }

    pub(super) fn unusable(&self, reason: String) -> IdentityError {
        IdentityError::Unusable {
            path: self.chain_path.clone(),
            expected: self.kind.expected(),
            reason,
        }
    }
}

fn no_key(path: &Path, reason: String) -> IdentityError {
    IdentityError::Unusable {
        path: path.to_owned(),
        expected: "a private key (PKCS #8, PEM, Ed25519)",
        reason,
    }
}

fn read_public(path: &Path) -> Result<Vec<u8>, IdentityError> {
    let read = || {
        // Neither a pipe, which could hold this up, nor a device.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(path)?;
        file.take(MAX_LENGTH).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|why| IdentityError::File {
        action: "read the certificate",
        path: path.to_owned(),
        why,
    })
}

fn to_pem(certificate: &[u8]) -> String {
    let pem = Pem::new("CERTIFICATE", certificate);
    pem::encode_config(&pem, EncodeConfig::new().set_line_ending(LineEnding::LF))
}
