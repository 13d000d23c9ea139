//! Peers that are programs in other languages: both processes are theirs, this one starts them.
//!
//! The receiver speaks no more than the beginning of the protocol in [`server`](crate::server): it
//! prints its contact, and ends with its input. The sender gets that contact as an argument, counts
//! and checks by itself, and prints its figures.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use harness::figures::Workload as _;

use crate::cases::{Figures, Measure, Workload};
use crate::files::{Folders, Source};
use crate::server::Server;

/// The two processes of a peer in another language.
pub(super) trait Foreign {
    /// The receiver, which puts files into `inbox`.
    fn server(&self, inbox: &Path) -> Result<Command>;

    /// The sender; workload and size, and the folder that files are sent from, come after its other
    /// arguments.
    fn client(&self, contact: &str, workload: Workload, n: u64, home: &Path) -> Result<Command>;
}

pub(super) fn run(peer: &impl Foreign, workload: Workload, n: u64) -> Result<Figures> {
    let folders = Folders::new()?;
    let mut sources = Vec::new();
    if workload == Workload::Bulk {
        for (name, size) in [("warm-up", n.div_ceil(20)), ("file", n)] {
            sources.push(Source::new(&folders, name, size)?);
        }
    }
    let server = Server::start(peer.server(&folders.inbox())?)?;
    let mut client = peer.client(&server.contact, workload, n, &folders.home())?;
    let output = client
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {client:?}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{}: {said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let line = said.lines().last().unwrap_or_default();
    let figures: Figures =
        serde_json::from_str(line).with_context(|| format!("the sender printed {said:?}"))?;
    for source in sources {
        source.compare_and_remove()?;
    }
    // A loss that was not noticed is no figure; any other is.
    let lossy = matches!(workload, Workload::Kill | Workload::Freeze);
    let known: Vec<Measure> = figures.0.keys().copied().collect();
    ensure!(
        known == workload.measures() || (lossy && known.is_empty()),
        "the sender measured {known:?}"
    );
    Ok(figures)
}
