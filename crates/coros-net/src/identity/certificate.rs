//! A node's certificate, where the network's authority is somebody's own.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, Issuer, KeyPair, PKCS_ED25519};
use rustls::pki_types::CertificateDer;

use super::credentials::{Credentials, Origin};
use super::folder::{self, Found, Kind};
use super::{IdentityError, Subject, Validity, fingerprint, is_within, leaf};

/// What a machine has to join a network whose authority is somebody else's: a certificate for one
/// name, with its key. Issued by [`Authority::certify`](super::Authority::certify), used by
/// [`Builder::certificate`](crate::Builder::certificate).
///
/// It is good for every launch of the node until it runs out: each launch issues a leaf with it.
/// It is also good for names below its own (`desk/worker-1` for `desk`), so that a node can vouch
/// for processes that it starts; for no other name, and for no further certificates.
///
/// It cannot be called back. Let it run out soon if its key may be stolen; to shut out its holder
/// at once, make a new authority and issue the others anew.
#[derive(Clone)]
pub struct NodeCertificate {
    inner: Arc<Inner>,
}

struct Inner {
    network: String,
    name: String,
    certificate: CertificateDer<'static>,
    valid: Validity,
    authority: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl NodeCertificate {
    pub(super) fn issue_by(
        authority: &Issuer<'_, KeyPair>,
        network: &str,
        name: &str,
        valid: Validity,
        certificate_of_authority: &CertificateDer<'static>,
    ) -> Result<Self, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut params = made_params(network, name, &key, valid)?;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, authority)?.der().clone();
        Ok(NodeCertificate {
            inner: Arc::new(Inner {
                network: network.to_owned(),
                name: name.to_owned(),
                certificate,
                valid,
                authority: certificate_of_authority.clone(),
                issuer: Issuer::new(params, key),
            }),
        })
    }

    /// Writes the key (`node.key`, for its owner's eyes only) and the certificate with that of the
    /// authority (`node.pem`) to a folder, which is made if there is none.
    ///
    /// # Errors
    /// When either is there already, or an authority; when a file cannot be made, or when others
    /// could change the folder.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), IdentityError> {
        let Inner {
            certificate,
            authority,
            issuer,
            ..
        } = &*self.inner;
        let chain = [certificate.clone(), authority.clone()];
        folder::save(folder.as_ref(), Kind::Node, &chain, issuer.key())
    }

    /// Reads what [`save`](NodeCertificate::save) has written.
    ///
    /// # Errors
    /// When a file cannot be read or holds something else, or others can read the key.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, IdentityError> {
        NodeCertificate::of(&folder::load(folder.as_ref(), Kind::Node)?)
    }

    pub(super) fn of(found: &Found) -> Result<Self, IdentityError> {
        let (certificate, key) = (found.own()?, found.key()?);
        let authority = found.authority()?;
        let subject = found.subject(&certificate)?;
        let Some(name) = subject.name else {
            return Err(found.unusable("it is that of an authority".into()));
        };
        let valid = found.validity(&certificate)?;
        let params = made_params(&subject.network, &name, &key, valid)?;
        Ok(NodeCertificate {
            inner: Arc::new(Inner {
                network: subject.network,
                name,
                certificate,
                valid,
                authority,
                issuer: Issuer::new(params, key),
            }),
        })
    }

    /// Issues credentials with a new key for one launch of a node: the one that this certificate
    /// is for, or one of a name below it.
    ///
    /// # Errors
    /// [`IdentityError::OtherName`], [`IdentityError::Expired`], and [`IdentityError::Name`] for
    /// what is no name at all.
    pub fn issue(&self, name: &str) -> Result<Credentials, IdentityError> {
        if !is_within(name, self.name()) {
            return Err(IdentityError::OtherName {
                name: name.to_owned(),
                holder: self.name().to_owned(),
            });
        }
        let valid = leaf::lifetime().within(self.validity(), || IdentityError::Expired {
            what: format!("the certificate of node {:?}", self.name()),
            until: self.validity().until(),
            advice: "issue a new one by `coros secret issue`",
        })?;
        self.leaf(name, valid)
    }

    /// Whatever the name.
    fn leaf(&self, name: &str, valid: Validity) -> Result<Credentials, IdentityError> {
        let it = &*self.inner;
        let leaf = leaf::issue(&it.issuer, &it.network, name, valid)?;
        let between = Some(&it.certificate);
        let (network, authority) = (&it.network, &it.authority);
        let origin = Origin::Owned;
        Ok(Credentials::new(
            leaf, origin, network, name, between, authority,
        ))
    }

    /// What a dishonest holder can do.
    #[cfg(test)]
    pub(crate) fn forge(&self, name: &str, valid: Validity) -> Credentials {
        self.leaf(name, valid).expect("it can be issued")
    }

    /// The node that it is for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The network that the node can join.
    #[must_use]
    pub fn network(&self) -> &str {
        &self.inner.network
    }

    /// When it is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.inner.valid
    }

    /// SHA-256 of the authority's certificate, as
    /// [`Authority::fingerprint`](super::Authority::fingerprint).
    #[must_use]
    pub fn authority(&self) -> String {
        fingerprint(&self.inner.authority)
    }
}

impl fmt::Debug for NodeCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCertificate")
            .field("network", &self.network())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// All that [`NodeCertificate::load`] has to know again: how the issuer of leaves names itself.
fn made_params(
    network: &str,
    name: &str,
    key: &KeyPair,
    valid: Validity,
) -> Result<CertificateParams, IdentityError> {
    let subject = Subject {
        network: network.to_owned(),
        name: Some(name.to_owned()),
    };
    // Nothing but leaves below it.
    leaf::issuing(&leaf::name_with_key("coros node", key), &subject, valid, 0)
}
