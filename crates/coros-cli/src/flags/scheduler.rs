//! `coros scheduler`, as written.

use std::path::PathBuf;

use clap::Args;

use super::member::Member;

/// Where schedulers listen unless told.
pub(crate) const PORT: u16 = 7342;

/// Where a scheduler listens.
pub(crate) type At = super::member::At<PORT>;

/// Run the calls of many programs on the nodes of a network
///
/// Runs until it is told to end. Programs hand their calls to it (`Scheduler::at(&node)` in the program, or
/// `coros demo --scheduler`); it has them run on all machines where `coros node` runs and that it finds,
/// and gives back what came of them. Nothing of those programs runs on this machine.
///
/// Without it each program is a scheduler of its own (`Scheduler::cluster(&node)`, `coros demo --nodes`), and they
/// share the nodes as well. Use this one when programs are to have all nodes for themselves in turn
/// (`.exclusive()`), or when they run where nodes can hardly reach them.
///
/// Whoever has the network's secret can use it, and nobody else gets in.
#[derive(Args, Debug)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
From one machine to many users:
  coros secret new                     # here: says how to take the secret to the other machines
  coros node                           # on each machine that lends its cores: here 10.0.0.7 is one
  coros scheduler --peer 10.0.0.7:7341 # here, and it learns of the other nodes from that one
  coros demo --scheduler 10.0.0.9      # on the machine of a user, when this one is 10.0.0.9

Nodes that are behind a --peer, or found by --discover, are used; those that come later too.

While it runs:
  It says on standard error which clients and nodes come and go. With a terminal it also takes
  commands; `help` lists them: `nodes` tells how busy each is, `clients` what each runs there.
  Programs that share run together, and each node divides its cores fairly among them. One that
  wants all nodes for itself runs alone when those before it are done: by priority, then by when they
  came.

  It may be killed and started again: nodes end what ran for it, and programs that use it wait for it to come
  back (60 seconds, unless they say otherwise), and hand over again what has not ended.
  It finds the nodes again that it had, which are in the file `peers` of its folder, though nobody is at its --peer.

  SIGTERM (as from systemd, or `kill`) drains it: no program may come, those that are here go on to
  their end, and then it ends. Another SIGTERM, or Ctrl-C, ends it at once.

The file:
  TOML with the names of the options, without dashes in front. What the command line says goes first.
    name = \"office\"
    peer = [\"10.0.0.7:7341\"]
    cache = \"20G\"

Exit status:
  0    drained by SIGTERM, or closed at the console
  1    it cannot listen, or cannot use its folder
  2    the command line, the file or COROS_LOG is wrong
  130  interrupted by Ctrl-C
  143  ended by a second SIGTERM

Examples:
  coros scheduler --peer 10.0.0.7:7341
  coros scheduler --discover --name office
  coros scheduler --daemon --config /etc/coros/scheduler.toml"
)]
pub(crate) struct SchedulerFlags {
    #[command(flatten)]
    pub(crate) member: Member,

    /// A file with options, as --help says [default: coros/scheduler.toml below XDG_CONFIG_HOME or
    /// ~/.config, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}
