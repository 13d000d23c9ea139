//! What all have in common that are part of a network for long: `coros node` and `coros scheduler`. On the command
//! line, and in a file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use coros::net::{HostPort, NotHostPort};
use serde::Deserialize;

use super::network::{Around, Identity, Network};
use super::values::{Size, written, written_list};

/// Where one listens: HOST:PORT, or HOST for the usual port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At<const PORT: u16>(pub(crate) HostPort);

impl<const PORT: u16> FromStr for At<PORT> {
    type Err = NotHostPort;

    fn from_str(text: &str) -> Result<Self, NotHostPort> {
        // An IPv6 address has colons of its own.
        let address = text.trim_matches(['[', ']']).parse::<IpAddr>();
        match (address, text.contains(':')) {
            (Ok(IpAddr::V6(ip)), _) => format!("[{ip}]:{PORT}").parse(),
            (_, true) => text.parse(),
            (_, false) => format!("{text}:{PORT}").parse(),
        }
        .map(At)
    }
}

/// What can be in the file as well.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Member {
    /// Where to listen; port 0 is any that is free [default: 0.0.0.0 and the usual port, for all machines]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(deserialize_with = "written")]
    pub(crate) listen: Option<SocketAddr>,

    /// A node of the network, from which this one learns of the others; more than once for several
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(deserialize_with = "written_list")]
    pub(crate) peer: Vec<HostPort>,

    /// Find nodes and clients on the local network that do the same, by multicast DNS
    #[arg(long)]
    pub(crate) discover: bool,

    /// What others see, and may choose it by [default: the host's name, or the certificate's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// The network to join; with --certificate it is the certificate's [default: default]
    #[arg(long, value_name = "NAME")]
    pub(crate) network: Option<String>,

    /// A folder that `coros secret issue` made, in place of the shared secret
    #[arg(long, value_name = "FOLDER", conflicts_with = "network")]
    pub(crate) certificate: Option<PathBuf>,

    /// Where programs and files of clients are kept, with all else, as which other nodes were there last: these are
    /// looked for too after a start. Nobody else may use it [default: a folder
    /// of its own below XDG_CACHE_HOME or ~/.cache, coros/node or coros/scheduler]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,

    /// How much all programs and files may take there: bytes, or with K, M, G, T (powers of 1024). Those
    /// used longest ago go first. At a node, copies of files with which workers run count too. Each counts for 4K
    /// at least [least: 1M; default: 10G]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "written")]
    pub(crate) cache: Option<Size>,

    /// How much one program or file may have that a client sends; what workers write does not count
    /// [least: 1M; default, and most: as much as --cache]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "written")]
    pub(crate) max_file_size: Option<Size>,

    /// Be quiet: no console, and say only what goes wrong
    #[arg(long)]
    pub(crate) daemon: bool,
}

impl Member {
    /// These, and where they say nothing, those of the file.
    pub(crate) fn or(self, file: Member) -> Member {
        // Each of the two rules out the other.
        let file = match (&self.network, &self.certificate) {
            (None, None) => file,
            _ => Member {
                network: None,
                certificate: None,
                ..file
            },
        };
        Member {
            listen: self.listen.or(file.listen),
            peer: one_of(self.peer, file.peer),
            discover: self.discover || file.discover,
            name: self.name.or(file.name),
            network: self.network.or(file.network),
            certificate: self.certificate.or(file.certificate),
            dir: self.dir.or(file.dir),
            cache: self.cache.or(file.cache),
            max_file_size: self.max_file_size.or(file.max_file_size),
            daemon: self.daemon || file.daemon,
        }
    }

    pub(crate) fn listen(&self, port: u16) -> SocketAddr {
        self.listen
            .unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, port).into())
    }

    /// The network, and the way into it.
    pub(crate) fn network(&self) -> Network {
        Network {
            around: Around {
                peer: self.peer.clone(),
                discover: self.discover,
            },
            identity: Identity {
                name: self.name.clone(),
                network: self.network.clone().unwrap_or_else(|| "default".into()),
                certificate: self.certificate.clone(),
            },
        }
    }
}

/// The first list, unless it is empty.
pub(crate) fn one_of<T>(ours: Vec<T>, theirs: Vec<T>) -> Vec<T> {
    match ours.is_empty() {
        true => theirs,
        false => ours,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_at_the_usual_port_unless_told() {
        for (text, full) in [
            ("farm", "farm:7341"),
            ("farm:1", "farm:1"),
            ("10.0.0.7", "10.0.0.7:7341"),
            ("::1", "[::1]:7341"),
            ("[::1]", "[::1]:7341"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(
                text.parse(),
                Ok(At::<7341>(full.parse().unwrap())),
                "{text}"
            );
        }
        for wrong in ["", ":1", "farm:", "farm:x"] {
            assert!(wrong.parse::<At<7341>>().is_err(), "{wrong}");
        }
    }
}
