//! Certificates and keys from PEM.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsConfigError;

/// What stands for a path in errors about PEM that was given in memory.
const IN_MEMORY: &str = "the given PEM";

/// A certificate chain with the private key of its first certificate: who one proves to be.
pub struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) origin: String,
}

impl Identity {
    /// Reads the chain (own certificate first, then those that sign it, up to but without the
    /// authority) and the key (PKCS#8, RSA or EC, not encrypted) from two PEM files, which may be
    /// one and the same.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`], naming the file: it cannot be read, is no PEM, or has no certificate or
    /// key in it. Whether the key belongs to the certificate is found out when a connector or
    /// acceptor is made of it.
    ///
    /// # Examples
    ///
    /// ```
    /// use coros_core::io::tls::Identity;
    ///
    /// let missing = Identity::from_files("/nowhere/node.crt", "/nowhere/node.key");
    /// assert!(missing.unwrap_err().to_string().starts_with("cannot read /nowhere/node.crt: "));
    /// ```
    pub fn from_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsConfigError> {
        let (chain, key) = (chain.as_ref(), key.as_ref());
        let (chain_origin, key_origin) = (chain.display().to_string(), key.display().to_string());
        Ok(Self {
            chain: certificates(&read(chain)?, &chain_origin)?,
            key: private_key(&read(key)?, &key_origin)?,
            origin: format!("certificate in {chain_origin}, key in {key_origin}"),
        })
    }

    /// Like [`from_files`](Self::from_files), from PEM in memory.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn from_pem(
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, TlsConfigError> {
        Ok(Self {
            chain: certificates(chain.as_ref(), IN_MEMORY)?,
            key: private_key(key.as_ref(), IN_MEMORY)?,
            origin: IN_MEMORY.to_owned(),
        })
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            origin: self.origin.clone(),
        }
    }
}

/// Does not show the key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("origin", &self.origin)
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// The certificate authorities whose signature is trusted.
#[derive(Clone, Debug)]
pub struct Authorities {
    pub(super) store: Arc<RootCertStore>,
    pub(super) origin: String,
}

impl Authorities {
    /// Reads one or more authorities' certificates from a PEM file.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`], naming the file: it cannot be read, is no PEM, has no certificate in
    /// it, or one that is of no use.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TlsConfigError> {
        let path = path.as_ref();
        Self::parse(&read(path)?, path.display().to_string())
    }

    /// Like [`from_file`](Self::from_file), from PEM in memory.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self, TlsConfigError> {
        Self::parse(pem.as_ref(), IN_MEMORY.to_owned())
    }

    fn parse(pem: &[u8], origin: String) -> Result<Self, TlsConfigError> {
        let mut store = RootCertStore::empty();
        for (index, certificate) in certificates(pem, &origin)?.into_iter().enumerate() {
            store
                .add(certificate)
                .map_err(|why| TlsConfigError::BadAuthority {
                    origin: origin.clone(),
                    position: index + 1,
                    why,
                })?;
        }
        Ok(Self {
            store: Arc::new(store),
            origin,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsConfigError> {
    std::fs::read(path).map_err(|why| TlsConfigError::Read {
        path: path.to_owned(),
        why,
    })
}

fn certificates(pem: &[u8], origin: &str) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|why| malformed(origin, &why))?;
    if all.is_empty() {
        return Err(TlsConfigError::NoCertificate {
            origin: origin.to_owned(),
        });
    }
    Ok(all)
}

fn private_key(pem: &[u8], origin: &str) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|why| match why {
        PemError::NoItemsFound => TlsConfigError::NoKey {
            origin: origin.to_owned(),
        },
        why => malformed(origin, &why),
    })
}

fn malformed(origin: &str, why: &PemError) -> TlsConfigError {
    TlsConfigError::Pem {
        origin: origin.to_owned(),
        why: why.to_string(),
    }
}
