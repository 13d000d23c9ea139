//! Go: a goroutine per mailbox, a channel of 1,024 each, for Go has no unbounded one (of 1 in W1, because Go allocates
//! the room at once and one message is all that comes). The workloads are in `peers/go/main.go`.

use std::process::Command;

use anyhow::Result;
use harness::tools;

use crate::workloads::WORKERS;

pub(super) fn version() -> Option<String> {
    let text = tools::output_of("go", &["version"])?;
    Some(text.trim_start_matches("go version ").to_owned())
}

pub(super) fn compile() -> Result<()> {
    let mut command = Command::new("go");
    command
        .args(["build", "-o"])
        .arg(tools::compiled("go")?.join("bench"))
        .arg(".");
    // It needs nothing but the standard library of the Go that is installed.
    command
        .current_dir(super::sources("go"))
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local");
    tools::compile(&mut command)
}

pub(super) fn command() -> Result<Command> {
    let mut command = Command::new(tools::compiled("go")?.join("bench"));
    command.env("GOMAXPROCS", WORKERS.to_string());
    Ok(command)
}
