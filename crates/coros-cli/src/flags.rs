//! The command line, as written.

pub(crate) mod files;
pub(crate) mod member;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod scheduler;
pub(crate) mod secret;
pub(crate) mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Coroutines that talk to each other across tasks, processes and machines, and computations
/// that travel to where the cores are.
#[derive(Debug, Parser)]
#[command(
    name = "coros",
    version,
    verbatim_doc_comment,
    arg_required_else_help = true,
    after_help = "\
Try it: `coros demo` counts the words of a folder in two worker processes that it starts on this
machine. Nothing needs to be installed or configured. With `coros node` on other machines it counts
there: `coros node --help` says how.

The environment variable COROS_LOG makes it and its workers talkative, on standard error:
COROS_LOG=debug, or by part of the program, COROS_LOG=coros_net=trace,coros_cluster=debug."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(DemoFlags),
    Node(Box<node::NodeFlags>),
    Scheduler(scheduler::SchedulerFlags),
    Secret(secret::SecretFlags),
    Send(files::SendFlags),
    Receive(files::ReceiveFlags),
    Peers(network::PeersFlags),
    Ping(network::PingFlags),
}

/// Count the words of a folder in several processes
///
/// Starts worker processes of this very executable on this machine, each linked to this process
/// by mutual TLS, and counts every file in one of them: one call of a remote function for each
/// file. The counts do not come back as results of the calls: each worker sends them straight
/// to the address of a coroutine in this process, which travelled there inside of the call.
/// With --nodes or --scheduler the workers are on other machines, which have never seen this program.
///
/// A word is a maximal run of ASCII letters; upper and lower case are the same. Everything else
/// separates words, so any file will do, whatever its encoding.
#[derive(Args, Debug)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
What is counted:
  Every regular file below PATH, hidden ones too. Symbolic links to files are followed, those to
  folders are not, so nothing is counted for ever. Without PATH, the sources of the coros checkout
  in or above the current folder (or the one this program was built from): there, hidden entries
  and folders with a CACHEDIR.TAG, such as cargo's target, are left out, as with --sources.

  What cannot be read, and what is no regular file (a named pipe, a socket, a device), is reported
  with its path and the reason; the rest is counted. A word of more than 1 MiB counts as
  unreadable: that is no text. A folder without files is counted too, and a message says so.

Try this while it runs:
  kill -9 one of the workers, whose process ids are shown. Its jobs run again elsewhere, another
  worker takes its place, and the answer is the same: --verify checks that. kill -STOP does as
  well: a worker that gives no sign of life for two seconds is killed.

Output:
  Results go to standard output, everything else to standard error. With --json it is one object:
  {\"words\": [[\"the\", 123], ...], \"files\": 9, \"bytes\": 9, \"seconds\": 0.1,
   \"jobs_by_worker\": {\"w1\": 5, ...}, \"unreadable\": [{\"path\": \"...\", \"error\": \"...\"}]}
  with all words, by count, then by word. Seconds are those from the first call to the last count.

  Paths are printed such that they are one line, cannot control a terminal, and differ when the
  names do, also in the JSON: a backslash is doubled (not on Windows), what cannot be seen is \\n,
  \\t, \\r, \\0 or \\u{1b}, and a byte that is no part of UTF-8 is \\xe9.

On other machines:
  With --nodes the workers run on those machines, as many as they have cores that nobody else uses.
  This program sends itself there, once; the files stay here, and workers ask for their content.
  Nodes need the same secret as this machine: `coros node --help` says how to begin. One that cannot
  be reached is told of, and the others are used. A node may be killed as well: its jobs run again.

  With --scheduler it hands its calls to `coros scheduler` on another machine, which has them run on the nodes
  that it knows, beside those of other programs or, with --exclusive, after them. That one may be killed
  as well: when it is back within a minute, what was not done is done.

Exit status:
  0    all files were counted
  1    some were not, or the workers could not do their work
  2    PATH does not exist, or the command line or COROS_LOG is wrong
  3    --verify found another result
  130  interrupted by Ctrl-C

Examples:
  coros demo
  coros demo /usr/share/doc --workers 4 --verify
  coros demo . --sources --json | jq '.words[:10]'
  coros demo --nodes 10.0.0.7,10.0.0.8:7343 --verify
  coros demo --scheduler 10.0.0.9 --exclusive"
)]
pub(crate) struct DemoFlags {
    /// The folder, or the one file, whose words are counted [default: the sources in the checkout]
    pub(crate) path: Option<PathBuf>,

    /// How many worker processes to start; on other machines the most in all [default: 2; on other machines
    /// all that they lend]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,

    /// Count on these machines, where `coros node` runs, and not on this one; several with commas, or
    /// more than once. The port is 7341 unless given
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) nodes: Vec<node::At>,

    /// Hand the calls to the scheduler on that machine, where `coros scheduler` runs, which has them run
    /// on the nodes that it knows. The port is 7342 unless given
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with = "nodes")]
    pub(crate) scheduler: Option<scheduler::At>,

    /// Have all nodes of the scheduler alone, when those who came before are done
    #[arg(long, requires = "scheduler", conflicts_with = "nodes")]
    pub(crate) exclusive: bool,

    /// How many of the most frequent words to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) top: usize,

    /// Print one JSON object with all words instead of the table
    #[arg(long)]
    pub(crate) json: bool,

    /// Count again in this process alone, with one thread, and compare
    #[arg(long)]
    pub(crate) verify: bool,

    /// Leave out hidden entries and folders with a CACHEDIR.TAG
    #[arg(long)]
    pub(crate) sources: bool,

    #[command(flatten, next_help_heading = "Options with --nodes")]
    pub(crate) identity: network::Identity,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn demo_takes_its_options() {
        let cli = Cli::try_parse_from(["coros", "demo", "x", "--workers", "3", "--json"]).unwrap();
        let Command::Demo(flags) = cli.command else {
            panic!("{:?}", cli.command);
        };
        assert_eq!(
            (flags.path, flags.workers, flags.json),
            (Some("x".into()), Some(3), true)
        );
        assert!(Cli::try_parse_from(["coros", "demo", "--workers", "0"]).is_err());
    }
}
