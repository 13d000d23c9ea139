//! The workloads, written once for every Rust peer; this is the sending process.
//!
//! A peer is seen through [`Peer`]: how the receiving process starts, how this one links with it,
//! and one function for each thing that is measured. Everything is generic and monomorphised, so
//! what runs is what a user of that peer would write by hand.
//!
//! The receivers add up what they get and every result is checked: a peer that loses or repeats a
//! message fails.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness::machine;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::cases::{Figures, Measure, Workload};
use crate::files::{Folders, Source};
use crate::server::{Server, Setting, cpu_seconds};
use crate::tally::{MAILBOXES, Tally};

/// Worker threads of each process's runtime.
pub(crate) const WORKERS: usize = 2;
/// Tasks that send at the same time.
pub(crate) const SENDERS: u64 = 64;
/// Questions that are under way at the same time.
pub(crate) const ASKERS: u64 = 256;
/// A loss that has not been noticed by then counts as not noticed.
pub(crate) const NOTICE_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of a message besides its body.
const NUMBER: usize = 8;

/// The one message type. Its body is memory of its own, as that of most messages is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Msg {
    pub(crate) n: u64,
    #[serde(with = "serde_bytes")]
    pub(crate) body: Vec<u8>,
}

/// A library that connects processes.
pub(crate) trait Peer: Send + Sync + Sized + 'static {
    /// What the receiving process keeps for as long as it runs.
    type Served: Send;

    /// Starts the receiving process's part: [`MAILBOXES`] mailboxes that count what comes into
    /// `tally` and answer questions. The string, one line, is what a client has to know.
    fn serve(
        setting: Setting<'_>,
        tally: &'static Tally,
    ) -> impl Future<Output = Result<(Self::Served, String)>> + Send;

    /// Links with that process; with the first of its nodes, if it is several.
    fn connect(contact: &str) -> impl Future<Output = Result<Self>> + Send;

    /// Sends a message; waits for room, if that is how this peer says that it is too fast.
    fn send(&self, mailbox: usize, message: Msg) -> impl Future<Output = Result<()>> + Send;

    /// One question and its answer, which is the same number.
    fn ask(&self, mailbox: usize, n: u64) -> impl Future<Output = Result<u64>> + Send;

    /// Takes a file to the server's folder, until it is there.
    fn file(&self, path: &Path) -> impl Future<Output = Result<()>> + Send;

    /// Links with all other nodes of the receiving process.
    fn connect_all(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Resolves when the server is known to be gone, or frozen.
    fn lost(&mut self) -> impl Future<Output = ()> + Send;
}

/// Runs `workload` at size `n` with a server, after a warm-up at a small part of that size.
pub(crate) async fn run<P: Peer>(
    workload: Workload,
    n: u64,
    server: Server,
    folders: Folders,
) -> Result<Figures> {
    let mut client = Client {
        peer: Arc::new(P::connect(&server.contact).await.context("no link")?),
        server,
        counted: 0,
    };
    match workload {
        Workload::Small | Workload::Large => {
            let size = workload.message_size();
            client.one_way(n.div_ceil(20), size).await?;
            client.one_way(n, size).await
        }
        Workload::Ping => {
            client.ping(n.div_ceil(20)).await?;
            client.ping(n).await
        }
        Workload::Ask => {
            client.ask(n.div_ceil(20)).await?;
            client.ask(n).await
        }
        Workload::Bulk => client.bulk(n, &folders).await,
        Workload::Idle => client.idle(n).await,
        Workload::Kill => client.loss(Signal::SIGKILL).await,
        Workload::Freeze => client.loss(Signal::SIGSTOP).await,
    }
}

struct Client<P> {
    peer: Arc<P>,
    server: Server,
    /// Messages that have been sent and have come so far.
    counted: u64,
}

