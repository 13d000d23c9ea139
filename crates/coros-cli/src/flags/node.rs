//! `coros node`, as written: on the command line, and in a file.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use coros::cluster::machine::{Label, Machine, Resource};
use serde::Deserialize;

use super::member::{Member, one_of};
use super::values::{Cpus, Size, TimeOfDay, written, written_list};

/// Where nodes listen unless told.
pub(crate) const PORT: u16 = 7341;

/// Where a node listens.
pub(crate) type At = super::member::At<PORT>;

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
/// `coros secret new`, and later `coros secret show`, say how to take the secret to another machine.
#[derive(Args, Debug)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
From one machine to three:
  coros secret new                     # here: says how to take the secret to the other machines
  coros node                           # on each of the others, when it has the secret
  coros demo --nodes 10.0.0.7,10.0.0.8 # here

While it runs:
  It says on standard error which clients come and go. With a terminal it also takes commands; `help`
  lists them. Calls are divided fairly: each client has as many cores as any other that has use for
  them, unless a client wants the node for itself, and then waits for its turn.

  SIGTERM (as from systemd, or `kill`) drains it: no client may come, no call begins, those that run
  go on to their end, and then it ends. Another SIGTERM, or Ctrl-C, ends it at once, and with it all
  that it has started; clients are told so, and what ran runs again on other nodes.

Service hours:
  --from 20:00 --until 06:00 lends the cores at night, by the local time of this machine. At 06:00
  no call begins any more, and those that run may go on. With --kill-at 08:00 those that still run
  at 08:00 are killed. Who types `suspend` suspends it within the hours too, until somebody types
  `resume`, which lends no cores outside of them.

The file:
  TOML with the names of the options, without dashes in front. What the command line says goes first.
    name = \"farm-1\"
    cpus = -1
    cache = \"20G\"
    label = [\"gpu=a100\", \"room=b12\"]
    resource = [\"license=2\"]
    peer = [\"10.0.0.7:7341\"]
    from = \"20:00\"
    until = \"06:00\"

Exit status:
  0    drained by SIGTERM, --serve is over, closed at the console; or --check
  1    it cannot listen, or cannot use its folder
  2    the command line, the file or COROS_LOG is wrong, as where what workers may read is not there
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

    /// Show what this machine has and would lend, and end; what a node would not start with is refused as there, but
    /// for a port or a folder that another node uses
    #[arg(long)]
    pub(crate) check: bool,

    /// Print one JSON object instead of lines
    #[arg(long, requires = "check")]
    pub(crate) json: bool,
}

/// What can be in the file as well.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Settings {
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) member: Member,

    /// How many cores to lend, of those that there are; -1 leaves one free, and so on, but lends at least one
    /// [default: all]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[serde(deserialize_with = "written")]
    pub(crate) cpus: Option<Cpus>,

    /// How much memory all workers together may have; one is killed when they take more. Without control
    /// groups (--check tells) each process may have so much [least: 64M; default: seven eighths of all]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "written")]
    pub(crate) memory: Option<Size>,

    /// How much of the disk the workers of one client may fill, besides the files that came with its program: the
    /// one that has written most is killed when they have more, or any of those that alone have more. Each file, folder and link counts for 4K at
    /// least; what one leaves that ends counts until it has been removed [default: 64G]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "written")]
    pub(crate) max_work_size: Option<Size>,

    /// How large each file may get that a worker writes; one that writes more is killed [default: 64G]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "written")]
    pub(crate) file_size: Option<Size>,

    /// How many processes and threads a worker may have, with all that it starts and the one that guards it; without
    /// control groups (--check tells) they do not hold root [least: 5; default: 512]
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "written")]
    pub(crate) processes: Option<NonZeroU32>,

    /// A file, or a folder with all in it, that workers may read besides their own and what the system has for
    /// everybody; more than once for several
    #[arg(long, value_name = "PATH")]
    pub(crate) readable: Vec<PathBuf>,

    /// What clients can choose it by, such as gpu=a100; more than once for several
    #[arg(long, value_name = "KEY[=VALUE]")]
    #[serde(deserialize_with = "written_list")]
    pub(crate) label: Vec<Label>,

    /// What calls may need of this machine besides cores, memory and the GPUs that are found, and how many there are,
    /// such as license=2; gpu=N counts in place of the GPUs that are found; more than once for several
    #[arg(long, value_name = "NAME=N")]
    #[serde(deserialize_with = "written_list")]
    pub(crate) resource: Vec<Resource>,

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
}

impl Settings {
    /// How many cores of a machine are lent.
    pub(crate) fn lent(&self, machine: &Machine) -> usize {
        let cores = machine.cores.get() as usize;
        self.cpus.map_or(cores, |cpus| cpus.of(cores))
    }

    /// Why it is not as many as was asked for, if so.
    pub(crate) fn cut(&self, machine: &Machine) -> Option<&'static str> {
        self.cpus?.cut(machine.cores.get() as usize)
    }

    /// These, and where they say nothing, those of the file.
    pub(crate) fn or(self, file: Settings) -> Settings {
        Settings {
            member: self.member.or(file.member),
            cpus: self.cpus.or(file.cpus),
            memory: self.memory.or(file.memory),
            max_work_size: self.max_work_size.or(file.max_work_size),
            file_size: self.file_size.or(file.file_size),
            processes: self.processes.or(file.processes),
            readable: one_of(self.readable, file.readable),
            label: one_of(self.label, file.label),
            resource: one_of(self.resource, file.resource),
            serve: self.serve.or(file.serve),
            from: self.from.or(file.from),
            until: self.until.or(file.until),
            kill_at: self.kill_at.or(file.kill_at),
        }
    }
}
