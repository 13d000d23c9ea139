//! `coros secret`, as written.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Decide who belongs to a network: one secret for all, or a certificate for each node
///
/// Nodes talk to each other over mutual TLS, always, and to nobody else. There are two ways to say
/// who belongs together.
///
/// A secret that all nodes share. With nothing configured it is a random one in the configuration
/// folder of the user, made at the first start of a node: all programs of one user on one machine
/// belong together. Copy the file, and another machine belongs to them as well. Whoever has the
/// secret can do whatever any node can.
///
/// Or a certificate for each node, from an authority of your own, whose key stays in a safe place.
/// A node can then be nothing but what its certificate says, and the certificate runs out.
#[derive(Args, Debug)]
#[command(
    verbatim_doc_comment,
    arg_required_else_help = true,
    after_long_help = "\
One secret for all machines:
  coros secret new                        the first, and how to take it to another machine
  coros secret show                       where it is, and how to take it to another machine
  coros secret new --force                another one, which shuts out whoever has the old one

A certificate for each node:
  coros secret new-ca ~/safe/weather --network weather
  coros secret issue desk --ca ~/safe/weather --out ./desk
  coros secret show ./desk                for whom it is, and until when
  Take the folder desk to its machine. There, in the program:
    let certificate = NodeCertificate::load(\"/etc/coros/desk\")?;
    let node = Node::builder().certificate(certificate).build().await?;

Environment:
  COROS_SECRET_FILE  a file with the secret, in the place of the one in the configuration folder

Exit status:
  0  it was done
  1  it was not, and a message says why
  2  the command line or COROS_LOG is wrong"
)]
pub(crate) struct SecretFlags {
    #[command(subcommand)]
    pub(crate) command: SecretCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    Show(ShowFlags),
    New(NewFlags),
    NewCa(NewCaFlags),
    Issue(IssueFlags),
}

/// Show where a secret or a certificate is, and whether two are the same
///
/// Fingerprints can be told to anybody; nodes whose fingerprints are the same can talk to each
/// other. The secret itself is only printed with --reveal.
///
/// Nothing is made: if there is no secret yet, it says so.
#[derive(Args, Debug)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
With --json it is one object. Of a secret:
  {\"kind\": \"random\", \"path\": \"...\", \"from\": \"configuration\", \"fingerprint\": \"...\",
   \"network\": \"default\", \"authority\": {\"sha256\": \"...\", \"valid_from\": 0, \"valid_until\": 0}}
  kind is random or passphrase; from is configuration, COROS_SECRET_FILE or argument; with --reveal
  there is the secret itself, too, as \"secret\". Of a folder, kind is authority or node:
  {\"kind\": \"node\", \"path\": \"...\", \"network\": \"weather\", \"name\": \"desk\",
   \"valid_from\": 0, \"valid_until\": 0, \"authority\": {\"sha256\": \"...\"}}
  Times are in seconds since 1970."
)]
pub(crate) struct ShowFlags {
    /// A file with a secret, or a folder that `new-ca` or `issue` made [default: your secret]
    pub(crate) path: Option<PathBuf>,

    /// The network whose authority is shown: each network of a secret has its own
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) network: String,

    /// Print the secret itself: whoever sees it can join the network
    #[arg(long)]
    pub(crate) reveal: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make a new random secret
///
/// The file is readable for its owner alone (mode 0600) and appears with its contents or not at
/// all. One that is there already stays, unless --force is given.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(crate) struct NewFlags {
    /// The file; folders on the way to it are made if there are none [default: where nodes look for
    /// your secret]
    pub(crate) path: Option<PathBuf>,

    /// Replace the secret that is there: nodes with the old one and nodes with the new one cannot
    /// link any more. Those that run keep the old one until they are started again
    #[arg(long)]
    pub(crate) force: bool,

    /// Print one JSON object: path, fingerprint, whether there was one (replaced)
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make a certificate authority for a network
///
/// Writes ca.key, which is readable for its owner alone and belongs to a safe place, not on a
/// node; and ca.pem, its certificate, which is no secret. What is there already stays.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(crate) struct NewCaFlags {
    /// The folder, made if there is none
    pub(crate) folder: PathBuf,

    /// The network that it is for
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) network: String,

    /// For how many days it is valid, and so what it issues at the longest
    #[arg(long, value_name = "DAYS", default_value_t = 3650,
          value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(crate) valid: u32,

    /// Print one JSON object, as `show` does for the folder
    #[arg(long)]
    pub(crate) json: bool,
}

/// Issue a certificate to a node
///
/// Writes node.key, which is readable for its owner alone, and node.pem, its certificate with that
/// of the authority, to a folder, for the machine on which the node runs. The node, and processes
/// that it starts, can have this name and names below it (desk, desk/worker-1), and no other.
///
/// A certificate cannot be called back: give it no more time than you would leave a stolen one.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(crate) struct IssueFlags {
    /// The name of the node
    pub(crate) name: String,

    /// The folder of the authority, made by `coros secret new-ca`
    #[arg(long, value_name = "DIR")]
    pub(crate) ca: PathBuf,

    /// The folder for the certificate and its key, made if there is none
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// For how many days it is valid, at most as long as the authority
    #[arg(long, value_name = "DAYS", default_value_t = 365,
          value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(crate) valid: u32,

    /// Print one JSON object, as `show` does for the folder
    #[arg(long)]
    pub(crate) json: bool,
}
