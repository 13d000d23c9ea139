//! What a process and its guard say to each other: to the guard bytes that are [`Order`]s, of which [`RUN`] is
//! followed by a [`Program`] with its length, and brings along three files; from it a byte and a number.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;

use rustix::cmsg_space;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::Program;
use crate::protocol::{read_frame, to_frame};

/// What a guard is to do.
#[derive(Debug)]
pub(super) enum Order {
    Run(Program, Files),
    /// Kill it and all that it has started, as far as they run.
    Kill,
    /// Likewise, until nothing is left.
    End,
}

const RUN: u8 = b'r';
pub(super) const KILL: u8 = b'k';
pub(super) const END: u8 = b'e';

/// Standard input, output and error of a program.
pub(super) type Files = [OwnedFd; 3];

/// What a guard says.
#[derive(Debug)]
pub(super) enum Reply {
    /// The number of the process.
    Began(u32),
    Failed(io::Error),
    /// The status, as the system has it.
    Ended(i32),
    /// Nothing is left.
    Gone,
}

const BEGAN: u8 = b'b';
const FAILED: u8 = b'f';
const ENDED: u8 = b'd';
const GONE: u8 = b'g';
/// How many bytes a reply has.
const REPLY: usize = 5;

/// Has a guard run a program. Not cancel safe: the guard is of no use then.
pub(super) async fn send(
    socket: &UnixStream,
    program: &Program,
    files: [&OwnedFd; 3],
) -> io::Result<()> {
    let mut bytes = vec![RUN];
    bytes.extend(to_frame(program).map_err(io::Error::other)?);
    let files = files.map(OwnedFd::as_fd);
    // They come with the first byte.
    let sent = socket.async_io(Interest::WRITABLE, || {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(3))];
        let mut along = SendAncillaryBuffer::new(&mut space);
        along.push(SendAncillaryMessage::ScmRights(&files));
        let bytes = [IoSlice::new(&bytes)];
        Ok(sendmsg(socket, &bytes, &mut along, SendFlags::empty())?)
    });
    let mut sent = sent.await?;
    while sent < bytes.len() {
        socket.writable().await?;
        match socket.try_write(&bytes[sent..]) {
            Ok(n) => sent += n,
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

/// What a guard is to do next; `None` when nobody is there any more who could say.
pub(super) fn receive(mut socket: &StdStream) -> io::Result<Option<Order>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(3))];
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let mut first = [0];
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut first)],
        &mut along,
        RecvFlags::empty(),
    )?;
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    match first {
        _ if received.bytes == 0 => return Ok(None),
        [RUN] => {}
        [KILL] => return Ok(Some(Order::Kill)),
        [END] => return Ok(Some(Order::End)),
        _ => return Err(invalid()),
    }
    let mut files = Vec::new();
    for message in along.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            files.extend(received);
        }
    }
    // Not for what is started with others in their place.
    for file in &files {
        fcntl_setfd(file, FdFlags::CLOEXEC)?;
    }
    let files = Files::try_from(files).map_err(|_| invalid())?;
    Ok(Some(Order::Run(read_frame(&mut socket)?, files)))
}

/// Says all that at once.
pub(super) fn reply(mut to: &StdStream, replies: &[Reply]) -> io::Result<()> {
    let bytes: Vec<u8> = replies.iter().flat_map(Reply::to_bytes).collect();
    to.write_all(&bytes)
}

impl Reply {
    fn to_bytes(&self) -> [u8; REPLY] {
        let (what, number) = match self {
            Reply::Began(pid) => (BEGAN, pid.cast_signed()),
            Reply::Failed(why) => (FAILED, why.raw_os_error().unwrap_or(0)),
            Reply::Ended(status) => (ENDED, *status),
            Reply::Gone => (GONE, 0),
        };
        let [a, b, c, d] = number.to_le_bytes();
        [what, a, b, c, d]
    }

    fn from_bytes(reply: [u8; REPLY]) -> io::Result<Self> {
        let [what, number @ ..] = reply;
        let number = i32::from_le_bytes(number);
        Ok(match what {
            BEGAN => Reply::Began(number.cast_unsigned()),
            // What the system never saw, as a name with a zero in it.
            FAILED if number == 0 => Reply::Failed(io::ErrorKind::InvalidInput.into()),
            FAILED => Reply::Failed(io::Error::from_raw_os_error(number)),
            ENDED => Reply::Ended(number),
            GONE => Reply::Gone,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

/// Reads what a guard says.
#[derive(Debug, Default)]
pub(super) struct Replies {
    bytes: [u8; REPLY],
    filled: usize,
}

impl Replies {
    /// Cancel safe.
    pub(super) async fn next(&mut self, socket: &UnixStream) -> io::Result<Reply> {
        loop {
            let into = &mut self.bytes[self.filled..];
            let read = socket.async_io(Interest::READABLE, || {
                Ok(rustix::io::read(socket, &mut *into)?)
            });
            let read = read.await?;
            if let Some(reply) = self.have(read)? {
                return Ok(reply);
            }
        }
    }

    /// What has come already.
    pub(super) fn now(&mut self, socket: &UnixStream) -> io::Result<Option<Reply>> {
        match rustix::io::read(socket, &mut self.bytes[self.filled..]) {
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            read => self.have(read?),
        }
    }

    fn have(&mut self, more: usize) -> io::Result<Option<Reply>> {
        if more == 0 {
            let why = "what was to start it and to see to its end has been killed";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        self.filled += more;
        if self.filled < REPLY {
            return Ok(None);
        }
        self.filled = 0;
        Reply::from_bytes(self.bytes).map(Some)
    }
}
