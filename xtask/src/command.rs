//! Running other programs: each is printed before it runs, runs at the root of the checkout with
//! this process's standard streams, and its failure is an error that remembers the exit code.

use anyhow::Context as _;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program that ran and said no.
#[derive(Debug)]
pub(crate) struct CommandFailed {
    line: String,
    /// `None` when a signal ended it.
    pub(crate) code: Option<u8>,
}

impl fmt::Display for CommandFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "`{}` ended with exit status {code}", self.line),
            None => write!(f, "`{}` was ended by a signal", self.line),
        }
    }
}

impl std::error::Error for CommandFailed {}

/// A program about to run, and the line that shows it.
pub(crate) struct Cmd {
    inner: Command,
    line: String,
}

impl Cmd {
    pub(crate) fn new(program: &str) -> Self {
        let mut inner = Command::new(program);
        inner.current_dir(root());
        for (name, _) in std::env::vars_os() {
            if describes_this_package(&name) {
                inner.env_remove(name);
            }
        }
        Self {
            inner,
            line: program.to_owned(),
        }
    }

    /// `cargo SUBCOMMAND`; under CI with `--locked`, so that a stale Cargo.lock is an error and not
    /// a surprise.
    pub(crate) fn cargo(subcommand: &str) -> Self {
        Self::new("cargo")
            .args(subcommand.split(' '))
            .args(in_ci().then_some("--locked"))
    }

    /// `cargo SUBCOMMAND` of the nightly toolchain.
    pub(crate) fn cargo_nightly(subcommand: &str) -> Self {
        Self::new("rustup")
            .args(["run", "nightly", "cargo"])
            .args(subcommand.split(' '))
            .args(in_ci().then_some("--locked"))
    }

    pub(crate) fn arg(self, arg: impl AsRef<OsStr>) -> Self {
        self.args([arg])
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        for arg in args {
            self.inner.arg(&arg);
            self.line.push(' ');
            self.line.push_str(&quoted(&arg.as_ref().to_string_lossy()));
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let shown = quoted(&value.as_ref().to_string_lossy());
        self.line.insert_str(0, &format!("{name}={shown} "));
        self.inner.env(name, value);
        self
    }

    pub(crate) fn current_dir(mut self, folder: &Path) -> Self {
        self.line
            .insert_str(0, &format!("cd {} && ", folder.display()));
        self.inner.current_dir(root().join(folder));
        self
    }

    /// Prints the command and runs it to its end.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        eprintln!("$ {}", self.line);
        let status = self
            .inner
            .status()
            .with_context(|| format!("could not start `{}`", self.line))?;
        if status.success() {
            return Ok(());
        }
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Err(CommandFailed {
            line: self.line,
            code,
        }
        .into())
    }

    /// Whether the program can be started and succeeds; it is not shown.
    pub(crate) fn succeeds(mut self) -> bool {
        self.inner
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.inner.status().is_ok_and(|status| status.success())
    }

    /// What the program prints, without the last line feed; it is not shown.
    pub(crate) fn output(mut self) -> anyhow::Result<String> {
        let output = self
            .inner
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("could not start `{}`", self.line))?;
        anyhow::ensure!(
            output.status.success(),
            "`{}` failed: {}",
            self.line,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        let text = String::from_utf8(output.stdout)
            .with_context(|| format!("`{}` printed something that is not UTF-8", self.line))?;
        Ok(text.trim_end().to_owned())
    }
}

/// The root of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the checkout")
}

/// A folder for builds whose compiler flags differ, so that they don't throw the ordinary build
/// away.
pub(crate) fn target_dir(name: &str) -> PathBuf {
    let base = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(base).join(name)
}

/// Whether a machine runs this, not a person.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// `cargo run` tells a program about its own package. Handed on to another cargo, that would make
/// the build scripts that watch these variables (ring's does) run again on each change between
/// `cargo xtask` and plain `cargo`.
fn describes_this_package(name: &OsString) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    name == "CARGO"
        || name == "OUT_DIR"
        || [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
            "CARGO_PRIMARY_",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// `text` as a shell would need it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_can_be_pasted_into_a_shell() {
        let cmd = Cmd::new("cargo")
            .args(["test", "it's (me)"])
            .env("RUSTFLAGS", "--cfg loom");
        assert_eq!(
            cmd.line,
            r"RUSTFLAGS='--cfg loom' cargo test 'it'\''s (me)'"
        );
    }

    #[test]
    fn only_what_describes_a_package_is_kept_from_the_next_cargo() {
        for name in [
            "CARGO_PKG_NAME",
            "CARGO_MANIFEST_DIR",
            "CARGO",
            "CARGO_BIN_NAME",
        ] {
            assert!(describes_this_package(&name.into()), "{name}");
        }
        for name in [
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "CARGO_TERM_COLOR",
            "RUSTUP_TOOLCHAIN",
        ] {
            assert!(!describes_this_package(&name.into()), "{name}");
        }
    }
}
