//! A connection for files: frames both ways, and nobody waits for ever.
//!
//! Who says nothing is given up after a silence. Who says that it is at work is given the time
//! that the work takes on the slowest of disks and no more, however often it says so: a transfer
//! holds a turn and room that others wait for.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsStream;

use super::Stream;
use super::refusal::Refusal;
use super::wire::{self, HEADER, Heard, MAX_PIECE, Say};
use crate::clock;
use crate::session::Timing;
use crate::transport::why_broken;

/// How long the other side may be at work, besides what it has to read or write for that.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// Bytes a second that any disk reads or writes.
const SLOWEST: u64 = 4 << 20;
/// Bytes a second that any link carries, also if as many transfers share it as a peer may have. Who
/// moves fewer on average uses up his allowance, however slowly.
const SLOWEST_LINK: u32 = 2 << 10;
/// No disk is at work for longer at a time.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The connection cannot be used any more, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Lost(pub(super) String);

/// Why a piece could not be sent.
#[derive(Debug)]
pub(super) enum Stopped {
    Lost(Lost),
    Refused(Refusal),
}

impl From<Lost> for Stopped {
    fn from(lost: Lost) -> Self {
        Stopped::Lost(lost)
    }
}

/// How long the other side may be at work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    since: Instant,
    limit: Duration,
}

impl Allowance {
    /// At so many bytes, from now on.
    fn new(silence: Duration, bytes: u64) -> Self {
        let work = Duration::from_secs(bytes / SLOWEST).min(LONGEST);
        Allowance {
            since: Instant::now(),
            limit: PATIENCE + 4 * silence + work,
        }
    }

    /// So many bytes have moved: there is as much time more as that may take, but nobody saves up
    /// more than is `fresh`.
    pub(super) fn moved(mut self, bytes: usize, fresh: Allowance) -> Self {
        let took = Duration::from_secs(bytes as u64) / SLOWEST_LINK;
        self.limit = (self.limit + took).min(fresh.end() - self.since);
        self
    }

    pub(super) fn longer(mut self, by: Duration) -> Self {
        self.limit += by;
        self
    }

    fn end(&self) -> Instant {
        self.since + self.limit
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end()
    }

    fn lost(&self) -> Lost {
        let seconds = self.since.elapsed().as_secs();
        let why = "it said that it was at work, and too little came of it within";
        Lost(format!("{why} {seconds} s"))
    }
}

pub(super) struct Line {
    write: WriteHalf<Stream>,
    read: Reader,
    /// Until when the other side is who it is.
    pub(super) until: SystemTime,
    timing: Timing,
}

/// Does something by way of a line, for as long as its other side is who it is.
pub(super) fn while_valid<T>(
    until: SystemTime,
    work: impl Future<Output = T>,
) -> impl Future<Output = Result<T, Lost>> {
    // It is large, and would be there twice.
    let work = Box::pin(work);
    async move {
        tokio::select! {
            biased;
            () = clock::passed(until) => Err(Lost("its certificate has expired".into())),
            done = work => Ok(done),
        }
    }
}

impl Line {
    pub(super) fn new(mut stream: Stream, until: SystemTime, timing: Timing) -> Self {
        // As much is encrypted before it is written in one go.
        match &mut stream {
            TlsStream::Client(stream) => stream.get_mut().1.set_buffer_limit(Some(MAX_PIECE)),
            TlsStream::Server(stream) => stream.get_mut().1.set_buffer_limit(Some(MAX_PIECE)),
        }
        let (read, write) = tokio::io::split(stream);
        Line {
            write,
            read: Reader {
                io: read,
                header: [0; HEADER],
                payload: Vec::new(),
                got: 0,
            },
            until,
            timing,
        }
    }

