//! `coros send` and `coros receive`, as written.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::network::{Network, Target};
use super::values::Size;

/// Send files to a node that takes them, such as `coros receive`
///
/// Over mutual TLS, verified by hash at the other end. A file that is there already is skipped,
/// one that an earlier attempt has begun is gone on with. Files arrive whole or not at all.
/// A connection that is silent for two seconds is given up: the same command goes on from there.
#[derive(Args, Debug)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
NODE is HOST:PORT, or the name of a node that one of the --peer, or one found by --discover, is or
knows. Of several that have the name, the one at a --peer is meant.

Output:
  A line for each file on standard output, everything else on standard error. With --json it is one
  object: {\"node\": {\"name\": \"desk\", \"endpoint\": \"10.0.0.7:7340\"}, \"seconds\": 0.1,
   \"files\": [{\"path\": \"a\", \"name\": \"in/a\", \"result\": \"sent\", \"size\": 9, \"moved\": 9, \"seconds\": 0.1}]}
  The result is sent, resumed, skipped, or failed; then there is an \"error\" in place of the numbers.
  If the node is not reached there is no object, but an error on standard error.

Exit status:
  0    all files are there
  1    some are not, or the node cannot be reached
  2    the command line or COROS_LOG is wrong
  130  interrupted by Ctrl-C; the same command goes on from there

Examples:
  coros send 127.0.0.1:7340 report.pdf
  coros send desk photo.jpg --discover
  coros send desk *.csv --to today --peer 10.0.0.7:7340 --json"
)]
pub(crate) struct SendFlags {
    /// To whom: HOST:PORT, or a name
    #[arg(value_name = "NODE|HOST:PORT")]
    pub(crate) node: Target,

    /// What to send; no two with one name
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Into which folder there, a relative path with `/`; it is made if need be
    #[arg(long, value_name = "FOLDER", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) to: Option<String>,

    /// Replace files there that have the same name and another content
    #[arg(long)]
    pub(crate) replace: bool,

    #[command(flatten)]
    pub(crate) network: Network,

    /// Print one JSON object, as --help says, instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// Take files that others send, into a folder
///
/// Runs until it is interrupted. Nothing outside of the folder can be written, nothing in it can be
/// fetched or deleted from afar, and only nodes of the same network get in: with nothing configured
/// the programs of the same user; `coros secret` says how to let in others.
#[derive(Args, Debug)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Output:
  A line for each file that has come on standard output, everything else on standard error. With
  --json each is an object: {\"from\": \"desk\", \"name\": \"in/a\", \"size\": 9, \"moved\": 9,
   \"already\": false}
  where moved is how many bytes crossed the network; already is whether the same content was there.

Exit status:
  0    --once, and a file has come
  1    it cannot listen, or cannot use the folder
  2    the command line or COROS_LOG is wrong
  130  interrupted by Ctrl-C
  143  ended by SIGTERM

Examples:
  coros receive ~/inbox --name desk --discover
  coros receive /srv/in --listen 0.0.0.0:7340 --max-size 20G"
)]
pub(crate) struct ReceiveFlags {
    /// Where files go; it has to exist
    pub(crate) folder: PathBuf,

    /// Where to listen; port 0 is any that is free [default: 127.0.0.1:7340, for this machine alone;
    /// with --discover 0.0.0.0:7340, for all]
    #[arg(long, value_name = "ADDRESS", value_parser = endpoint)]
    pub(crate) listen: Option<SocketAddr>,

    /// The most that a file may have: bytes, or with K, M, G, T (powers of 1024)
    #[arg(long, value_name = "N")]
    pub(crate) max_size: Option<Size>,

    /// Count a file as received only when it is on the disk, safe from a power cut; slower
    #[arg(long)]
    pub(crate) durable: bool,

    /// End after one file
    #[arg(long)]
    pub(crate) once: bool,

    #[command(flatten)]
    pub(crate) network: Network,

    /// Print a JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

fn endpoint(text: &str) -> Result<SocketAddr, String> {
    let example = "give an address of this machine and a port, such as 127.0.0.1:7340, or \
                   0.0.0.0:7340 for all that it has";
    text.parse().map_err(|_| example.into())
}
