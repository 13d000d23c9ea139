//! pycos, in a virtual environment of its own that `--install` makes. Both processes are in
//! `peers/pycos/remote.py`; no TLS, as it comes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use harness::tools;

use super::foreign::Foreign;
use crate::cases::Workload;

/// What is installed.
const PACKAGE: &str = "pycos==4.12.2";

pub(super) struct Pycos;

pub(super) fn version() -> Option<String> {
    let program = "import importlib.metadata as m, platform as p; import pycos.netpycos; \
                   print(m.version('pycos'), 'with Python', p.python_version())";
    tools::output_of(python().ok()?, &["-c", program])
}

/// Whether there is a Python that can make a virtual environment.
pub(super) fn has_venv() -> bool {
    tools::output_of("python3", &["-c", "import venv, ensurepip"]).is_some()
}

pub(super) fn install() -> Result<()> {
    let environment = environment()?;
    let mut make = Command::new("python3");
    tools::compile(make.args(["-m", "venv"]).arg(&environment))
        .context("Python 3 with venv is needed (Debian: python3-venv)")?;
    let mut pip = Command::new(python()?);
    tools::compile(pip.args(["-m", "pip", "install", "--quiet", PACKAGE]))
}

impl Foreign for Pycos {
    fn server(&self, inbox: &Path) -> Result<Command> {
        let mut command = script()?;
        command.arg("server").arg(inbox);
        Ok(command)
    }

    fn client(&self, contact: &str, workload: Workload, n: u64, home: &Path) -> Result<Command> {
        let mut command = script()?;
        command.args(["client", contact, workload.name(), &n.to_string()]);
        command.arg(home);
        Ok(command)
    }
}

fn script() -> Result<Command> {
    let mut command = Command::new(python()?);
    command.arg(super::sources("pycos").join("remote.py"));
    Ok(command)
}

fn environment() -> Result<PathBuf> {
    Ok(tools::compiled("pycos")?.join("venv"))
}

fn python() -> Result<PathBuf> {
    Ok(environment()?.join("bin").join("python"))
}
