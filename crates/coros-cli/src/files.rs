//! `coros send` and `coros receive`: files from one machine to another.

mod progress;
mod receive;
mod report;
mod send;

use std::process::ExitCode;

use coros::net::{Builder, Node, NodeCertificate};

use crate::flags::files::{Identity, ReceiveFlags, SendFlags};
use crate::terminal::say;

/// Some files are not there, or there was nobody to talk to.
const TROUBLE: u8 = 1;

/// Does what `coros send` was asked for and gives the exit status.
pub(crate) async fn send(flags: SendFlags) -> ExitCode {
    status("send", send::run(flags).await)
}

/// Does what `coros receive` was asked for and gives the exit status.
pub(crate) async fn receive(flags: ReceiveFlags) -> ExitCode {
    status("receive", receive::run(flags).await.map(|()| true))
}

fn status(command: &str, done: anyhow::Result<bool>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(TROUBLE),
        Err(error) => {
            say(&format!("coros {command}: {error:#}"));
            ExitCode::from(TROUBLE)
        }
    }
}

/// A node with that identity.
fn builder(identity: &Identity) -> anyhow::Result<Builder> {
    let mut builder = Node::builder();
    if let Some(name) = &identity.name {
        builder = builder.name(name);
    }
    Ok(match &identity.certificate {
        Some(folder) => builder.certificate(NodeCertificate::load(folder)?),
        None => builder.network(identity.network.as_str()),
    })
}
