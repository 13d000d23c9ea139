//! `coros demo`: counts words in worker processes.
//!
//! ```text
//! corpus ──files──> Scheduler ──count_words(source, reducer)──> workers
//!    (this process)                                               |  ^
//!                   reduce  <────────── partial counts ───────────┘  |
//!                      └──totals──> report, verify                   |
//!                   content ─────────── pieces of files ─────────────┘
//!                                   (if they are on other machines)
//! ```

mod content;
mod corpus;
mod count;
mod nodes;
mod progress;
mod reduce;
mod report;
mod tally;
mod verify;

use std::fmt;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use coros::cluster::{Event, JobError, SchedulerBuilder};
use coros::{Address, Scheduler};
use tokio::sync::mpsc;

use self::content::{Ask, FilePath, Source};
use self::corpus::{Corpus, Selection, Unreadable};
use self::count::count_words;
use self::nodes::Nodes;
use self::progress::Progress;
use self::reduce::{Partial, Totals};
use self::report::Report;
use crate::USAGE;
use crate::flags::DemoFlags;
use crate::terminal::{self, Name, say, status};

/// Some files, or the workers, failed.
const TROUBLE: u8 = 1;
const DIFFERENT: u8 = 3;
/// How many workers there are on this machine unless told.
const WORKERS: u16 = 2;

/// Does what `coros demo` was asked for and gives the exit status.
///
/// Workers log what the filter `log` lets through.
pub(crate) async fn run(flags: DemoFlags, log: &str) -> ExitCode {
    let selection = match Selection::new(flags.path.clone(), flags.sources) {
        Ok(selection) => selection,
        Err(error) => {
            say(&format!("coros demo: {error}"));
            return ExitCode::from(USAGE);
        }
    };
    match demo(&flags, log, selection).await {
        Ok(status) => status,
        Err(error) => status("demo", Err(error)),
    }
}

async fn demo(flags: &DemoFlags, log: &str, selection: Selection) -> anyhow::Result<ExitCode> {
    let progress = Progress::new();
    let jobs = JobCounts::default();
    let root = Name(selection.root()).to_string();
    let nodes = Nodes::join(flags).await?;
    let (scheduler, corpus) = {
        // Both take a moment: at the same time.
        let start = start(flags, nodes.as_ref(), log, &progress, &jobs);
        let find = tokio::task::spawn_blocking(move || Corpus::find(&selection));
        let (scheduler, corpus) = tokio::join!(start, find);
        (scheduler?, corpus?)
    };
    let reader = nodes.as_ref().map(|_| content::spawn(&corpus.files));
    let counted = count(&scheduler, &corpus, reader, &progress, &jobs).await;
    progress.finish();
    let closed = scheduler.close().await;
    if let Some(nodes) = nodes {
        nodes.leave().await;
    }
    let (totals, failed, seconds) = counted?;
    if let Err(error) = closed {
        say(&error.to_string());
    }

    let mut unreadable = corpus.unreadable;
    unreadable.extend(failed);
    unreadable.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    for it in &unreadable {
        say(&format!("coros demo: cannot count {it}"));
    }
    let nothing = corpus.files.is_empty() && unreadable.is_empty();
    if nothing {
        say(&format!("coros demo: no files below {root}"));
    }
    let report = Report {
        totals: &totals,
        seconds,
        jobs: jobs.sorted(),
        unreadable: &unreadable,
    };
    let written = if flags.json {
        report.write_json()
    } else if nothing {
        Ok(())
    } else {
        report.write_table(flags.top)
    };
    if let Err(error) = written
        // As after `coros demo | head`: whoever reads has enough.
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(anyhow::Error::new(error).context("cannot print the result"));
    }
    if flags.verify && !verify(corpus.files, &unreadable, totals).await? {
        return Ok(ExitCode::from(DIFFERENT));
    }
    Ok(if unreadable.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(TROUBLE)
    })
}

async fn start(
    flags: &DemoFlags,
    nodes: Option<&Nodes>,
    log: &str,
    progress: &Progress,
    jobs: &JobCounts,
) -> anyhow::Result<Scheduler> {
    let builder = match nodes {
        Some(nodes) => limited(nodes.scheduler()?, flags.workers),
        None => limited(Scheduler::local(), flags.workers.or(Some(WORKERS))),
    };
    let (lines, events, jobs) = (progress.clone(), progress.clone(), jobs.clone());
    let (happened, mut happens) = mpsc::unbounded_channel();
    let stranger = nodes.map(Nodes::stranger);
    let starting = builder
        .log(log)
        .stderr(move |worker, line| lines.say(&format!("[{worker}] {line}")))
        .on_event(move |event| {
            if let Event::WorkerReady { name, .. } = event {
                jobs.add(name, 0);
            }
            let of_others = stranger.as_ref().is_some_and(|it| it(event));
            if is_told(event) && !of_others {
                events.say(&event.to_string());
            }
            // Nobody listens once all have started.
            let _ = happened.send(event.clone());
        })
        .start();
    let scheduler = match nodes {
        Some(nodes) => tokio::select! {
            started = starting => started?,
            why = nodes.is_another() => anyhow::bail!(why),
        },
        None => starting.await?,
    };
    // The scheduler is content with the first worker; here all shall have their share.
    match nodes {
        Some(nodes) => nodes.settle(&mut happens).await,
        None => {
            let mut awaited = flags.workers.unwrap_or(WORKERS);
            while awaited > 0
                && let Some(event) = happens.recv().await
            {
                let settled = matches!(
                    event,
                    Event::WorkerReady { .. } | Event::WorkerFailed { .. }
                );
                awaited -= u16::from(settled);
            }
        }
    }
    Ok(scheduler)
}

