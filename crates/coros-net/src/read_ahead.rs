//! Reading more from a transport at a time than TLS asks for.
//!
//! rustls takes 4 KiB in a read, a quarter of a TLS record. On a stream of many records most of
//! its time goes into the system calls for that. Between the two this takes whatever is there, up
//! to a buffer's size, in one read, as soon as some reads in a row have got all they asked for; and
//! gives the buffer back when there is little to read, as on most links of a node.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::BoxStream;

/// At most so many bytes are read ahead.
const AHEAD: usize = 256 << 10;
/// After so many reads in a row that got all they asked for.
const FULL_READS: u32 = 4;
/// No longer after so many reads in a row that needed no more than rustls takes.
const SMALL_READS: u32 = 64;
const SMALL: usize = 4 << 10;

/// What TLS runs on.
pub(crate) type Carried = ReadAhead<BoxStream>;

/// A stream that is read ahead while there is much to read.
#[derive(Debug)]
pub(crate) struct ReadAhead<S> {
    io: S,
    /// Empty while nothing is read ahead.
    buffer: Box<[u8]>,
    /// What of the buffer has been read and not yet taken.
    start: usize,
    end: usize,
    /// How many reads in a row speak for a change.
    reads: u32,
}

impl<S> ReadAhead<S> {
    pub(crate) fn new(io: S) -> Self {
        ReadAhead {
            io,
            buffer: Box::default(),
            start: 0,
            end: 0,
            reads: 0,
        }
    }

    /// A read speaks for a change, or against it; true when enough do.
    fn turns(&mut self, speaks: bool, enough: u32) -> bool {
        self.reads = if speaks { self.reads + 1 } else { 0 };
        let turns = self.reads >= enough;
        if turns {
            self.reads = 0;
        }
        turns
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.start == this.end {
            if to.remaining() >= this.buffer.len() {
                ready!(Pin::new(&mut this.io).poll_read(cx, to))?;
                let full = to.remaining() == 0;
                if this.buffer.is_empty() && this.turns(full, FULL_READS) {
                    this.buffer = vec![0; AHEAD].into();
                }
                return Poll::Ready(Ok(()));
            }
            let mut ahead = ReadBuf::new(&mut this.buffer);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut ahead))?;
            (this.start, this.end) = (0, ahead.filled().len());
            let small = this.end <= SMALL;
            if this.turns(small, SMALL_READS) {
                let read = &this.buffer[..this.end];
                if read.len() <= to.remaining() {
                    to.put_slice(read);
                    (this.start, this.end) = (0, 0);
                    this.buffer = Box::default();
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let length = to.remaining().min(this.end - this.start);
        to.put_slice(&this.buffer[this.start..this.start + length]);
        this.start += length;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_come_in_order_however_they_are_read() {
        let sent: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
        let mut io = stream_of(&sent, 100_000);
        let mut got = Vec::new();
        // Less than there is, as much, more, and past the buffer.
        for length in (0..).map(|n| [1, 30, 4096, AHEAD, 5000, 3 * AHEAD][n % 6]) {
            let at = got.len();
            let length = length.min(sent.len() - at);
            if length == 0 {
                break;
            }
            got.resize(at + length, 0);
            io.read_exact(&mut got[at..]).await.unwrap();
        }
        io.read_to_end(&mut got).await.unwrap();
        assert!(got == sent);
    }

    #[tokio::test]
    async fn there_is_a_buffer_only_while_there_is_much_to_read() {
        let (here, mut there) = tokio::io::duplex(1 << 20);
        let mut io = ReadAhead::new(here);
        let mut to = [0; SMALL];
        there.write_all(&[7; 100 * SMALL]).await.unwrap();
        for _ in 0..FULL_READS {
            assert!(io.buffer.is_empty());
            io.read_exact(&mut to).await.unwrap();
        }
        assert_eq!(io.buffer.len(), AHEAD);
        for _ in FULL_READS..100 {
            io.read_exact(&mut to).await.unwrap();
        }
        for _ in 0..SMALL_READS {
            assert_eq!(io.buffer.len(), AHEAD);
            there.write_all(&[7; 30]).await.unwrap();
            io.read_exact(&mut to[..30]).await.unwrap();
        }
        assert!(io.buffer.is_empty());
    }

    fn stream_of(bytes: &[u8], at_once: usize) -> ReadAhead<tokio::io::DuplexStream> {
        let (here, mut there) = tokio::io::duplex(at_once);
        let bytes = bytes.to_vec();
        tokio::spawn(async move { there.write_all(&bytes).await });
        ReadAhead::new(here)
    }
}
