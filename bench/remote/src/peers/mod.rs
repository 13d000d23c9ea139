//! The peers, and how each is started as a child process.

#[cfg(any(feature = "kameo", feature = "ractor"))]
mod chunks;
mod coros;
mod erlang;
mod foreign;
#[cfg(feature = "kameo")]
mod kameo;
mod pycos;
#[cfg(feature = "ractor")]
mod ractor;
mod raw;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use harness::Peer as _;
use harness::equipment::Equipment;
use harness::options::name;
use harness::python;
use harness::tools::this_executable;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::cases::{Case, Figures, Workload};
use crate::files::Folders;
use crate::server::{self, Server, Setting};
use crate::tally::Tally;
use crate::workloads::{self, WORKERS};

/// Why kameo or ractor may be missing.
const NOT_BUILT: &str = "not built (a feature)";

/// Who takes part. The order is the order of the table's rows.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    Coros,
    Tls,
    Tcp,
    Ractor,
    Kameo,
    Erlang,
    ErlangTls,
    Pycos,
}

impl harness::Peer for Peer {
    fn title(self) -> &'static str {
        match self {
            Peer::Coros => "coros",
            Peer::Tls => "tokio-rustls",
            Peer::Tcp => "tokio TCP",
            Peer::Ractor => "ractor_cluster",
            Peer::Kameo => "kameo remote",
            Peer::Erlang => "Erlang",
            Peer::ErlangTls => "Erlang, TLS",
            Peer::Pycos => "pycos",
        }
    }

    fn package(self) -> Option<&'static str> {
        match self {
            Peer::Coros => Some("coros-net"),
            Peer::Tls => Some("tokio-rustls"),
            Peer::Tcp => Some("tokio"),
            Peer::Ractor => Some("ractor_cluster"),
            Peer::Kameo => Some("kameo"),
            Peer::Erlang | Peer::ErlangTls | Peer::Pycos => None,
        }
    }

    fn installed_version(self) -> Option<String> {
        match self {
            Peer::Erlang => erlang::version(),
            Peer::Pycos => pycos::version(),
            _ => None,
        }
    }
}

impl Peer {
    pub(crate) fn takes_part_in(self, workload: Workload) -> bool {
        match workload {
            // Others have one node a process.
            Workload::Idle => matches!(self, Peer::Coros | Peer::Tls | Peer::Tcp),
            // The limits have no heartbeat; Erlang's is four times a minute, pycos has none.
            Workload::Freeze => matches!(self, Peer::Coros),
            _ => true,
        }
    }

    /// How much of a case's size this peer gets: those that are slower by orders of magnitude would
    /// take minutes for what others do in a second.
    pub(crate) fn share_of(self, case: Case) -> u64 {
        let share = match (self, case.workload) {
            (_, Workload::Idle | Workload::Kill | Workload::Freeze)
            | (Peer::Coros | Peer::Tls | Peer::Tcp, _) => 1,
            (Peer::Ractor | Peer::Erlang | Peer::ErlangTls, _) => 4,
            (Peer::Kameo | Peer::Pycos, Workload::Bulk) => 8,
            (Peer::Kameo, _) => 40,
            (Peer::Pycos, _) => 400,
        };
        (case.n / share).max(case.n.min(100))
    }

    /// The child process that runs `workload` at size `n` and prints its figures.
    pub(crate) fn command(self, workload: Workload, n: u64) -> Result<Command> {
        let mut command = Command::new(this_executable()?);
        command.args(["--child", &name(&self), workload.name(), &n.to_string()]);
        Ok(command)
    }

    /// What the child does.
    pub(crate) fn run(self, workload: Workload, n: u64) -> Result<Figures> {
        match self {
            Peer::Coros => self.send::<coros::Coros>(workload, n),
            Peer::Tls => self.send::<raw::Raw<raw::Tls>>(workload, n),
            Peer::Tcp => self.send::<raw::Raw<raw::Plain>>(workload, n),
            #[cfg(feature = "ractor")]
            Peer::Ractor => self.send::<ractor::Ractor>(workload, n),
            #[cfg(feature = "kameo")]
            Peer::Kameo => self.send::<kameo::Kameo>(workload, n),
            Peer::Erlang => foreign::run(&erlang::Erlang::new(false)?, workload, n),
            Peer::ErlangTls => foreign::run(&erlang::Erlang::new(true)?, workload, n),
            Peer::Pycos => foreign::run(&pycos::Pycos, workload, n),
            #[cfg(not(all(feature = "kameo", feature = "ractor")))]
            _ => bail!("{}: {NOT_BUILT}", self.title()),
        }
    }

    /// What the child's child does, for a peer written in Rust.
    pub(crate) fn serve(self, nodes: usize, folder: &Path) -> Result<()> {
        let setting = Setting { nodes, folder };
        match self {
            Peer::Coros => receive::<coros::Coros>(setting),
            Peer::Tls => receive::<raw::Raw<raw::Tls>>(setting),
            Peer::Tcp => receive::<raw::Raw<raw::Plain>>(setting),
            #[cfg(feature = "ractor")]
            Peer::Ractor => receive::<ractor::Ractor>(setting),
            #[cfg(feature = "kameo")]
            Peer::Kameo => receive::<kameo::Kameo>(setting),
            _ => bail!("{} has no receiver in this program", self.title()),
        }
    }

    fn send<P: workloads::Peer>(self, workload: Workload, n: u64) -> Result<Figures> {
        ensure!(
            self.takes_part_in(workload),
            "{} takes no part in {}",
            self.title(),
            workload.name()
        );
        let folders = Folders::new()?;
        let nodes = if workload == Workload::Idle { n } else { 1 };
        let mut server = Command::new(this_executable()?);
        server.args(["--server", &name(&self), &nodes.to_string()]);
        server.arg(folders.inbox());
        let server = Server::start(server)?;
        runtime()?.block_on(workloads::run::<P>(workload, n, server, folders))
    }
}

impl Equipment for Peer {
    fn missing(self) -> Option<&'static str> {
        let is_installed = match self {
            Peer::Kameo if !cfg!(feature = "kameo") => return Some(NOT_BUILT),
            Peer::Ractor if !cfg!(feature = "ractor") => return Some(NOT_BUILT),
            Peer::Erlang => erlang::version().is_some(),
            Peer::ErlangTls => erlang::has_tls(),
            Peer::Pycos => pycos::version().is_some(),
            _ => true,
        };
        (!is_installed).then_some("not installed")
    }

    fn debian_packages(self) -> &'static [&'static str] {
        match self {
            Peer::Erlang => &["erlang-base"],
            Peer::ErlangTls => &["erlang-base", "erlang-ssl"],
            // Python may come from elsewhere.
            Peer::Pycos if !python::can_make() => &["python3-venv"],
            _ => &[],
        }
    }

    fn install(self) -> Result<()> {
        match self {
            Peer::Pycos => pycos::install(),
            _ => Ok(()),
        }
    }

    fn prepare(self) -> Result<()> {
        match self {
            Peer::Erlang | Peer::ErlangTls => erlang::compile(),
            _ => Ok(()),
        }
    }
}

/// Where this program's sources for another language are.
fn sources(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(language)
}

fn receive<P: workloads::Peer>(setting: Setting<'_>) -> Result<()> {
    let tally = Tally::leak();
    let runtime = runtime()?;
    let (served, contact) = runtime.block_on(P::serve(setting, tally))?;
    // Not on the runtime: it waits for lines.
    server::answer(&contact, tally)?;
    drop(served);
    runtime.shutdown_background();
    Ok(())
}

fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("the system does not let us start threads")
}