fn limited(builder: SchedulerBuilder, workers: Option<u16>) -> SchedulerBuilder {
    match workers {
        Some(n) => builder.workers(usize::from(n)),
        None => builder,
    }
}

/// Whether an event is worth a line.
fn is_told(event: &Event) -> bool {
    matches!(
        event,
        Event::ServiceFound { .. }
            | Event::ServiceNotUsed { .. }
            | Event::ServiceBusy { .. }
            | Event::ServiceReady { .. }
            | Event::ServiceLost { .. }
            | Event::NodeFound { .. }
            | Event::NodeNotUsed { .. }
            | Event::NodeUnfit { .. }
            | Event::NodeReturned { .. }
            | Event::NodeReady { .. }
            | Event::NodeSuspended { .. }
            | Event::NodeResumed { .. }
            | Event::NodeDraining { .. }
            | Event::NodeEnded { .. }
            | Event::NodeClosed { .. }
            | Event::NodeLost { .. }
            | Event::NodesAwaited { .. }
            | Event::WorkerReady { .. }
            | Event::WorkerLost { .. }
            | Event::WorkerFailed { .. }
    )
}

/// Counts all files. Gives the totals, what could not be counted, and the seconds that it took. Without workers it
/// ends: no other file would fare better.
async fn count(
    scheduler: &Scheduler,
    corpus: &Corpus,
    reader: Option<Address<Ask>>,
    progress: &Progress,
    jobs: &JobCounts,
) -> anyhow::Result<(Totals, Vec<Unreadable>, f64)> {
    let files = &corpus.files;
    if !files.is_empty() {
        progress.start(files.len() as u64, files.iter().map(|file| file.size).sum());
    }
    let begun = Instant::now();
    let reducer = reduce::spawn(files.len(), progress.clone());
    let address = reducer.address();
    let calls = files.iter().enumerate().map(|(index, file)| {
        let source = Source {
            path: FilePath(file.path.clone()),
            index: index as u64,
            reader: reader.clone(),
        };
        count_words(source, address.clone())
    });
    let mut results = scheduler.map(calls).unordered();
    let (mut counted, mut failed) = (0, Vec::new());
    while let Some(done) = results.next().await {
        if let Some(worker) = &done.worker {
            jobs.add(worker, 1);
        }
        match done.result {
            Ok(_) => counted += 1,
            Err(error @ JobError::NoWorkers(_)) => {
                reducer.terminate();
                let (left, all) = (files.len() - counted, files.len());
                anyhow::bail!(
                    "{error}; not counted: {left} of {}",
                    terminal::count(all, "file")
                );
            }
            Err(error) => failed.push((done.index as u64, error.to_string())),
        }
        progress.file_done();
    }
    drop(results);
    // Counts come by another way than results, so some may still be on theirs.
    let indexes = failed.iter().map(|(index, _)| *index).collect();
    drop(address);
    reducer
        .send(Partial::Finish { failed: indexes })
        .map_err(|_| anyhow::anyhow!("the reducing coroutine has ended too soon"))?;
    let totals = reducer.join().await?;
    let unreadable = failed
        .into_iter()
        // One that an attempt on a lost worker had counted before it became unreadable is counted.
        .filter(|(index, _)| !totals.counted_anyway.contains(index))
        .map(|(index, error)| Unreadable {
            path: files[index as usize].path.clone(),
            error,
        })
        .collect();
    Ok((totals, unreadable, begun.elapsed().as_secs_f64()))
}

/// Counts again and says on standard error whether the result is the same.
async fn verify(
    files: Vec<corpus::File>,
    unreadable: &[Unreadable],
    totals: Totals,
) -> anyhow::Result<bool> {
    let skip: std::collections::HashSet<_> = unreadable.iter().map(|it| it.path.clone()).collect();
    let begun = Instant::now();
    let paths = files
        .into_iter()
        .map(|file| file.path)
        .filter(move |path| !skip.contains(path));
    let paths: Vec<_> = paths.collect();
    let differences =
        tokio::task::spawn_blocking(move || verify::differences(&paths, &totals)).await?;
    let seconds = begun.elapsed().as_secs_f64();
    if differences.is_empty() {
        say(&format!(
            "verified: counting in one thread gives the same result, in {seconds:.2} s"
        ));
    } else {
        say("verified: counting in one thread gives a DIFFERENT result:");
        for difference in &differences {
            say(&format!("  {difference}"));
        }
    }
    Ok(differences.is_empty())
}

/// How many jobs each worker has done.
#[derive(Clone, Default)]
struct JobCounts(Arc<Mutex<Vec<JobCount>>>);

/// A worker's name and how many jobs it has done.
type JobCount = (Arc<str>, u64);

impl JobCounts {
    fn add(&self, worker: &Arc<str>, n: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.iter_mut().find(|(name, _)| name == worker) {
            Some((_, count)) => *count += n,
            None => counts.push((Arc::clone(worker), n)),
        }
    }

    /// By worker: w2 before w10.
    fn sorted(&self) -> Vec<JobCount> {
        let mut counts = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        counts.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
        counts
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Name(&self.path), self.error)
    }
}
