//! Lines and bytes from anything that can be read or written.
//!
//! A [`LineFile`] reads ahead into one buffer and takes lines or pieces out of it. Whatever a read
//! that was dropped has taken from the stream is in that buffer, so every read is cancel safe. It
//! does not buffer what is written.

use std::io;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest line, in bytes, that is read unless another limit is given: 1 MiB.
pub const DEFAULT_LINE_LIMIT: usize = 1024 * 1024;

/// How much is read at once, at least.
const READ_AHEAD: usize = 8 * 1024;

/// Reads lines or bytes from, and writes them to, anything asynchronous: a socket, a process's
/// pipe, a [`tokio::fs::File`], or on unix any file descriptor (`from_fd`).
///
/// A line ends with `\n` or `\r\n`, neither of which is part of it; what follows the last one is a
/// line too, unless empty. Do not read from the stream underneath while the `LineFile` is in use:
/// it has read ahead. With a regular file the same holds for writing, as both share one position:
/// open it twice to read and write.
///
/// # Examples
///
/// ```
/// use coros_core::io::LineFile;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (near, far) = tokio::io::duplex(1024);
/// let (mut near, mut far) = (LineFile::new(near), LineFile::new(far));
/// near.write_line("one").await?;
/// near.write_all(b"two\r\nthree").await?;
/// drop(near);
/// assert_eq!(far.read_line().await?.as_deref(), Some("one"));
/// assert_eq!(far.read_line().await?.as_deref(), Some("two"));
/// assert_eq!(far.read_line().await?.as_deref(), Some("three"));
/// assert_eq!(far.read_line().await?, None);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct LineFile<S> {
    stream: S,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no `\n`.
    searched: usize,
    limit: usize,
}

impl<S> LineFile<S> {
    /// Lines of at most [`DEFAULT_LINE_LIMIT`] bytes.
    pub fn new(stream: S) -> Self {
        Self::with_limit(stream, DEFAULT_LINE_LIMIT)
    }

    /// Lines of at most `limit` bytes, the line end not counted.
    pub fn with_limit(stream: S, limit: usize) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            searched: 0,
            limit,
        }
    }

    /// The stream underneath.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream underneath, for example to set options or to write without flushing.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream underneath, and what was read from it but not yet taken.
    pub fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.buffer.freeze())
    }

    /// Takes the first `line` bytes and the `end` bytes after them out of the buffer.
    fn take_line(&mut self, line: usize, end: usize) -> Bytes {
        let mut taken = self.buffer.split_to(line + end);
        self.searched = 0;
        taken.truncate(line);
        if end > 0 && taken.last() == Some(&b'\r') {
            taken.truncate(line - 1);
        }
        taken.freeze()
    }

    /// A complete line of the buffer, if there is one within the limit.
    fn buffered_line(&mut self) -> Result<Option<Bytes>, ReadLineError> {
        let line = match memchr::memchr(b'\n', &self.buffer[self.searched..]) {
            Some(at) => self.searched + at,
            None => {
                self.searched = self.buffer.len();
                // One byte more than the limit may be the `\r` of a line end still to come.
                return if self.buffer.len() > self.limit.saturating_add(1) {
                    Err(ReadLineError::TooLong { limit: self.limit })
                } else {
                    Ok(None)
                };
            }
        };
        let carriage_return = usize::from(self.buffer[..line].ends_with(b"\r"));
        if line - carriage_return > self.limit {
            self.searched = line;
            return Err(ReadLineError::TooLong { limit: self.limit });
        }
        Ok(Some(self.take_line(line, 1)))
    }
}

