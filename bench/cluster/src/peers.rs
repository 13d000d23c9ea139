//! The peers, and how each is started.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use harness::Peer as _;
use harness::equipment::Equipment;
use harness::figures::Workload as _;
use harness::options::name;
use harness::python::{self, Environment};
use harness::tools::{self, this_executable};
use serde::{Deserialize, Serialize};

use crate::cases::{Case, Figures, Workload};
use crate::{descendants, spawns, tcp};

/// Workers, of which each runs one call at a time; and threads of a client that has threads.
pub(crate) const WORKERS: usize = 2;

/// Who takes part. The order is the order of the tables' rows.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    Coros,
    CorosNode,
    Tcp,
    Pool,
    Dask,
    Ray,
    Dispy,
    Hyperqueue,
    Xargs,
    Parallel,
}

impl harness::Peer for Peer {
    fn title(self) -> &'static str {
        match self {
            Peer::Coros => "coros, local",
            Peer::CorosNode => "coros, node",
            Peer::Tcp => "tokio TCP",
            Peer::Pool => "multiprocessing",
            Peer::Dask => "dask",
            Peer::Ray => "ray",
            Peer::Dispy => "dispy",
            Peer::Hyperqueue => "HyperQueue",
            Peer::Xargs => "xargs -P2",
            Peer::Parallel => "GNU parallel",
        }
    }

    fn package(self) -> Option<&'static str> {
        match self {
            Peer::Coros => Some("coros"),
            Peer::Tcp => Some("tokio"),
            _ => None,
        }
    }

    fn installed_version(self) -> Option<String> {
        match self {
            Peer::Pool => Python::system().version(),
            Peer::Xargs => spawns::version(spawns::XARGS),
            Peer::Parallel => spawns::version(spawns::PARALLEL),
            _ => self.python()?.version(),
        }
    }
}

impl Peer {
    fn python(self) -> Option<Python> {
        match self {
            Peer::Pool => Some(Python::system()),
            Peer::Dask => Some(Python::of("dask", "distributed", "distributed")),
            Peer::Ray => Some(Python::of("ray", "ray", "ray")),
            Peer::Dispy => Some(Python::of("dispy", "dispy", "dispy")),
            Peer::Hyperqueue => Some(Python::of("hyperqueue", "hyperqueue", "hyperqueue")),
            _ => None,
        }
    }

    pub(crate) fn takes_part_in(self, workload: Workload) -> bool {
        use Workload::{Bulk, Calls, Idle, Kill, Latency, Many, Spawn, Start};
        match self {
            // The scheduler makes a command a call wherever the workers are.
            Peer::Coros | Peer::CorosNode => true,
            Peer::Tcp => workload == Latency,
            Peer::Pool => matches!(workload, Calls | Latency | Bulk | Start | Idle | Kill),
            Peer::Dask | Peer::Ray => !matches!(workload, Spawn | Many),
            Peer::Dispy => matches!(workload, Calls | Latency | Bulk | Start | Idle | Kill),
            // Its tasks are programs.
            Peer::Hyperqueue => matches!(workload, Latency | Spawn | Start | Idle),
            Peer::Xargs | Peer::Parallel => workload == Spawn,
        }
    }

    /// How much of a case's size this peer gets: those that are slower by orders of magnitude would
    /// take minutes for what others do in a second.
    pub(crate) fn share_of(self, case: Case) -> u64 {
        let share = match case.workload {
            Workload::Calls => match self {
                Peer::Pool => 25,
                Peer::Ray => 100,
                Peer::Dask => 250,
                Peer::Dispy => 1_000,
                _ => 1,
            },
            Workload::Direct => match self {
                Peer::Ray => 100,
                Peer::Dask => 1_000,
                _ => 1,
            },
            Workload::Latency => match self {
                Peer::Dask | Peer::Ray => 10,
                Peer::Dispy => 50,
                Peer::Hyperqueue => 1_000,
                _ => 1,
            },
            Workload::Bulk if self == Peer::Dispy => 8,
            Workload::Spawn if self == Peer::Parallel => 4,
            _ => 1,
        };
        (case.n / share).max(case.n.min(3))
    }

    /// The child process that runs `workload` at size `n` and prints its figures.
    pub(crate) fn command(self, workload: Workload, n: u64) -> Result<Command> {
        let mut command = Command::new(this_executable()?);
        command.args(["--child", &name(&self), &name(&workload), &n.to_string()]);
        Ok(command)
    }

