//! The two sides of a transfer at work: around `protocol`, the files and the connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Report;
use super::incoming::{Incoming, Prepared};
use super::line::{Line, Lost, Stopped};
use super::outgoing::{Outgoing, Unreadable};
use super::protocol::{Give, Giving, Take, Taking};
use super::refusal::Refusal;
use super::wire::{Heard, Say};

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

/// How a file came to its place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arrived {
    /// It was there.
    Already,
    /// From this offset on.
    From(u64),
}

/// What a transfer leaves: how it went, and the connection if it can be used on.
pub(super) type Outcome = (Result<Arrived, Failed>, Option<Line>);

/// Does what would hold up others in a thread of its own; that learns when nobody waits for it.
pub(super) async fn blocking<T: Send + 'static>(
    f: impl FnOnce(&CancellationToken) -> T + Send + 'static,
) -> T {
    let token = CancellationToken::new();
    let _cancels = token.clone().drop_guard();
    joined(tokio::task::spawn_blocking(move || f(&token))).await
}

async fn joined<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Gives a file that has been offered.
pub(super) async fn give(mut line: Line, file: Outgoing, name: &str, report: Report) -> Outcome {
    let mut sent = false;
    let result = give_all(&mut line, file, report, &mut sent).await;
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
    mut report: Report,
    sent: &mut bool,
) -> Result<Arrived, Failed> {
    let size = file.size();
    let mut giving = Giving::new(size);
    let mut offset = 0;
    match heard(&mut giving, &line.hear().await?)? {
        Give::Skip => {
            report.at(size, size);
            return Ok(Arrived::Already);
        }
        Give::Compare(kept, hash) => {
            let compare = blocking(move |cancelled| {
                let same = file.begins_with(kept, hash, cancelled);
                (file, same)
            });
            let same;
            (file, same) = line.working(compare).await?;
            if same.map_err(|e| Failed::Unreadable(e.into()))? {
                offset = kept;
            }
        }
        Give::All => {}
        Give::Arrived => return Err(Lost("it has what nobody sent".into()).into()),
        Give::Stop(why) => return Err(Failed::There(why)),
    }
    line.say(&Say::From { offset }).await?;
    *sent = true;
    report.at(offset, size);
    let (sender, mut pieces) = mpsc::channel(QUEUE);
    let reading = tokio::task::spawn_blocking(move || file.read(offset, &sender));
    let mut done = offset;
    while let Some(frame) = line.working(pieces.recv()).await? {
        match line.piece(&frame).await {
            Ok(()) => {}
            Err(Stopped::Lost(lost)) => return Err(lost.into()),
            Err(Stopped::Refused(why)) => return Err(Failed::There(why)),
        }
        done += (frame.len() - super::wire::HEADER) as u64;
        report.at(done, size);
    }
    joined(reading).await.map_err(Failed::Unreadable)?;
    line.say(&Say::End).await?;
    giving.ended();
    match heard(&mut giving, &line.hear().await?)? {
        Give::Stop(why) => Err(Failed::There(why)),
        _ => Ok(Arrived::From(offset)),
    }
}

fn heard(giving: &mut Giving, heard: &Heard) -> Result<Give, Lost> {
    let give = giving.heard(heard);
    give.map_err(|e| Lost(format!("it broke the protocol: {e}")))
}

/// Finds out what is there of a file that has been offered, and makes ready for the rest.
///
/// The content may be on its way from an attempt whose connection has broken without a word; that
/// is found out within the time that counts as silence, so as much is waited.
pub(super) async fn ready(
    line: &mut Line,
    patience: Duration,
    prepare: impl Fn(&CancellationToken) -> Result<Prepared, Refusal> + Send + Sync + 'static,
) -> Result<Result<Prepared, Refusal>, Lost> {
    let deadline = Instant::now() + patience;
    let prepare = Arc::new(prepare);
    loop {
        let prepare = Arc::clone(&prepare);
        let prepared = blocking(move |cancelled| prepare(cancelled));
        match line.working(prepared).await? {
            Err(Refusal::Busy) if Instant::now() < deadline => {
                line.working(sleep(AGAIN)).await?;
            }
            prepared => return Ok(prepared),
        }
    }
}

/// Takes a file for which there is a place now.
pub(super) async fn take(mut line: Line, file: Incoming, size: u64, report: Report) -> Outcome {
    let result = take_all(&mut line, file, size, report).await;
    match &result {
        Ok(_) => {}
        Err(Failed::Here(why)) => {
            if line.say(&Say::Refused(why.clone())).await.is_ok() {
                line.part().await;
            }
            return (result, None);
        }
        Err(_) => return (result, None),
    }
    match line.say(&Say::Done).await {
        Ok(()) => (result, Some(line)),
        // The file is in its place all the same.
        Err(_) => (result, None),
    }
}

async fn take_all(
    line: &mut Line,
    file: Incoming,
    size: u64,
    mut report: Report,
) -> Result<Arrived, Failed> {
    let (kept, hash) = file.kept();
    line.say(&Say::Want { kept, hash }).await?;
    let mut taking = Taking::new(size, kept);
    let mut from = kept;
    let mut done = kept;
    let (orders, queue) = mpsc::channel(QUEUE);
    let writing = tokio::task::spawn_blocking(move || write(file, queue));
    loop {
        let heard = line.hear().await?;
        let take = match taking.heard(&heard) {
            Ok(Ok(take)) => take,
            Ok(Err(why)) => {
                // What is kept is part of a content that is no more.
                if why == Refusal::Changed {
                    let _ = orders.send(Order::Discard).await;
                }
                drop(orders);
                let _ = line.working(joined(writing)).await;
                return Err(Failed::There(why));
            }
            Err(violation) => {
                let _ = orders.send(Order::Discard).await;
                return Err(Failed::Here(Refusal::protocol(&violation)));
            }
        };
        let order = match (take, heard) {
            (Take::StartOver, _) => {
                (from, done) = (0, 0);
                Order::StartOver
            }
            (Take::Write, Heard::Piece(piece)) => {
                done += piece.len() as u64;
                Order::Write(piece)
            }
            (Take::Finish, _) => {
                let _ = orders.send(Order::Finish).await;
                drop(orders);
                return match line.working(joined(writing)).await? {
                    Ok(()) => Ok(Arrived::From(from)),
                    Err(why) => Err(Failed::Here(why)),
                };
            }
            (Take::Continue | Take::Write, _) => {
                report.at(done, size);
                continue;
            }
        };
        if line.working(orders.send(order)).await?.is_err() {
            let why = line.working(joined(writing)).await?;
            return Err(Failed::Here(why.err().unwrap_or(Refusal::Mismatch)));
        }
        report.at(done, size);
    }
}

/// What the writing thread is to do. When no more comes it keeps what it has.
enum Order {
    StartOver,
    Write(Vec<u8>),
    Discard,
    Finish,
}

fn write(mut file: Incoming, mut queue: mpsc::Receiver<Order>) -> Result<(), Refusal> {
    while let Some(order) = queue.blocking_recv() {
        let written = match order {
            Order::StartOver => file.start_over(),
            Order::Write(piece) => file.write(&piece),
            Order::Discard => {
                file.discard();
                break;
            }
            Order::Finish => return file.finish(&CancellationToken::new()),
        };
        if let Err(error) = written {
            // A full disk is in trouble enough.
            file.discard();
            return Err(Refusal::io(&error));
        }
    }
    Ok(())
}