    pub(super) async fn say(&mut self, say: &Say) -> Result<(), Lost> {
        let bytes = wire::encode(say);
        let written = async {
            self.write.write_all(&bytes).await?;
            self.write.flush().await
        };
        match timeout(self.timing.silence, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Lost(why_broken(&error))),
            Err(_) => Err(silent(self.timing.silence)),
        }
    }

    /// From now on, the other side may be at work at so many bytes.
    pub(super) fn allowance(&self, bytes: u64) -> Allowance {
        Allowance::new(self.timing.silence, bytes)
    }

    /// What is said next, other than that the other side is working. Who is still working when its
    /// time is over is told that nobody waits any more.
    pub(super) async fn hear(&mut self, allowance: Allowance) -> Result<Heard, Lost> {
        loop {
            let frame = self.read.frame(self.timing.silence);
            match timeout_at(allowance.end(), frame).await {
                // There may always be another one.
                Ok(Ok(Some(Heard::Say(Say::Working)))) if !allowance.is_over() => {}
                Ok(Ok(Some(Heard::Say(Say::Working)))) | Err(_) => break,
                Ok(heard) => return heard?.ok_or_else(closed),
            }
        }
        let seconds = allowance.since.elapsed().as_secs();
        let why = Refusal::KeptWaiting { seconds };
        if self.say(&Say::Refused(why)).await.is_ok() {
            self.part().await;
        }
        Err(allowance.lost())
    }

    /// Takes a piece's memory back, for the next one.
    pub(super) fn reuse(&mut self, piece: Vec<u8>) {
        if self.read.got == 0 {
            self.read.payload = piece;
        }
    }

    /// What is asked next; none if the other side has closed or asks nothing for so long.
    pub(super) async fn asked(&mut self, idle: Duration) -> Result<Option<Heard>, Lost> {
        let allowance = self.allowance(0).longer(idle);
        let asked = timeout_at(allowance.end(), self.read.patient(idle)).await;
        asked.unwrap_or_else(|_| Err(allowance.lost()))
    }

    /// Whether an idle connection can still be used.
    pub(super) async fn is_alive(&mut self) -> bool {
        tokio::select! {
            biased;
            () = clock::passed(self.until) => false,
            // Nothing is said to who has asked nothing.
            _ = self.read.frame(self.timing.silence) => false,
            () = std::future::ready(()) => true,
        }
    }

    /// Tells the other side of this one's being at work until `future` is done.
    pub(super) async fn working<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Lost> {
        let mut future = pin!(future);
        loop {
            match timeout(self.timing.heartbeat, &mut future).await {
                Ok(done) => return Ok(done),
                Err(_) => self.say(&Say::Working).await?,
            }
        }
    }

    /// Does so between pieces, of which the other side may have more than it can take now.
    pub(super) async fn preparing<T>(
        &mut self,
        future: impl Future<Output = T>,
    ) -> Result<T, Stopped> {
        let mut future = pin!(future);
        loop {
            match timeout(self.timing.heartbeat, &mut future).await {
                Ok(done) => return Ok(done),
                Err(_) => {
                    let working = wire::encode(&Say::Working);
                    self.piece(&working, self.allowance(0)).await?;
                }
            }
        }
    }

    /// Sends a piece, or what is said between two, which is a whole frame, as long as the other side
    /// may be at work; hears meanwhile if it is not wanted.
    pub(super) async fn piece(
        &mut self,
        frame: &[u8],
        allowance: Allowance,
    ) -> Result<(), Stopped> {
        let silence = self.timing.silence;
        let mut rest = frame;
        let mut deadline = Instant::now() + silence;
        while !rest.is_empty() {
            if allowance.is_over() {
                return Err(allowance.lost().into());
            }
            tokio::select! {
                written = self.write.write(rest) => match written {
                    Ok(0) => return Err(closed().into()),
                    Ok(written) => rest = &rest[written..],
                    // It may have said why before it closed.
                    Err(error) => {
                        let why = timeout(silence, self.read.refusal()).await;
                        return Err(match why {
                            Ok(Some(refusal)) => Stopped::Refused(refusal),
                            _ => Lost(why_broken(&error)).into(),
                        });
                    }
                },
                heard = self.read.frame(silence) => match heard? {
                    Some(Heard::Say(Say::Working)) => {}
                    Some(Heard::Say(Say::Refused(why))) => return Err(Stopped::Refused(why)),
                    Some(_) => return Err(Lost("it broke the protocol".into()).into()),
                    None => return Err(closed().into()),
                },
                () = sleep_until(deadline) => return Err(silent(silence).into()),
            }
            deadline = Instant::now() + silence;
        }
        Ok(())
    }

    /// Ends the connection such that the last words arrive: closing a socket that holds unread
    /// bytes would destroy them.
    pub(super) async fn part(&mut self) {
        let drain = async {
            self.write.shutdown().await?;
            let mut waste = vec![0; 64 << 10];
            while self.read.io.read(&mut waste).await? > 0 {}
            std::io::Result::Ok(())
        };
        // However the other side closes: it has been told.
        let _ = timeout(self.timing.silence, drain).await;
    }
}

