//! Any file descriptor as an asynchronous stream.
//!
//! There are two ways to use a descriptor without blocking the runtime's threads:
//!
//! - *By readiness*: set `O_NONBLOCK` and let the runtime's epoll or kqueue tell when a read or
//!   write would succeed. For pipes, sockets, terminals, most devices.
//! - *On the blocking pool*: each read or write is a blocking call on another thread. For what
//!   epoll refuses (regular files, `/dev/null`), and for what must not become non-blocking.
//!
//! `O_NONBLOCK` belongs to the *open file description*, which is shared by every duplicate of the
//! descriptor and every process that inherited it. Setting it on the standard input of a shell
//! makes the shell's own reads fail. So a descriptor that refers to the same file as one of our
//! standard streams is left alone and goes to the blocking pool.

use std::fs::File as StdFile;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{FileStat, SFlag, fstat};
use tokio::fs::File;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A file descriptor of whatever kind, read and written without blocking.
///
/// Reading and writing may go on at the same time, for example with [`tokio::io::split`], also
/// where that takes the blocking pool. Dropping it closes the descriptor, except that a blocking
/// read that is under way (waiting for a key on a terminal) keeps its thread until it returns,
/// and keeps the runtime from shutting down, as tokio's own
/// [`Stdin`](https://docs.rs/tokio/latest/tokio/io/struct.Stdin.html) does.
///
/// # Examples
///
/// ```
/// use std::os::fd::OwnedFd;
///
/// use coros_core::io::Descriptor;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// let (near, far) = std::os::unix::net::UnixStream::pair()?;
/// let mut near = Descriptor::new(OwnedFd::from(near))?;
/// let mut far = Descriptor::new(OwnedFd::from(far))?;
/// near.write_all(b"ping").await?;
/// near.shutdown().await?;
/// let mut received = String::new();
/// far.read_to_string(&mut received).await?;
/// assert_eq!(received, "ping");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Descriptor {
    way: Way,
    is_socket: bool,
}

#[derive(Debug)]
enum Way {
    Ready(AsyncFd<OwnedFd>),
    /// Two duplicates, since a `tokio::fs::File` does one thing at a time.
    Pool {
        reader: File,
        writer: File,
    },
}

impl Descriptor {
    /// Uses `fd` in the way that suits its kind.
    ///
    /// By readiness if it is a pipe, socket, terminal or such a device, and non-blocking already
    /// or not shared with the standard streams: it is set to `O_NONBLOCK`, and so are its
    /// duplicates, also those in other processes, and it stays so. Otherwise on the blocking pool.
    ///
    /// # Errors
    ///
    /// If the descriptor cannot be examined or set up.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with io enabled.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let stat = fstat(&fd)?;
        let never_ready = matches!(
            kind(&stat),
            SFlag::S_IFREG | SFlag::S_IFDIR | SFlag::S_IFBLK
        );
        let flags = flags(fd.as_fd())?;
        let nonblocking = flags.contains(OFlag::O_NONBLOCK);
        if never_ready || (!nonblocking && is_standard_stream(&stat)) {
            return Self::on_pool(fd, &stat);
        }
        if !nonblocking {
            fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        }
        #[expect(
            deprecated,
            reason = "its replacement is unsafe, for types whose descriptor may change or close; \
                      an OwnedFd's cannot while the AsyncFd owns it"
        )]
        let registered = AsyncFd::try_new(fd);
        match registered {
            Ok(fd) => Ok(Self {
                way: Way::Ready(fd),
                is_socket: is_socket(&stat),
            }),
            Err(refused) => {
                // A device that has no readiness: epoll says EPERM, kqueue EINVAL.
                let (fd, why) = refused.into_parts();
                if !matches!(
                    why.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
                ) {
                    return Err(why);
                }
                fcntl(&fd, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
                Self::on_pool(fd, &stat)
            }
        }
    }

    /// Uses `fd` on the blocking pool, whatever its kind, and leaves its flags alone.
    ///
    /// For a descriptor whose file description other processes share. It must not be
    /// non-blocking: its reads would fail with [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    ///
    /// If the descriptor cannot be examined or duplicated.
    pub fn blocking(fd: OwnedFd) -> io::Result<Self> {
        let stat = fstat(&fd)?;
        Self::on_pool(fd, &stat)
    }

    fn on_pool(fd: OwnedFd, stat: &FileStat) -> io::Result<Self> {
        let writer = StdFile::from(fd.try_clone()?);
        let reader = StdFile::from(fd);
        let way = Way::Pool {
            reader: File::from_std(reader),
            writer: File::from_std(writer),
        };
        Ok(Self {
            way,
            is_socket: is_socket(stat),
        })
    }

    /// Whether reads and writes go by readiness, rather than on the blocking pool.
    #[must_use]
    pub fn is_ready_driven(&self) -> bool {
        matches!(self.way, Way::Ready(_))
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Ready(fd) => fd.get_ref().as_fd(),
            Way::Pool { reader, .. } => reader.as_fd(),
        }
    }
}

impl AsyncRead for Descriptor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let fd = match &mut self.way {
            Way::Ready(fd) => fd,
            Way::Pool { reader, .. } => return Pin::new(reader).poll_read(cx, buf),
        };
        loop {
            let mut readiness = ready!(fd.poll_read_ready(cx))?;
            let unfilled = buf.initialize_unfilled();
            match readiness.try_io(|fd| Ok(nix::unistd::read(fd, unfilled)?)) {
                Ok(Ok(n)) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(why)) if why.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(why)) => return Poll::Ready(Err(why)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Descriptor {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let fd = match &mut self.way {
            Way::Ready(fd) => fd,
            Way::Pool { writer, .. } => return Pin::new(writer).poll_write(cx, bytes),
        };
        loop {
            let mut readiness = ready!(fd.poll_write_ready(cx))?;
            match readiness.try_io(|fd| Ok(nix::unistd::write(fd, bytes)?)) {
                Ok(Err(why)) if why.kind() == io::ErrorKind::Interrupted => {}
                Ok(written) => return Poll::Ready(written),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Ready(_) => Poll::Ready(Ok(())),
            Way::Pool { writer, .. } => Pin::new(writer).poll_flush(cx),
        }
    }

    /// Flushes, and ends the writing direction of a socket. Other kinds know no such end: drop
    /// them.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        if self.is_socket {
            let fd = self.as_fd().as_raw_fd();
            nix::sys::socket::shutdown(fd, nix::sys::socket::Shutdown::Write)?;
        }
        Poll::Ready(Ok(()))
    }
}

fn flags(fd: BorrowedFd<'_>) -> io::Result<OFlag> {
    Ok(OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?))
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

fn is_socket(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFSOCK
}

/// Whether one of our standard streams is the same file. It may be another file description of
/// it all the same, which cannot be told portably; then the blocking pool is used without need.
fn is_standard_stream(stat: &FileStat) -> bool {
    let same = |fd: BorrowedFd<'_>| {
        fstat(fd).is_ok_and(|other| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino))
    };
    same(io::stdin().as_fd()) || same(io::stdout().as_fd()) || same(io::stderr().as_fd())
}