    /// What the child does.
    pub(crate) fn run(self, workload: Workload, n: u64) -> Result<Figures> {
        let mut program = match self {
            Peer::Tcp => return tcp::latency(n),
            Peer::Xargs => return spawns::run(spawns::XARGS, n),
            Peer::Parallel => return spawns::run(spawns::PARALLEL, n),
            Peer::Coros | Peer::CorosNode => {
                let mut shipped = Command::new(shipped()?);
                shipped.arg(if self == Peer::Coros { "local" } else { "node" });
                shipped
            }
            _ => self.python().context("it is written in Python")?.script()?,
        };
        program.args([&name(&workload), &n.to_string()]);
        let folder = tempfile::tempdir()?;
        program.current_dir(&folder).env("TMPDIR", folder.path());
        let printed = descendants::output(program)?;
        let line = printed.lines().last().unwrap_or_default();
        let figures: Figures =
            serde_json::from_str(line).with_context(|| format!("it printed {printed:?}"))?;
        let is_known = |measure| workload.measures().contains(measure);
        ensure!(
            figures.0.keys().all(is_known) && !figures.0.is_empty(),
            "it measured {figures:?}"
        );
        Ok(figures)
    }
}

impl Equipment for Peer {
    fn missing(self) -> Option<&'static str> {
        let is_installed = match self {
            Peer::Coros | Peer::CorosNode | Peer::Tcp => true,
            _ => self.installed_version().is_some(),
        };
        (!is_installed).then_some("not installed")
    }

    fn debian_packages(self) -> &'static [&'static str] {
        match self {
            Peer::Parallel => &["parallel"],
            Peer::Xargs => &["findutils"],
            Peer::Pool => &["python3"],
            // Python may come from elsewhere.
            _ if self.python().is_some() && !python::can_make() => &["python3-venv"],
            _ => &[],
        }
    }

    fn install(self) -> Result<()> {
        match self.python() {
            Some(Python {
                environment: Some(environment),
                folder,
                ..
            }) => {
                let listed = sources(folder).join("requirements.txt");
                environment.install(&["-r".as_ref(), listed.as_os_str()])
            }
            _ => Ok(()),
        }
    }

    fn prepare(self) -> Result<()> {
        match self {
            Peer::Coros | Peer::CorosNode => build_shipped(),
            _ => Ok(()),
        }
    }
}

/// A peer that is a script in `peers/`.
struct Python {
    /// `None` for what Python has without anything installed.
    environment: Option<Environment>,
    folder: &'static str,
    package: &'static str,
    module: &'static str,
}

impl Python {
    fn system() -> Self {
        Python {
            environment: None,
            ..Python::of("pool", "", "")
        }
    }

    fn of(folder: &'static str, package: &'static str, module: &'static str) -> Self {
        Python {
            environment: Some(Environment::of(folder)),
            folder,
            package,
            module,
        }
    }

    fn version(&self) -> Option<String> {
        match self.environment {
            Some(environment) => environment.version(self.package, self.module),
            None => {
                let program = "import platform; print('of Python', platform.python_version())";
                tools::output_of("python3", &["-c", program])
            }
        }
    }

    fn script(&self) -> Result<Command> {
        let python = match self.environment {
            Some(environment) => environment.python()?,
            None => PathBuf::from("python3"),
        };
        let mut command = Command::new(python);
        command.arg(sources(self.folder).join("cluster.py"));
        // What they have in common lies beside them, and is not compiled into the tree.
        command.env("PYTHONPATH", sources("common"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    }
}

/// Where this program's sources for a peer are.
fn sources(peer: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(peer)
}

/// The program that travels.
fn shipped() -> Result<PathBuf> {
    let beside = this_executable()?.with_file_name("shipped");
    Ok(beside.with_extension(std::env::consts::EXE_EXTENSION))
}

/// `cargo run` builds only what it runs.
fn build_shipped() -> Result<()> {
    let shipped = shipped()?;
    let Some(target) = shipped.parent().and_then(Path::parent) else {
        bail!("{} is not in cargo's folder", shipped.display())
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--locked", "--bin", "shipped"])
        .args((!cfg!(debug_assertions)).then_some("--release"))
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target);
    // What `cargo run` says of this program would have some of what both share built anew.
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&variable);
        }
    }
    tools::compile(&mut cargo)
}