fn closed() -> Lost {
    Lost("it closed the connection".into())
}

fn silent(limit: Duration) -> Lost {
    Lost(format!("no sign of life for {limit:.1?}"))
}

struct Reader {
    io: ReadHalf<Stream>,
    header: [u8; HEADER],
    payload: Vec<u8>,
    /// Bytes of the frame that have come.
    got: usize,
}

impl Reader {
    /// Reads one frame; none if the stream ends before. No read may take longer than the limit.
    ///
    /// Cancel safe: what was read is kept.
    async fn frame(&mut self, limit: Duration) -> Result<Option<Heard>, Lost> {
        loop {
            let (room, (kind, length)) = if self.got < HEADER {
                (&mut self.header[self.got..], (None, 0))
            } else {
                let (kind, length) = wire::header(self.header).map_err(Lost)?;
                self.payload.resize(length, 0);
                let room = &mut self.payload[self.got - HEADER..];
                (room, (Some(kind), length))
            };
            let read = match timeout(limit, self.io.read(room)).await {
                Ok(Ok(read)) => read,
                Ok(Err(error)) => return Err(Lost(why_broken(&error))),
                Err(_) => return Err(silent(limit)),
            };
            match read {
                0 if self.got == 0 => return Ok(None),
                0 => return Err(closed()),
                read => self.got += read,
            }
            if let Some(kind) = kind
                && self.got == HEADER + length
            {
                self.got = 0;
                let payload = std::mem::take(&mut self.payload);
                return wire::decode(kind, payload).map(Some).map_err(Lost);
            }
        }
    }

    async fn patient(&mut self, idle: Duration) -> Result<Option<Heard>, Lost> {
        match self.frame(idle).await {
            // Asked nothing.
            Err(_) if self.got == 0 => Ok(None),
            heard => heard,
        }
    }

    /// The refusal among what has still come, if there is one.
    async fn refusal(&mut self) -> Option<Refusal> {
        loop {
            match self.frame(Duration::MAX).await {
                Ok(Some(Heard::Say(Say::Refused(why)))) => return Some(why),
                Ok(Some(_)) => {}
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SILENCE: Duration = Duration::from_secs(2);

    fn fresh() -> Allowance {
        Allowance::new(SILENCE, 0)
    }

    /// For how many seconds somebody moves so many bytes in each, at most an hour.
    async fn lasts(bytes: usize) -> u64 {
        let mut allowance = fresh();
        for second in 0..3600 {
            tokio::time::advance(SECOND).await;
            if allowance.is_over() {
                return second;
            }
            allowance = allowance.moved(bytes, fresh());
        }
        3600
    }

    #[tokio::test(start_paused = true)]
    async fn who_moves_little_is_given_up_and_a_slow_link_is_not() {
        // A link of 20 KB/s that eight transfers share.
        assert_eq!(lasts(2500).await, 3600);
        assert_eq!(lasts(0).await, 307);
        // Half of what is demanded: twice as long.
        assert!((600..640).contains(&lasts(1024).await));
        // In one go, for once, is as good.
        let half_an_hour = fresh().moved(1800 * 2048, fresh());
        assert_eq!(half_an_hour.end(), fresh().end(), "nothing is saved up");
        tokio::time::advance(300 * SECOND).await;
        let late = half_an_hour.moved(290 * 2048, fresh());
        assert!(late.end() > fresh().end() - 15 * SECOND && late.end() <= fresh().end());
    }
}
