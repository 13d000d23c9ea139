//! The peers, and how each is started as a child process.

mod actix;
mod coros;
mod erlang;
mod go;
mod kameo;
mod kanal;
mod ractor;
mod tokio_broadcast;
mod tokio_mpsc;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use harness::Peer as _;
use harness::tools::this_executable;
use serde::{Deserialize, Serialize};

use crate::workloads::{self, Report, WORKERS, Workload};

/// Who takes part. The order is the order of the table's rows.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    Coros,
    Tokio,
    TokioBroadcast,
    Kanal,
    Ractor,
    Kameo,
    Actix,
    Erlang,
    Go,
}

impl harness::Peer for Peer {
    fn title(self) -> &'static str {
        match self {
            Peer::Coros => "coros",
            Peer::Tokio => "tokio mpsc",
            Peer::TokioBroadcast => "tokio broadcast",
            Peer::Kanal => "kanal",
            Peer::Ractor => "ractor",
            Peer::Kameo => "kameo",
            Peer::Actix => "actix",
            Peer::Erlang => "Erlang",
            Peer::Go => "Go",
        }
    }

    fn package(self) -> Option<&'static str> {
        match self {
            Peer::Coros => Some("coros-core"),
            Peer::Tokio | Peer::TokioBroadcast => Some("tokio"),
            Peer::Kanal => Some("kanal"),
            Peer::Ractor => Some("ractor"),
            Peer::Kameo => Some("kameo"),
            Peer::Actix => Some("actix"),
            Peer::Erlang | Peer::Go => None,
        }
    }

    fn installed_version(self) -> Option<String> {
        match self {
            Peer::Erlang => erlang::version(),
            Peer::Go => go::version(),
            _ => None,
        }
    }
}

impl Peer {
    /// Debian's package, for a peer that cargo cannot fetch.
    pub(crate) fn debian_package(self) -> Option<&'static str> {
        match self {
            Peer::Erlang => Some("erlang-base"),
            Peer::Go => Some("golang-go"),
            _ => None,
        }
    }

    pub(crate) fn takes_part_in(self, workload: Workload) -> bool {
        self != Peer::TokioBroadcast || workload == Workload::W7
    }

    /// Compiles what cargo did not.
    pub(crate) fn prepare(self) -> Result<()> {
        match self {
            Peer::Erlang => erlang::compile(),
            Peer::Go => go::compile(),
            _ => Ok(()),
        }
    }

    /// The child process that runs `workload` at size `n` and prints one [`Report`].
    pub(crate) fn command(self, workload: Workload, n: u64) -> Result<Command> {
        let mut command = match self {
            Peer::Erlang => erlang::command()?,
            Peer::Go => go::command()?,
            _ => {
                let mut command = Command::new(this_executable()?);
                let name = self.to_possible_value().expect("no peer is skipped");
                command.args(["--child", name.get_name()]);
                command
            }
        };
        command.args([workload.name().to_lowercase(), n.to_string()]);
        Ok(command)
    }

    /// What the child does, for a peer written in Rust.
    pub(crate) fn run(self, workload: Workload, n: u64) -> Result<Report> {
        ensure!(
            self.takes_part_in(workload),
            "{} takes no part in {}",
            self.title(),
            workload.name()
        );
        match self {
            Peer::Coros => workloads::run::<coros::Coros>(workload, n),
            Peer::Tokio => workloads::run::<tokio_mpsc::TokioMpsc>(workload, n),
            Peer::TokioBroadcast => tokio_broadcast::run(n),
            Peer::Kanal => workloads::run::<kanal::Kanal>(workload, n),
            Peer::Ractor => workloads::run::<ractor::Ractor>(workload, n),
            Peer::Kameo => workloads::run::<kameo::Kameo>(workload, n),
            Peer::Actix => workloads::run::<actix::Actix>(workload, n),
            Peer::Erlang | Peer::Go => bail!("{} runs as its own program", self.title()),
        }
    }
}

/// Runs `driver` on a worker of a multi-thread runtime, not on the thread that waits: that would be a third one.
pub(crate) fn tokio_block_on<F>(driver: F) -> F::Output
where
    F: Future<Output: Send> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .expect("the system lets us start threads");
    let output = runtime
        .block_on(runtime.spawn(driver))
        .expect("workloads do not panic");
    // What is still waiting in its mailbox ends with the process.
    runtime.shutdown_background();
    output
}

/// Where this program's sources for another language are.
fn sources(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(language)
}
