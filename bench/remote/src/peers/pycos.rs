//! pycos, in a virtual environment of its own that `--install` makes. Both processes are in
//! `peers/pycos/remote.py`; no TLS, as it comes.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use harness::python::Environment;

use super::foreign::Foreign;
use crate::cases::Workload;

/// What is installed.
const PACKAGE: &str = "pycos==4.12.2";
const ENVIRONMENT: Environment = Environment::of("pycos");

pub(super) struct Pycos;

pub(super) fn version() -> Option<String> {
    ENVIRONMENT.version("pycos", "pycos.netpycos")
}

pub(super) fn install() -> Result<()> {
    ENVIRONMENT.install(&[PACKAGE])
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
    let mut command = Command::new(ENVIRONMENT.python()?);
    command.arg(super::sources("pycos").join("remote.py"));
    Ok(command)
}
