//! Who one is on which network, and where the others are; `coros peers` and `coros ping`, as
//! written.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgGroup, Args};
use coros::net::{HostPort, NotHostPort};

/// Show who is on the network
///
/// Joins the network by way of nodes that are given, or found on the local network, learns from them
/// of all others, asks each how far away it is, and leaves again. Nobody tells of nodes that listen
/// nowhere and only dial others.
#[derive(Args, Debug)]
#[command(
    verbatim_doc_comment,
    group = ArgGroup::new("around").args(["peer", "discover"]).required(true).multiple(true),
    after_long_help = "\
Output:
  A line for each node on standard output, everything else on standard error:
    NAME        as it calls itself; names need not differ
    ENDPOINT    where it can be dialled, or - if it only dials others
    ID          the beginning of its launch id, another one after each restart
    STATE       up, or lost when there has been no sign of life since
    LINK        whether there was a link from here; most nodes need none
    ROUND TRIP  how long a word and its answer take, over a link made for it if need be

  With --json it is one object: {\"peers\": [{\"name\": \"desk\",
   \"id\": \"0f...32 digits\", \"endpoint\": \"10.0.0.7:7340\", \"state\": \"up\", \"link\": true,
   \"round_trip_seconds\": 0.0002, \"error\": null}]}
  An endpoint, a time or an error that there is none of is null. If the network cannot be joined
  there is no object, but an error on standard error.

Exit status:
  0    there is somebody
  1    nobody, or the network cannot be joined
  2    the command line or COROS_LOG is wrong
  130  interrupted by Ctrl-C

Examples:
  coros peers --discover
  coros peers --peer farm.example:7340 --wait 5 --json | jq -r '.peers[].name'"
)]
pub(crate) struct PeersFlags {
    /// How many seconds to listen for nodes that others know of
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) wait: Duration,

    #[command(flatten)]
    pub(crate) network: Network,

    /// Print one JSON object, as --help says, instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Measure how far away a node is
///
/// A word and its answer, once a second, over an encrypted link as everything else. The node answers
/// itself, whatever its coroutines are at.
#[derive(Args, Debug)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
NODE is HOST:PORT, or the name of a node that one of the --peer, or one found by --discover, is or
knows. Of several that have the name, the one at a --peer is meant.

Output:
  A line for each word on standard output, and a summary; everything else on standard error. Ctrl-C
  ends it with the summary. With --json an object a line, for each word
   {\"number\": 1, \"seconds\": 0.0002, \"error\": null}
  and at the end
   {\"node\": {\"name\": \"desk\", \"id\": \"0f...\", \"endpoint\": \"10.0.0.7:7340\"}, \"asked\": 4, \"answered\": 4,
    \"loss\": 0.0, \"min_seconds\": 0.0002, \"avg_seconds\": 0.0002, \"max_seconds\": 0.0003}
  The seconds are null where there is no answer, and then there is an error; the loss is from 0 to 1.
  If the node is not found there is no object, but an error on standard error.

  A node that does not answer for long is dialled again each time, so it goes on by itself when the
  node is back, unless that was started anew: then it is another one.

Exit status:
  0    it has answered, at least once
  1    it has not, or cannot be found
  2    the command line or COROS_LOG is wrong
  130  interrupted by Ctrl-C

Examples:
  coros ping 10.0.0.7:7340
  coros ping desk --discover
  coros ping desk --peer 10.0.0.7:7340 --count 100 --interval 0.1"
)]
pub(crate) struct PingFlags {
    /// Whom to ask: HOST:PORT, or a name
    #[arg(value_name = "NODE|HOST:PORT")]
    pub(crate) node: Target,

    /// How often to ask; 0 is until Ctrl-C
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) count: u64,

    /// How many seconds apart
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) interval: Duration,

    /// How many seconds an answer is waited for
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) timeout: Duration,

    #[command(flatten)]
    pub(crate) network: Network,

    /// Print JSON objects, as --help says, instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which node is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    At(HostPort),
    Named(String),
}

impl FromStr for Target {
    type Err = NotHostPort;

    fn from_str(text: &str) -> Result<Self, NotHostPort> {
        match text.contains(':') {
            true => text.parse().map(Target::At),
            false => Ok(Target::Named(text.to_owned())),
        }
    }
}

/// The network, and the way into it.
#[derive(Args, Debug)]
pub(crate) struct Network {
    #[command(flatten)]
    pub(crate) around: Around,

    #[command(flatten)]
    pub(crate) identity: Identity,
}

/// From where one gets to know the others.
#[derive(Args, Debug)]
pub(crate) struct Around {
    /// A node of the network, from which one learns of the others; more than once for several
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) peer: Vec<HostPort>,

    /// Find nodes on the local network that do the same, by multicast DNS
    #[arg(long)]
    pub(crate) discover: bool,
}

/// Who one is on which network.
#[derive(Args, Clone, Debug)]
pub(crate) struct Identity {
    /// What others see, and may ask for [default: coros and the process id, or the certificate's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// The network to join; with --certificate it is the certificate's
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) network: String,

    /// A folder that `coros secret issue` made, in place of the shared secret
    #[arg(long, value_name = "FOLDER", conflicts_with = "network")]
    pub(crate) certificate: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    // Shorter ones a machine cannot keep, longer ones nobody waits for.
    let sane = 0.001..=1e6;
    let seconds = text.parse().ok().filter(|seconds| sane.contains(seconds));
    let seconds = seconds.ok_or("give a number of seconds from 0.001 to 1000000")?;
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_be_parts_of_one() {
        assert_eq!(seconds("2"), Ok(Duration::from_secs(2)));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["", "0", "-1", "1s", "NaN", "inf", "1e300"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
