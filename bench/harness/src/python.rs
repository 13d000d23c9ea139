//! Peers that are written in Python: each in a virtual environment of its own, beside the program.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::tools;

/// A virtual environment, whether it has been made or not.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    peer: &'static str,
}

impl Environment {
    #[must_use]
    pub const fn of(peer: &'static str) -> Self {
        Environment { peer }
    }

    /// The Python in it.
    pub fn python(self) -> Result<PathBuf> {
        Ok(self.folder()?.join("bin").join("python"))
    }

    /// The version of `package`, and of Python, if `module` can be imported here.
    #[must_use]
    pub fn version(self, package: &str, module: &str) -> Option<String> {
        let program = format!(
            "import importlib.metadata as m, platform as p; import {module}; \
             print(m.version('{package}'), 'with Python', p.python_version())"
        );
        tools::output_of(self.python().ok()?, &["-c", &program])
    }

    /// Makes it, and installs what pip is told to.
    pub fn install<A: AsRef<OsStr>>(self, what: &[A]) -> Result<()> {
        let mut make = Command::new("python3");
        tools::compile(make.args(["-m", "venv"]).arg(self.folder()?))
            .context("Python 3 with venv is needed (Debian: python3-venv)")?;
        let mut pip = Command::new(self.python()?);
        pip.args(["-m", "pip", "install", "--quiet"]).args(what);
        tools::compile(&mut pip)
    }

    fn folder(self) -> Result<PathBuf> {
        Ok(tools::compiled(self.peer)?.join("venv"))
    }
}

/// Whether there is a Python that can make a virtual environment.
#[must_use]
pub fn can_make() -> bool {
    tools::output_of("python3", &["-c", "import venv, ensurepip"]).is_some()
}
