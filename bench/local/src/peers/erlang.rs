//! Erlang/OTP: processes and their mailboxes, two schedulers. The workloads are in `peers/erlang/bench.erl`.

use std::process::Command;

use anyhow::Result;
use harness::tools;

use crate::workloads::WORKERS;

pub(super) fn version() -> Option<String> {
    let program = "io:format(\"OTP ~s, ERTS ~s\", [erlang:system_info(otp_release), \
                   erlang:system_info(version)]), halt().";
    tools::output_of("erl", &["-noshell", "-eval", program])
}

pub(super) fn compile() -> Result<()> {
    let source = super::sources("erlang").join("bench.erl");
    tools::compile(
        Command::new("erlc")
            .arg("-o")
            .arg(tools::compiled("erlang")?)
            .arg(source),
    )
}

pub(super) fn command() -> Result<Command> {
    let mut command = Command::new("erl");
    // Room for the million processes of W1; the default limit is 262,144.
    command.args([
        "-noshell",
        "+P",
        "2000000",
        "+S",
        &format!("{WORKERS}:{WORKERS}"),
        "-pa",
    ]);
    command.arg(tools::compiled("erlang")?);
    command.args(["-run", "bench", "main"]);
    Ok(command)
}