impl<S: AsyncRead + Unpin> LineFile<S> {
    /// Reads the next line as text; `None` at the end of the stream.
    ///
    /// # Errors
    ///
    /// - [`ReadLineError::TooLong`] if the line exceeds the limit. Nothing is lost: take the bytes
    ///   with [`read`](Self::read). Until then every `read_line` says the same.
    /// - [`ReadLineError::NotUtf8`], with the line's bytes. The next call reads the next line.
    /// - [`ReadLineError::Io`] if the stream fails.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a partial line stays buffered for the next read.
    pub async fn read_line(&mut self) -> Result<Option<String>, ReadLineError> {
        let Some(line) = self.read_line_bytes().await? else {
            return Ok(None);
        };
        match str::from_utf8(&line) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(ReadLineError::NotUtf8 { line }),
        }
    }

    /// Reads the next line, whatever bytes it has; `None` at the end of the stream.
    ///
    /// # Errors
    ///
    /// As [`read_line`](Self::read_line), except `NotUtf8`.
    ///
    /// # Cancel safety
    ///
    /// As [`read_line`](Self::read_line).
    pub async fn read_line_bytes(&mut self) -> Result<Option<Bytes>, ReadLineError> {
        loop {
            if let Some(line) = self.buffered_line()? {
                return Ok(Some(line));
            }
            if self.fill().await.map_err(ReadLineError::Io)? == 0 {
                let rest = self.buffer.len();
                if rest > self.limit {
                    return Err(ReadLineError::TooLong { limit: self.limit });
                }
                return Ok((rest > 0).then(|| self.take_line(rest, 0)));
            }
        }
    }

    /// The lines as a stream, for `while let Some(line) = lines.next().await`.
    ///
    /// Ends after the last line, or after the first error. Dropping it loses nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use coros_core::io::LineFile;
    /// use futures_util::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let lines: Vec<String> = LineFile::new(&b"a\nb\n"[..]).lines().try_collect().await?;
    /// assert_eq!(lines, ["a", "b"]);
    /// # Ok(()) }
    /// ```
    pub fn lines(&mut self) -> impl Stream<Item = Result<String, ReadLineError>> + Unpin + '_
    where
        S: Send,
    {
        Box::pin(stream::unfold(Some(self), |file| async {
            let file = file?;
            match file.read_line().await {
                Ok(line) => line.map(|line| (Ok(line), Some(file))),
                Err(why) => Some((Err(why), None)),
            }
        }))
    }

    /// Reads up to `max` bytes: what there is, at least one byte; empty at the end of the stream
    /// (or if `max` is 0).
    ///
    /// # Errors
    ///
    /// If the stream fails.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn read(&mut self, max: usize) -> io::Result<Bytes> {
        if self.buffer.is_empty() && max > 0 {
            self.fill().await?;
        }
        let taken = self.buffer.split_to(max.min(self.buffer.len()));
        self.searched = self.searched.saturating_sub(taken.len());
        Ok(taken.freeze())
    }

    /// Reads everything up to the end of the stream.
    ///
    /// Takes as much memory as there comes: for streams that one trusts to end.
    ///
    /// # Errors
    ///
    /// If the stream fails; what came before stays buffered.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was read stays buffered.
    pub async fn read_all(&mut self) -> io::Result<Bytes> {
        while self.fill().await? > 0 {}
        self.searched = 0;
        Ok(self.buffer.split().freeze())
    }

    /// Reads once; how many bytes came, 0 at the end of the stream.
    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ_AHEAD);
        self.stream.read_buf(&mut self.buffer).await
    }
}

impl<S: AsyncWrite + Unpin> LineFile<S> {
    /// Writes all of `bytes` and flushes the stream.
    ///
    /// # Errors
    ///
    /// If the stream fails. How much was written is unknown then.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a part may have been written.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Writes `line` and `\n`, in one write where the system takes it, and flushes the stream.
    ///
    /// # Errors
    ///
    /// As [`write_all`](Self::write_all).
    ///
    /// # Cancel safety
    ///
    /// As [`write_all`](Self::write_all).
    pub async fn write_line(&mut self, line: impl AsRef<[u8]>) -> io::Result<()> {
        let bytes = [line.as_ref(), b"\n"].concat();
        self.write_all(&bytes).await
    }

    /// Flushes what was written through [`get_mut`](Self::get_mut).
    ///
    /// # Errors
    ///
    /// If the stream fails.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().await
    }

    /// Flushes and ends the writing direction, where the stream knows one: the peer of a socket
    /// then reads its end.
    ///
    /// # Errors
    ///
    /// If the stream fails.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

#[cfg(unix)]
impl LineFile<super::Descriptor> {
    /// Lines from any file descriptor: pipe, socket, terminal, device, regular file.
    ///
    /// See [`Descriptor`](super::Descriptor) for how each is read without blocking.
    ///
    /// # Errors
    ///
    /// If the descriptor cannot be examined or set up.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with io enabled.
    ///
    /// # Examples
    ///
    /// ```
    /// use coros_core::io::LineFile;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (reader, writer) = std::io::pipe()?;
    /// let mut reader = LineFile::from_fd(reader.into())?;
    /// let mut writer = LineFile::from_fd(writer.into())?;
    /// writer.write_line("through a pipe").await?;
    /// assert_eq!(reader.read_line().await?.as_deref(), Some("through a pipe"));
    /// # Ok(()) }
    /// ```
    pub fn from_fd(fd: std::os::fd::OwnedFd) -> io::Result<Self> {
        Ok(Self::new(super::Descriptor::new(fd)?))
    }
}

/// Why no line was read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadLineError {
    /// The line exceeds the limit. Its bytes are still there for [`read`](LineFile::read).
    #[error("the line is longer than the limit of {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The line is not UTF-8. It is consumed.
    #[error("the line is not UTF-8: `{}`", line.escape_ascii())]
    NotUtf8 {
        /// The line.
        line: Bytes,
    },
    /// The stream failed.
    #[error("cannot read a line: {0}")]
    Io(io::Error),
}
