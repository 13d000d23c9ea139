//! The two sides of a transfer at work: around `protocol`, the files and the connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Report;
use super::disk::{self, Worker, blocking};
use super::incoming::{Incoming, Prepared};
use super::line::{Allowance, Line, Lost, Stopped};
use super::outgoing::{Outgoing, Unreadable};
use super::protocol::{Give, Giving, Take, Taking};
use super::refusal::Refusal;
use super::verified::Verified;
use super::wire::{Hash, Heard, Say};

/// Pieces between the connection and the disk.
const QUEUE: usize = 4;
/// How long until a file that is locked is looked at again.
const AGAIN: Duration = Duration::from_millis(50);

/// Why there is no file in its place.
#[derive(Debug)]
pub(super) enum Failed {
    /// The connection is of no use any more.
    Lost(Lost),
    /// The other side said so; the connection can be used on.
    There(Refusal),
    /// This side said so.
    Here(Refusal),
    /// The file here cannot be read.
    Unreadable(Unreadable),
}

impl From<Lost> for Failed {
    fn from(lost: Lost) -> Self {
        Failed::Lost(lost)
    }
}

impl From<Stopped> for Failed {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Lost(lost) => Failed::Lost(lost),
            Stopped::Refused(why) => Failed::There(why),
        }
    }
}

/// How a file came to its place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arrived {
    /// It was there.
    Already,
    /// From this offset on.
    From(u64),
}

impl Arrived {
    /// How many bytes crossed the network.
    pub(super) fn moved(self, size: u64) -> u64 {
        match self {
            Arrived::Already => 0,
            Arrived::From(offset) => size - offset,
        }
    }

    pub(super) fn was_there(self) -> bool {
        matches!(self, Arrived::Already)
    }
}

/// What a transfer leaves: how it went, and the connection if it can be used on.
pub(super) type Outcome<T = Arrived> = (Result<T, Failed>, Option<Line>);

/// What has been taken: how it came, and its hash if it came just now.
pub(super) type Taken = (Arrived, Option<Verified>);

/// Gives a file that has been offered; the other side has so long to say whether it wants it.
pub(super) async fn give(
    mut line: Line,
    file: Outgoing,
    name: &str,
    allowance: Allowance,
    report: Report,
) -> Outcome {
    let mut sent = false;
    let result = give_all(&mut line, file, allowance, report, &mut sent).await;
    if let Err(Failed::Unreadable(why)) = &result {
        // Whether it learns why or not: it gets no file.
        let _ = line.say(&Say::Refused(why.refusal(name))).await;
    }
    let usable = match &result {
        Ok(_) => true,
        Err(Failed::There(_)) => !sent,
        Err(_) => false,
    };
    if usable {
        return (result, Some(line));
    }
    if matches!(result, Err(Failed::Unreadable(_))) {
        line.part().await;
    }
    (result, None)
}

async fn give_all(
    line: &mut Line,
    mut file: Outgoing,
    allowance: Allowance,
    mut report: Report,
    sent: &mut bool,
) -> Result<Arrived, Failed> {
    let size = file.size();
    let mut giving = Giving::new(size);
    let mut give = heard(&mut giving, &line.hear(allowance).await?)?;
    if let Give::Compare(hash) = give {
        let compare = move |file: &mut Outgoing, cancelled: &_| file.is(hash, cancelled);
        let same;
        (file, same) = file_work(line, file, compare).await?;
        line.say(&Say::Same(same)).await?;
        giving.compared(same);
        give = heard(&mut giving, &line.hear(line.allowance(size)).await?)?;
    }
    let offset = match give {
        Give::All => 0,
        Give::Behind(kept, hash) => {
            let compare = move |file: &mut Outgoing, cancelled: &_| {
                Ok(file.begins_with(kept, hash, cancelled)?)
            };
            let same;
            (file, same) = file_work(line, file, compare).await?;
            if same { kept } else { 0 }
        }
        Give::Arrived => {
            report.at(size, size);
            return Ok(Arrived::Already);
        }
        Give::Compare(_) => return Err(Lost("it compares twice".into()).into()),
        Give::Stop(why) => return Err(Failed::There(why)),
    };
    line.say(&Say::From { offset }).await?;
    *sent = true;
    let hash = pour(line, file, offset, &mut report).await?;
    line.say(&Say::End { hash }).await?;
    giving.ended();
    match heard(&mut giving, &line.hear(line.allowance(size)).await?)? {
        Give::Stop(why) => Err(Failed::There(why)),
        _ => Ok(Arrived::From(offset)),
    }
}

