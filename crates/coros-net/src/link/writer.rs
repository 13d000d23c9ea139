//! The writer of a link: writes at once whatever has come up since its last write, and is woken only
//! when it is idle.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::outbox::Batch;
use crate::peer::{Next, Peer};
use crate::read_ahead::Carried;
use crate::rendezvous::Ticket;

/// After so many writes of a single message in a row there is no crowd of senders.
const CROWD: u32 = 16;
/// Up to so much is written at once, though it is in pieces: as much as a record of TLS takes.
const JOIN: usize = 16 << 10;
/// Of which an idle link keeps as much.
const KEEP: usize = 1 << 10;

pub(super) struct Writer {
    peer: Arc<Peer>,
    ticket: Ticket,
    io: WriteHalf<TlsStream<Carried>>,
    token: CancellationToken,
    joined: Vec<u8>,
}

impl Writer {
    pub(super) fn new(
        peer: Arc<Peer>,
        ticket: Ticket,
        io: WriteHalf<TlsStream<Carried>>,
        token: CancellationToken,
    ) -> Self {
        Writer {
            peer,
            ticket,
            io,
            token,
            joined: Vec::new(),
        }
    }

    /// Until the last frame is written, or the link ends otherwise.
    pub(super) async fn run(mut self, greeting: Vec<u8>) -> io::Result<()> {
        let token = self.token.clone();
        tokio::select! {
            biased;
            () = token.cancelled() => Ok(()),
            written = self.write(greeting) => written,
        }
    }

    async fn write(&mut self, greeting: Vec<u8>) -> io::Result<()> {
        self.io.write_all(&greeting).await?;
        self.io.flush().await?;
        drop(greeting);
        let mut batch = Batch::default();
        let mut between = Batch::default();
        let mut crowd: u32 = 0;
        loop {
            match self.peer.next(self.ticket, &mut batch) {
                Next::Write => {
                    crowd = match batch.has_several() {
                        true => CROWD,
                        false => crowd.saturating_sub(1),
                    };
                    self.batch(&mut batch, &mut between).await?;
                }
                Next::WriteLast => {
                    self.batch(&mut batch, &mut between).await?;
                    return self.io.shutdown().await;
                }
                Next::Stop => return Ok(()),
                Next::Wait => {
                    // An idle link keeps little.
                    self.joined.shrink_to(KEEP);
                    self.peer.woken().await;
                    // If several sent of late, several will: they go first, and what they send is
                    // one write. A single one is not made to wait for that.
                    if crowd > 0 {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }

    async fn batch(&mut self, batch: &mut Batch, between: &mut Batch) -> io::Result<()> {
        self.join(batch.control()).await?;
        let mut messages = batch.first_messages();
        while let Some(piece) = messages {
            self.piece(piece).await?;
            messages = batch.next_messages();
            if messages.is_some() {
                if !self.peer.next_control(self.ticket, between) {
                    return Ok(());
                }
                self.join(between.control()).await?;
            }
        }
        self.join(batch.last()).await?;
        self.write_joined().await?;
        self.io.flush().await
    }

    /// Writes small pieces together with what follows: each write of its own costs a record and a
    /// system call.
    async fn join(&mut self, pieces: impl Iterator<Item = &[u8]>) -> io::Result<()> {
        for piece in pieces {
            self.piece(piece).await?;
        }
        Ok(())
    }

    async fn piece(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.joined.len() + piece.len() <= JOIN {
            self.joined.extend_from_slice(piece);
            return Ok(());
        }
        self.write_joined().await?;
        if piece.len() <= JOIN {
            self.joined.extend_from_slice(piece);
            return Ok(());
        }
        self.io.write_all(piece).await
    }

    async fn write_joined(&mut self) -> io::Result<()> {
        if !self.joined.is_empty() {
            self.io.write_all(&self.joined).await?;
            self.joined.clear();
        }
        Ok(())
    }
}
