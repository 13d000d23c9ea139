//! A key and its certificate in a folder.
//!
//! The key is a private file, as a secret's (see `secret/file.rs`); the certificate is public.
//! Both are in PEM, which every tool reads.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::pem::PemObject;
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

    fn expected(self) -> &'static str {
        match self {
            Kind::Authority => "the certificate of an authority",
            Kind::Node => "the certificate of a node",
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
    let chain = read_public(&chain_path)?;
    let key = file::read(&key_path)?;
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
        let chain = chain.map_err(|error| self.unusable(error.to_string()))?;
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
        found.ok_or_else(|| self.unusable(format!("there are {} in it", self.chain.len())))
    }

    pub(super) fn key(&self) -> Result<KeyPair, IdentityError> {
        let read = |pem: &str| {
            let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes());
            let key = key.map_err(|error| error.to_string())?;
            leaf::read_key(key.secret_pkcs8_der()).map_err(|error| error.to_string())
        };
        read(&self.key).map_err(|reason| IdentityError::Unusable {
            path: self.key_path.clone(),
            expected: "a private key (PKCS #8, PEM, Ed25519)",
            reason,
        })
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
    read().map_err(|source| IdentityError::File {
        action: "read the certificate",
        path: path.to_owned(),
        source,
    })
}

fn to_pem(certificate: &[u8]) -> String {
    let pem = Pem::new("CERTIFICATE", certificate);
    pem::encode_config(&pem, EncodeConfig::new().set_line_ending(LineEnding::LF))
}
