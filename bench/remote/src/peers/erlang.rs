//! Erlang's distribution: two nodes, plain as it comes, or over mutual TLS. Both processes are in
//! `peers/erlang/remote.erl`.
//!
//! No `epmd`, which would stay behind: the receiver's port is given to both.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use harness::tools;

use super::foreign::Foreign;
use crate::cases::Workload;
use crate::server::free_port;
use crate::workloads::WORKERS;

const SERVER: &str = "server@localhost";
const CLIENT: &str = "client@localhost";

pub(super) struct Erlang {
    port: u16,
    /// The options for TLS, if it is to be used.
    tls: Option<PathBuf>,
}

pub(super) fn version() -> Option<String> {
    let program = "io:format(\"OTP ~s, ERTS ~s\", [erlang:system_info(otp_release), \
                   erlang:system_info(version)]), halt().";
    tools::output_of("erl", &["-noshell", "-eval", program])
}

/// Whether Erlang has its library for TLS.
pub(super) fn has_tls() -> bool {
    let program = "halt(case code:lib_dir(ssl) of {error, _} -> 1; _ -> 0 end).";
    tools::output_of("erl", &["-noshell", "-eval", program]).is_some()
}

pub(super) fn compile() -> Result<()> {
    let source = super::sources("erlang").join("remote.erl");
    let mut compiler = Command::new("erlc");
    compiler
        .arg("-o")
        .arg(tools::compiled("erlang")?)
        .arg(source);
    tools::compile(&mut compiler)
}

impl Erlang {
    pub(super) fn new(tls: bool) -> Result<Self> {
        let port = free_port()?;
        let tls = if tls { Some(tls_options()?) } else { None };
        Ok(Erlang { port, tls })
    }

    fn node(&self, name: &str) -> Result<Command> {
        let mut command = Command::new("erl");
        command.args(["-noshell", "-sname", name, "-setcookie", "bench"]);
        command.args(["-start_epmd", "false", "-erl_epmd_port"]);
        command.arg(self.port.to_string());
        command.args(["+S", &format!("{WORKERS}:{WORKERS}"), "-pa"]);
        command.arg(tools::compiled("erlang")?);
        if let Some(options) = &self.tls {
            command.args(["-proto_dist", "inet_tls", "-ssl_dist_optfile"]);
            command.arg(options);
        }
        // A crash is told in a line or two, not in a file.
        command.env("ERL_CRASH_DUMP_BYTES", "0");
        Ok(command)
    }
}

impl Foreign for Erlang {
    fn server(&self, inbox: &Path) -> Result<Command> {
        let mut command = self.node(SERVER)?;
        command.args(["-run", "remote", "server"]).arg(inbox);
        Ok(command)
    }

    fn client(&self, contact: &str, workload: Workload, n: u64, home: &Path) -> Result<Command> {
        let mut command = self.node(CLIENT)?;
        command.args(["-dist_listen", "false", "-run", "remote", "client"]);
        command.args([workload.name(), &n.to_string(), SERVER, contact]);
        command.arg(home);
        Ok(command)
    }
}

/// Writes what both nodes prove who they are with, and returns the file that says how.
fn tls_options() -> Result<PathBuf> {
    let folder = tools::compiled("erlang")?;
    let (identity, _) = super::raw::identities()?;
    let path = |name: &str| folder.join(name);
    for (name, pem) in identity.pem() {
        std::fs::write(path(name), pem)?;
    }
    let file = |name: &str| {
        let path = path(name);
        path.to_str().map(str::to_owned).context("a path in UTF-8")
    };
    let side = |expectation: &str| -> Result<String> {
        Ok(format!(
            "[{{certfile, {:?}}}, {{keyfile, {:?}}}, {{cacertfile, {:?}}}, {{verify, verify_peer}}, \
             {{versions, ['tlsv1.3']}}{expectation}]",
            file("certificate.pem")?,
            file("key.pem")?,
            file("authority.pem")?,
        ))
    };
    let options = format!(
        "[{{server, {}}}, {{client, {}}}].\n",
        side(", {fail_if_no_peer_cert, true}")?,
        side("")?,
    );
    let written = path("tls.conf");
    std::fs::write(&written, options)?;
    Ok(written)
}
