//! Reading more from a transport at a time than TLS asks for.
//!
//! rustls takes 4 KiB in a read, a quarter of a TLS record. On a stream of many records most of
//! its time goes into the system calls for that. Between the two this takes whatever is there, up
//! to a buffer's size, in one read. Until it is switched on it has no buffer and passes on reads
//! as they are: most links of a node have little to read at a time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::BoxStream;

/// What TLS runs on.
pub(crate) type Carried = ReadAhead<BoxStream>;

/// A stream that may be read ahead.
#[derive(Debug)]
pub(crate) struct ReadAhead<S> {
    io: S,
    buffer: Box<[u8]>,
    /// What of the buffer has been read and not yet taken.
    start: usize,
    end: usize,
}

impl<S> ReadAhead<S> {
    pub(crate) fn new(io: S) -> Self {
        ReadAhead {
            io,
            buffer: Box::default(),
            start: 0,
            end: 0,
        }
    }

    /// Reads at most so many bytes ahead from now on.
    pub(crate) fn read_ahead(&mut self, most: usize) {
        debug_assert!(self.start == self.end, "it is switched on once");
        self.buffer = vec![0; most].into();
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
                return Pin::new(&mut this.io).poll_read(cx, to);
            }
            let mut ahead = ReadBuf::new(&mut this.buffer);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut ahead))?;
            (this.start, this.end) = (0, ahead.filled().len());
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
        let sent: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let mut io = stream_of(&sent);
        let mut got = vec![0; 100];
        io.read_exact(&mut got).await.unwrap();
        io.read_ahead(1000);
        // Less than there is, as much, more, and without the buffer.
        for length in [1, 30, 999, 1000, 1001, 3000] {
            let at = got.len();
            got.resize(at + length, 0);
            io.read_exact(&mut got[at..]).await.unwrap();
        }
        io.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, sent);
    }

    fn stream_of(bytes: &[u8]) -> ReadAhead<tokio::io::DuplexStream> {
        let (here, mut there) = tokio::io::duplex(700);
        let bytes = bytes.to_vec();
        tokio::spawn(async move { there.write_all(&bytes).await });
        ReadAhead::new(here)
    }
}
