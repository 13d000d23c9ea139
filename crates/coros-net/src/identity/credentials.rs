//! What one launch of a node joins a network with.

use std::fmt;

use coros_core::remote::NodeId;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Validity;
use super::leaf::Leaf;
use super::validity;

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
    origin: Origin,
    certificate: Vec<u8>,
    /// The node's certificate, if that has issued the leaf.
    issuer: Option<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
    authority: Vec<u8>,
}

/// Where an authority comes from: what people share, and have to compare when they do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    Secret,
    Owned,
}

impl Origin {
    /// What such an authority calls itself.
    pub(super) fn name_of_authority(self, network: &str) -> String {
        format!("{}{network}", self.prefix())
    }

    fn prefix(self) -> &'static str {
        match self {
            Origin::Secret => "coros network ",
            Origin::Owned => "coros authority ",
        }
    }

    /// What a certificate says of the authority that has issued it, which need not be true.
    pub(crate) fn said_by(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
        let issuer = certificate.issuer();
        let of_that = |origin: &Self| {
            let prefix = origin.prefix().as_bytes();
            issuer.windows(prefix.len()).any(|part| part == prefix)
        };
        [Origin::Secret, Origin::Owned].into_iter().find(of_that)
    }
}

impl Credentials {
    pub(super) fn new(
        leaf: Leaf,
        origin: Origin,
        network: &str,
        name: &str,
        issuer: Option<&CertificateDer<'_>>,
        authority: &CertificateDer<'_>,
    ) -> Self {
        Credentials {
            network: network.to_owned(),
            node: leaf.node,
            name: name.to_owned(),
            origin,
            certificate: leaf.certificate.to_vec(),
            issuer: issuer.map(|it| it.to_vec()),
            key: leaf.key,
            authority: authority.to_vec(),
        }
    }

    /// The launch id of the node they are for: a hash of the key in them.
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

    /// The leaf and what is between it and the authority.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = std::iter::once(&self.certificate).chain(&self.issuer);
        chain.map(|it| CertificateDer::from(it.clone())).collect()
    }

    /// When all of the chain is valid.
    pub(crate) fn validity(&self) -> Option<Validity> {
        let chain = self.chain();
        let all = chain.iter().filter_map(|it| validity::of(it));
        all.reduce(Validity::overlap)
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin
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