/// Does something with the file in a thread of its own.
async fn file_work<T: Send + 'static>(
    line: &mut Line,
    mut file: Outgoing,
    f: impl FnOnce(&mut Outgoing, &CancellationToken) -> Result<T, Unreadable> + Send + 'static,
) -> Result<(Outgoing, T), Failed> {
    let done = blocking(move |cancelled| {
        let done = f(&mut file, cancelled)?;
        Ok((file, done))
    });
    line.working(done).await?.map_err(Failed::Unreadable)
}

/// Sends what is behind `offset`; the hash of the whole file.
async fn pour(
    line: &mut Line,
    file: Outgoing,
    offset: u64,
    report: &mut Report,
) -> Result<Hash, Failed> {
    let size = file.size();
    let mut done = offset;
    report.at(done, size);
    let (sender, mut frames) = mpsc::channel(QUEUE);
    let (spare, mut returned) = mpsc::channel(QUEUE);
    let reading = Worker::spawn(move || file.read(&sender, &mut returned));
    let reading = reading.map_err(|e| Failed::Unreadable(e.into()))?;
    let mut allowance = line.allowance(0);
    loop {
        let frame;
        let held_up = Instant::now();
        (frames, frame) = line.preparing(disk::next(frames)).await?;
        let Some(frame) = frame else { break };
        // By the disk here.
        allowance = allowance.longer(held_up.elapsed());
        line.piece(&frame, allowance).await?;
        allowance = allowance.moved(frame.len(), line.allowance(0));
        done += (frame.len() - super::wire::HEADER) as u64;
        report.at(done, size);
        // When the reader has enough of them, it is dropped.
        let _ = spare.try_send(frame);
    }
    reading.join().await.map_err(Failed::Unreadable)
}

fn heard(giving: &mut Giving, heard: &Heard) -> Result<Give, Lost> {
    let give = giving.heard(heard);
    give.map_err(|e| Lost(format!("it broke the protocol: {e}")))
}

/// How to make ready for a file that has been offered.
pub(super) struct Taker<F> {
    pub(super) size: u64,
    /// How long the same file may be on its way from somebody else. That may be an attempt whose
    /// connection has broken without a word, which is found out within the time that counts as
    /// silence.
    pub(super) patience: Duration,
    /// Looks at what is there; whether a file of the same size is known to be another.
    pub(super) prepare: Arc<F>,
    pub(super) report: Report,
}

/// Takes a file that has been offered.
pub(super) async fn take<F>(mut line: Line, taker: Taker<F>) -> Outcome<Taken>
where
    F: Fn(bool, &CancellationToken) -> Result<Prepared, Refusal> + Send + Sync + 'static,
{
    let mut begun = false;
    let result = take_all(&mut line, taker, &mut begun).await;
    let answer = match &result {
        Ok(_) => Say::Done,
        Err(Failed::Here(why)) => Say::Refused(why.clone()),
        Err(_) => return (result, None),
    };
    // That it cannot be said changes nothing here.
    if line.say(&answer).await.is_err() {
        return (result, None);
    }
    if result.is_err() && begun {
        line.part().await;
        return (result, None);
    }
    (result, Some(line))
}

async fn take_all<F>(line: &mut Line, taker: Taker<F>, begun: &mut bool) -> Result<Taken, Failed>
where
    F: Fn(bool, &CancellationToken) -> Result<Prepared, Refusal> + Send + Sync + 'static,
{
    let Taker {
        size,
        patience,
        prepare,
        mut report,
    } = taker;
    let mut taking = Taking::new(size);
    let file = match ready(line, &prepare, patience, false).await? {
        Prepared::Ready(file) => file,
        Prepared::Has(hash) => {
            line.say(&Say::Have { hash }).await?;
            taking.has();
            let allowance = line.allowance(size);
            let (take, _) = next(line, &mut taking, allowance)
                .await?
                .map_err(Failed::There)?;
            if take == Take::Keep {
                report.at(size, size);
                return Ok((Arrived::Already, None));
            }
            match ready(line, &prepare, patience, true).await? {
                Prepared::Ready(file) => file,
                Prepared::Has(_) => return Err(Failed::Here(Refusal::Exists)),
            }
        }
    };
    let (kept, hash) = file.kept();
    line.say(&Say::Want { kept, hash }).await?;
    taking.wants(kept);
    *begun = true;
    fill(line, *file, &mut taking, &mut report).await
}