impl<P: Peer> Client<P> {
    async fn one_way(&mut self, n: u64, size: usize) -> Result<Figures> {
        let each = (n / SENDERS).max(1);
        let before = self.server.count(self.counted)?;
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS as usize {
            let peer = Arc::clone(&self.peer);
            senders.spawn(async move {
                let body = vec![sender as u8; size - NUMBER];
                for n in 0..each {
                    // Each sender goes through all mailboxes, from a place of its own.
                    let mailbox = (sender * 17 + n as usize * 13) % MAILBOXES;
                    let body = body.clone();
                    peer.send(mailbox, Msg { n, body }).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(sent) = senders.join_next().await {
            sent??;
        }
        self.counted += each * SENDERS;
        // A wait for the other process, on a thread that has nothing else to do.
        let after = tokio::task::block_in_place(|| self.server.count(self.counted))?;
        let elapsed = start.elapsed().as_secs_f64();
        let cpu = cpu_seconds() - cpu + after.cpu_seconds - before.cpu_seconds;
        let sum = SENDERS * (each * each.saturating_sub(1) / 2);
        ensure!(
            after.count == self.counted && after.sum - before.sum == sum,
            "{} messages add up to {} instead of {} to {sum}",
            after.count - before.count,
            after.sum - before.sum,
            each * SENDERS,
        );
        let sent = (each * SENDERS) as f64;
        Ok(Figures::default()
            .with(Measure::Thousands, sent / elapsed / 1e3)
            .with(Measure::CpuMicros, cpu * 1e6 / sent))
    }

    async fn ping(&mut self, n: u64) -> Result<Figures> {
        let peer = Arc::clone(&self.peer);
        // On a worker, as any other task, and not on the thread that waits for the runtime.
        let trips = tokio::spawn(async move {
            let mut trips = Vec::with_capacity(n as usize);
            for n in 0..n {
                let start = Instant::now();
                let answer = peer.ask(n as usize % MAILBOXES, n).await?;
                trips.push(start.elapsed().as_secs_f64() * 1e6);
                ensure!(answer == n, "asked for {n} and was told {answer}");
            }
            Ok(trips)
        });
        let mut trips = trips.await??;
        trips.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| trips[((trips.len() - 1) as f64 * share) as usize];
        Ok(Figures::default()
            .with(Measure::MedianMicros, at(0.5))
            .with(Measure::TailMicros, at(0.99)))
    }

    async fn ask(&mut self, n: u64) -> Result<Figures> {
        let each = n.div_ceil(ASKERS);
        let start = Instant::now();
        let mut askers = JoinSet::new();
        for asker in 0..ASKERS {
            let peer = Arc::clone(&self.peer);
            askers.spawn(async move {
                for n in 0..each {
                    let mailbox = (asker + n * 13) as usize % MAILBOXES;
                    let answer = peer.ask(mailbox, n).await?;
                    ensure!(answer == n, "asked for {n} and was told {answer}");
                }
                Ok(())
            });
        }
        while let Some(asked) = askers.join_next().await {
            asked??;
        }
        let elapsed = start.elapsed().as_secs_f64();
        let asked = (each * ASKERS) as f64;
        Ok(Figures::default().with(Measure::Thousands, asked / elapsed / 1e3))
    }

    async fn bulk(&mut self, n: u64, folders: &Folders) -> Result<Figures> {
        for (name, size) in [("warm-up", n.div_ceil(20)), ("file", n)] {
            let source = Source::new(folders, name, size)?;
            let start = Instant::now();
            self.peer.file(source.path()).await?;
            let elapsed = start.elapsed().as_secs_f64();
            source.compare_and_remove()?;
            if size == n {
                let mebibytes = n as f64 / f64::from(1 << 20);
                return Ok(Figures::default().with(Measure::Mebibytes, mebibytes / elapsed));
            }
        }
        bail!("nothing was sent")
    }

    async fn idle(&mut self, n: u64) -> Result<Figures> {
        let peer = Arc::get_mut(&mut self.peer).expect("no task has it yet");
        let answer = peer.ask(0, 7).await?;
        ensure!(answer == 7, "asked for 7 and was told {answer}");
        let Some(before) = machine::rss() else {
            return Ok(Figures::default());
        };
        peer.connect_all().await?;
        let after = machine::rss().context("it was there before")?;
        let grown = after.saturating_sub(before) as f64;
        Ok(Figures::default().with(Measure::BytesPerPeer, grown / (n - 1) as f64))
    }

    async fn loss(&mut self, signal: Signal) -> Result<Figures> {
        let peer = Arc::get_mut(&mut self.peer).expect("no task has it yet");
        let answer = peer.ask(0, 7).await?;
        ensure!(answer == 7, "asked for 7 and was told {answer}");
        let start = Instant::now();
        self.server.signal(signal)?;
        let noticed = tokio::time::timeout(NOTICE_LIMIT, peer.lost()).await;
        let elapsed = start.elapsed().as_secs_f64() * 1e3;
        Ok(match noticed {
            Ok(()) => Figures::default().with(Measure::NoticedMillis, elapsed),
            Err(_) => Figures::default(),
        })
    }
}
