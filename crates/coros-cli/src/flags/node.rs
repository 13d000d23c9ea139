//! `coros node`, as written: on the command line, and in a file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use coros::cluster::machine::Label;
use coros::net::{HostPort, NotHostPort};
use serde::Deserialize;

use super::network::{Around, Identity, Network};
use super::values::{Cpus, Size, TimeOfDay, written, written_list};

/// Where nodes listen unless told.
pub(crate) const PORT: u16 = 7341;

/// Where a node listens: HOST:PORT, or HOST for the usual port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At(pub(crate) HostPort);

impl FromStr for At {
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

/// Lend this machine to programs that have never been here
///
/// Runs until it is told to end. Programs of others (such as `coros demo --nodes`, and any program with
/// a scheduler on a cluster) find this node, send themselves here, and run their functions in
/// processes of their own, at most one for each core. Nothing has to be installed for them: neither the
/// program nor its data, nor Rust.
///
/// Whoever has the network's secret can run any program here, as the user who runs the node, but held to a
/// folder of its own, as far as this system can (--check says how far). Nobody else gets in: every link is
/// encrypted, and both sides prove that they have the same secret.
/// `coros secret show` says how to take the secret to another machine.
#[derive(Args, Debug)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
From one machine to three:
  coros secret show                    # says how to take the secret to the other machines
  coros node                           # on each of the others; it says where it listens
  coros demo --nodes 10.0.0.7,10.0.0.8 # here

While it runs:
  It says on standard error which clients come and go. With a terminal it also takes commands; `help`
  lists them. Calls are divided fairly: each client has as many cores as any other that has use for
  them, unless a client wants the node for itself, and then waits for its turn.

  SIGTERM (as from systemd, or `kill`) drains it: no client may come, no call begins, those that run
  go on to their end, and then it ends. Another SIGTERM, or Ctrl-C, ends it at once, and with it all
  that it has started; what ran runs again on other nodes.

Service hours:
  --from 20:00 --until 06:00 lends the cores at night, by the local time of this machine. At 06:00
  no call begins any more, and those that run may go on. With --kill-at 08:00 those that still run
  at 08:00 are killed.

The file:
  TOML with the names of the options, without dashes in front. What the command line says goes first.
    name = \"farm-1\"
    cpus = -1
    cache = \"20G\"
    label = [\"gpu=a100\", \"room=b12\"]
    peer = [\"10.0.0.7:7341\"]
    from = \"20:00\"
    until = \"06:00\"

Exit status:
  0    drained by SIGTERM, --serve is over, closed at the console; or --check
  1    it cannot listen, or cannot use its folder
  2    the command line, the file or COROS_LOG is wrong
  130  interrupted by Ctrl-C
  143  ended by a second SIGTERM

Examples:
  coros node
  coros node --check
  coros node --cpus -1 --label gpu=a100 --dir /scratch/coros
  coros node --name farm-1 --discover --from 20:00 --until 06:00 --kill-at 08:00
  coros node --daemon --config /etc/coros/node.toml"
)]
pub(crate) struct NodeFlags {
    #[command(flatten)]
    pub(crate) settings: Settings,

    /// A file with options, as --help says [default: coros/node.toml below XDG_CONFIG_HOME or ~/.config,
    /// if it is there]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Show what this machine has and would lend, and end
    #[arg(long)]
    pub(crate) check: bool,

    /// Print one JSON object instead of lines
    #[arg(long, requires = "check")]
    pub(crate) json: bool,
}

/// What can be in the file as well.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// Where to listen; port 0 is any that is free [default: 0.0.0.0:7341, for all machines]
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

    /// How many cores to lend; -1 leaves one free, and so on, but lends at least one [default: all]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[serde(deserialize_with = "written")]
    pub(crate) cpus: Option<Cpus>,

    /// Where programs, files and work of clients are kept; no other node may use it [default: coros/node
    /// below XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,

    /// How much all programs and files may take there: bytes, or with K, M, G, T (powers of 1024). Those
    /// used longest ago go first [default: 10G]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "written")]
    pub(crate) cache: Option<Size>,

    /// How much one program or file may take [default: as much as all]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "written")]
    pub(crate) max_file_size: Option<Size>,

    /// How much memory all workers together may have; one is killed when they take more. Without control
    /// groups (--check tells) each process may have so much [default: seven eighths of all]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "written")]
    pub(crate) memory: Option<Size>,

    /// A file, or a folder with all in it, that workers may read besides their own and what the system has for
    /// everybody; more than once for several
    #[arg(long, value_name = "PATH")]
    pub(crate) readable: Vec<PathBuf>,

    /// What clients can choose it by, such as gpu=a100; more than once for several
    #[arg(long, value_name = "KEY[=VALUE]")]
    #[serde(deserialize_with = "written_list")]
    pub(crate) label: Vec<Label>,

    /// End after N computations: takes N clients, no more, and ends when they have left
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "written")]
    pub(crate) serve: Option<NonZeroU32>,

    /// From when on cores are lent, by local time; needs --until
    #[arg(long, value_name = "HH:MM")]
    #[serde(deserialize_with = "written")]
    pub(crate) from: Option<TimeOfDay>,

    /// Until when calls may begin; before --from it is on the next day
    #[arg(long, value_name = "HH:MM")]
    #[serde(deserialize_with = "written")]
    pub(crate) until: Option<TimeOfDay>,

    /// When calls that have begun before --until and still run are killed [default: never]
    #[arg(long, value_name = "HH:MM")]
    #[serde(deserialize_with = "written")]
    pub(crate) kill_at: Option<TimeOfDay>,

    /// Be quiet: no console, and say only what goes wrong
    #[arg(long)]
    pub(crate) daemon: bool,
}

impl Settings {
    /// These, and where they say nothing, those of the file.
    pub(crate) fn or(self, file: Settings) -> Settings {
        let list = |ours: Vec<_>, theirs| if ours.is_empty() { theirs } else { ours };
        // Each of the two rules out the other.
        let file = match (&self.network, &self.certificate) {
            (None, None) => file,
            _ => Settings {
                network: None,
                certificate: None,
                ..file
            },
        };
        Settings {
            listen: self.listen.or(file.listen),
            peer: if self.peer.is_empty() {
                file.peer
            } else {
                self.peer
            },
            discover: self.discover || file.discover,
            name: self.name.or(file.name),
            network: self.network.or(file.network),
            certificate: self.certificate.or(file.certificate),
            cpus: self.cpus.or(file.cpus),
            dir: self.dir.or(file.dir),
            cache: self.cache.or(file.cache),
            memory: self.memory.or(file.memory),
            readable: if self.readable.is_empty() {
                file.readable
            } else {
                self.readable
            },
            max_file_size: self.max_file_size.or(file.max_file_size),
            label: list(self.label, file.label),
            serve: self.serve.or(file.serve),
            from: self.from.or(file.from),
            until: self.until.or(file.until),
            kill_at: self.kill_at.or(file.kill_at),
            daemon: self.daemon || file.daemon,
        }
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
            .unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, PORT).into())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_at_the_usual_port_unless_told() {
        for (text, full) in [
            ("farm", "farm:7341"),
            ("farm:1", "farm:1"),
            ("10.0.0.7", "10.0.0.7:7341"),
            ("::1", "[::1]:7341"),
            ("[::1]", "[::1]:7341"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(text.parse(), Ok(At(full.parse().unwrap())), "{text}");
        }
        for wrong in ["", ":1", "farm:", "farm:x"] {
            assert!(wrong.parse::<At>().is_err(), "{wrong}");
        }
    }
}
