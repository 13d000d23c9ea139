//! Why a node could not start, and why there is no link with one.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::{HandshakeError, IdentityError, NotHostPort, PeersFileError, SecretError};

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Its name or its network's does not fit, or there is no certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There is no secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Its certificate or key cannot be used.
    #[error("the node's certificate cannot be used: {0}")]
    Tls(rustls::Error),
    /// It cannot listen.
    #[error("cannot listen on {endpoint}: {}", listen_advice(.why))]
    Listen {
        /// Where it should have listened.
        endpoint: SocketAddr,
        /// What the operating system says.
        why: io::Error,
    },
    /// Its folder for files cannot be opened, or not be written to.
    #[error(
        "cannot use {} as the folder for files: {why}; it has to exist, and this user to be allowed to write there",
        path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system says.
        why: io::Error,
    },
    /// What was given as a peer is neither an endpoint nor `host:port`.
    #[error("{given:?} is no peer: {why}")]
    Peer {
        /// What was given.
        given: String,
        /// What is wrong with it.
        why: NotHostPort,
    },
    /// There is no multicast on this machine.
    #[error("cannot look for nodes on the local network: {0}; give peers in place of `discover`")]
    Discover(io::Error),
    /// A file of peers cannot be read, or a line of it is wrong.
    #[error(transparent)]
    PeersFile(#[from] PeersFileError),
}

fn listen_advice(why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has this port; choose another, or 0 for any that is free".into()
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".into(),
        _ => why.to_string(),
    }
}

/// Why there is no link with a node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("cannot reach {endpoint}: {why}; does a node listen there?")]
    Unreachable {
        /// What was dialled.
        endpoint: SocketAddr,
        /// What the operating system says.
        why: io::Error,
    },
    /// The two cannot talk.
    #[error("no link with {endpoint}: {why}")]
    Handshake {
        /// What was dialled.
        endpoint: SocketAddr,
        /// Why.
        why: HandshakeError,
    },
    /// No link in time.
    #[error(
        "no link with {endpoint} within {after:.1?}: check the address, and whether a firewall is on the way"
    )]
    TimedOut {
        /// What was dialled.
        endpoint: SocketAddr,
        /// The time limit.
        after: Duration,
    },
    /// The node dialled itself.
    #[error("{endpoint} is this node itself")]
    Itself {
        /// What was dialled.
        endpoint: SocketAddr,
    },
    /// The node that listened there has gone, another listens in its place.
    #[error("another node, {name:?}, listens on {endpoint} now")]
    Restarted {
        /// What was dialled.
        endpoint: SocketAddr,
        /// Who answered.
        name: String,
    },
    /// The peer cannot be dialled.
    #[error("{name:?} listens nowhere, so it can only dial itself: let it begin")]
    NotListening {
        /// The peer's name.
        name: String,
    },
    /// This node has closed, or is about to.
    #[error("this node has closed")]
    Closed,
}

impl ConnectError {
    /// The link is gone as soon as it was there.
    pub(crate) fn lost(endpoint: SocketAddr) -> Self {
        let why = HandshakeError::Connection {
            kind: io::ErrorKind::ConnectionAborted,
            reason: "the link was lost at once".into(),
        };
        ConnectError::Handshake { endpoint, why }
    }
}