/// Finds out what is there of a file that has been offered, and makes ready for the rest.
async fn ready<F>(
    line: &mut Line,
    prepare: &Arc<F>,
    patience: Duration,
    differs: bool,
) -> Result<Prepared, Failed>
where
    F: Fn(bool, &CancellationToken) -> Result<Prepared, Refusal> + Send + Sync + 'static,
{
    let deadline = Instant::now() + patience;
    let prepared = async {
        loop {
            let prepare = Arc::clone(prepare);
            match blocking(move |cancelled| prepare(differs, cancelled)).await {
                Err(Refusal::Busy) if Instant::now() < deadline => sleep(AGAIN).await,
                prepared => return prepared,
            }
        }
    };
    // Around all rounds: each is too short for a sign of life.
    line.working(prepared).await?.map_err(Failed::Here)
}

/// What comes next; the inner error is what the other side says.
async fn next(
    line: &mut Line,
    taking: &mut Taking,
    allowance: Allowance,
) -> Result<Result<(Take, Heard), Refusal>, Failed> {
    let heard = line.hear(allowance).await?;
    match taking.heard(&heard) {
        Ok(take) => Ok(take.map(|take| (take, heard))),
        Err(violation) => Err(Failed::Here(Refusal::protocol(&violation))),
    }
}

/// Writes what comes, and puts the file in its place at the end.
async fn fill(
    line: &mut Line,
    file: Incoming,
    taking: &mut Taking,
    report: &mut Report,
) -> Result<Taken, Failed> {
    let size = taking.size();
    let (mut from, _) = file.kept();
    let mut done = from;
    let (orders, queue) = mpsc::channel(QUEUE);
    let (spare, mut returned) = mpsc::channel(QUEUE);
    let writing = Worker::spawn(move || write(file, queue, &spare));
    let writing = writing.map_err(|e| Failed::Here(Refusal::io(&e)))?;
    // For the first piece, what is kept has to be read.
    let mut allowance = line.allowance(from);
    loop {
        let (take, heard) = match next(line, taking, allowance).await {
            Ok(Ok(next)) => next,
            Ok(Err(why)) => {
                // What is kept is part of a content that is no more.
                if why == Refusal::Changed {
                    disk::order(&orders, Order::Discard).await;
                }
                drop(orders);
                let _ = line.working(writing.join()).await;
                return Err(Failed::There(why));
            }
            Err(failed) => {
                if matches!(failed, Failed::Here(_)) {
                    disk::order(&orders, Order::Discard).await;
                }
                return Err(failed);
            }
        };
        let order = match (take, heard) {
            (Take::StartOver, _) => {
                (from, done) = (0, 0);
                Order::StartOver
            }
            (Take::Write, Heard::Piece(piece)) => {
                done += piece.len() as u64;
                allowance = allowance.moved(piece.len(), line.allowance(0));
                Order::Write(piece)
            }
            (Take::Finish(hash), _) => {
                disk::order(&orders, Order::Finish(hash)).await;
                drop(orders);
                let written = line.working(writing.join()).await?;
                let verified = written.map_err(Failed::Here)?;
                return Ok((Arrived::From(from), verified));
            }
            _ => {
                report.at(done, size);
                continue;
            }
        };
        let held_up = Instant::now();
        if !line.working(disk::order(&orders, order)).await? {
            let why = line.working(writing.join()).await?;
            return Err(Failed::Here(why.err().unwrap_or(Refusal::Mismatch)));
        }
        // By the disk here.
        allowance = allowance.longer(held_up.elapsed());
        report.at(done, size);
        if let Ok(piece) = returned.try_recv() {
            line.reuse(piece);
        }
    }
}

/// What the writing thread is to do. When no more comes it keeps what it has.
enum Order {
    StartOver,
    Write(Vec<u8>),
    Discard,
    Finish(Hash),
}

fn write(
    mut file: Incoming,
    mut queue: mpsc::Receiver<Order>,
    spare: &mpsc::Sender<Vec<u8>>,
) -> Result<Option<Verified>, Refusal> {
    while let Some(order) = queue.blocking_recv() {
        let written = match order {
            Order::StartOver => file.start_over(),
            Order::Write(piece) => {
                let written = file.write(&piece);
                // When there are enough of them, it is dropped.
                let _ = spare.try_send(piece);
                written
            }
            Order::Discard => {
                file.discard();
                break;
            }
            Order::Finish(hash) => return file.finish(hash, &CancellationToken::new()),
        };
        if let Err(why) = written {
            // A full disk is in trouble enough.
            file.discard();
            return Err(why);
        }
    }
    Ok(None)
}
