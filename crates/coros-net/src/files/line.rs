//! A connection for files: frames both ways, and nobody waits longer than a silence may last.

use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_rustls::TlsStream;

use super::Stream;
use super::refusal::Refusal;
use super::wire::{self, HEADER, Heard, MAX_PIECE, Say};
use crate::session::Timing;

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

pub(super) struct Line {
    write: WriteHalf<Stream>,
    read: Reader,
    timing: Timing,
}

impl Line {
    pub(super) fn new(mut stream: Stream, timing: Timing) -> Self {
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
            Ok(Err(error)) => Err(Lost(error.to_string())),
            Err(_) => Err(silent(self.timing.silence)),
        }
    }

    /// What is said next, other than that the other side is working.
    pub(super) async fn hear(&mut self) -> Result<Heard, Lost> {
        loop {
            match self.read.frame(self.timing.silence).await? {
                Some(Heard::Say(Say::Working)) => {}
                Some(heard) => return Ok(heard),
                None => return Err(closed()),
            }
        }
    }

    /// Takes a piece's memory back, for the next one.
    pub(super) fn reuse(&mut self, piece: Vec<u8>) {
        if self.read.got == 0 {
            self.read.payload = piece;
        }
    }

    /// What is asked next; none if the other side has closed or asks nothing for so long.
    pub(super) async fn asked(&mut self, idle: Duration) -> Result<Option<Heard>, Lost> {
        self.read.patient(idle).await
    }

    /// Whether an idle connection can still be used.
    pub(super) async fn is_alive(&mut self) -> bool {
        tokio::select! {
            biased;
            // Nothing is said to who has asked nothing.
            _ = self.read.frame(self.timing.silence) => false,
            () = std::future::ready(()) => true,
        }
    }

    /// Tells the other side of this one's being at work until `future` is done.
    pub(super) async fn working<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Lost> {
        let mut future = pin!(future);
        let heartbeat = self.timing.heartbeat;
        let mut ticks = interval_at(Instant::now() + heartbeat, heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut future => return Ok(done),
                _ = ticks.tick() => self.say(&Say::Working).await?,
            }
        }
    }

    /// Sends a piece, which is a whole frame; hears meanwhile if it is not wanted.
    pub(super) async fn piece(&mut self, frame: &[u8]) -> Result<(), Stopped> {
        let silence = self.timing.silence;
        let mut rest = frame;
        let mut deadline = Instant::now() + silence;
        while !rest.is_empty() {
            tokio::select! {
                written = self.write.write(rest) => match written {
                    Ok(0) => return Err(closed().into()),
                    Ok(written) => rest = &rest[written..],
                    // It may have said why before it closed.
                    Err(error) => {
                        let why = timeout(silence, self.read.refusal()).await;
                        return Err(match why {
                            Ok(Some(refusal)) => Stopped::Refused(refusal),
                            _ => Lost(error.to_string()).into(),
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
    pub(super) async fn part(mut self) {
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
                Ok(Err(error)) => return Err(Lost(error.to_string())),
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
