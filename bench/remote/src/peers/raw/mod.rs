//! The limits: what one connection can do that carries messages to mailboxes and nothing else.
//!
//! tokio's TCP, or mutual TLS 1.3 by tokio-rustls with ring on top of it. Senders append frames to
//! one buffer that the writer takes whole, so many go out in one write; the reader takes many in
//! one read and hands them to a thousand tasks, each behind an unbounded channel of tokio's. No
//! codec but the length of the body, no names, no heartbeat, no end of anything.
//!
//! ```text
//!   0        4         8              16
//!   +--------+---------+--------------+--------------+---------+
//!   | length | mailbox | question, or | the message's| body    |
//!   | u32    | u32     | 0    u64     | number u64   |         |
//!   +--------+---------+--------------+--------------+---------+
//! ```

mod file;
mod security;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::server::Setting;
use crate::tally::Tally;
use crate::workloads::{Msg, Peer};
use security::Security;

pub(crate) use security::{Identity, Plain, Tls, identities};

const HEADER: usize = 16;
const NUMBER: usize = 8;
/// Beyond this senders wait until the writer has taken what there is.
const ROOM: usize = 1 << 20;
/// The largest read.
const READ: usize = 256 << 10;

/// The sending process.
pub(crate) struct Raw<S> {
    contact: Contact,
    link: Arc<Link>,
    others: Vec<Arc<Link>>,
    lost: CancellationToken,
    security: PhantomData<fn() -> S>,
}

#[derive(Serialize, Deserialize)]
struct Contact {
    listening: Vec<SocketAddr>,
    identity: Identity,
}

impl<S: Security> Peer for Raw<S> {
    type Served = ();

    async fn serve(setting: Setting<'_>, tally: &'static Tally) -> Result<((), String)> {
        let mailboxes: Arc<[_]> = tally
            .counters()
            .map(|counter| {
                let (sender, mut mailbox) = mpsc::unbounded_channel::<Delivery>();
                tokio::spawn(async move {
                    while let Some(delivery) = mailbox.recv().await {
                        match delivery.question {
                            None => counter.add(delivery.message.n),
                            Some((id, link)) => link.push(0, id, delivery.message.n, &[]),
                        }
                    }
                });
                sender
            })
            .collect();
        let (own, theirs) = S::identities()?;
        let own = Arc::new(own);
        let mut listening = Vec::new();
        for _ in 0..setting.nodes {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            listening.push(listener.local_addr()?);
            let (mailboxes, inbox) = (Arc::clone(&mailboxes), setting.folder.to_owned());
            tokio::spawn(accept::<S>(listener, Arc::clone(&own), mailboxes, inbox));
        }
        let contact = Contact {
            listening,
            identity: theirs,
        };
        Ok(((), serde_json::to_string(&contact)?))
    }

    async fn connect(contact: &str) -> Result<Self> {
        let contact: Contact = serde_json::from_str(contact)?;
        let (link, lost) = link::<S>(&contact, 0).await?;
        Ok(Raw {
            contact,
            link,
            others: Vec::new(),
            lost,
            security: PhantomData,
        })
    }

    async fn send(&self, mailbox: usize, message: Msg) -> Result<()> {
        self.link.room().await;
        self.link.push(mailbox as u32, 0, message.n, &message.body);
        Ok(())
    }

    async fn ask(&self, mailbox: usize, n: u64) -> Result<u64> {
        let (sender, answer) = oneshot::channel();
        let id = self.link.ask(sender);
        self.link.push(mailbox as u32, id, n, &[]);
        Ok(answer.await?)
    }

    async fn file(&self, path: &Path) -> Result<()> {
        file::send(dial::<S>(&self.contact, 0, Purpose::File).await?, path).await
    }

    async fn connect_all(&mut self) -> Result<()> {
        for node in 1..self.contact.listening.len() {
            let (link, _) = link::<S>(&self.contact, node).await?;
            self.others.push(link);
        }
        Ok(())
    }

    async fn lost(&mut self) {
        self.lost.cancelled().await;
    }
}

/// What a mailbox gets.
struct Delivery {
    message: Msg,
    question: Option<(u64, Arc<Link>)>,
}

/// The writer's side of a connection, and the questions that wait for answers.
#[derive(Default)]
struct Link {
    frames: Mutex<Vec<u8>>,
    /// Wakes the writer.
    wake: Notify,
    /// Wakes senders that wait for room.
    room: Notify,
    questions: Mutex<HashMap<u64, oneshot::Sender<u64>>>,
    asked: AtomicU64,
}

impl Link {
    fn push(&self, mailbox: u32, question: u64, n: u64, body: &[u8]) {
        let mut frames = lock(&self.frames);
        let idle = frames.is_empty();
        frame(&mut frames, mailbox, question, n, body);
        drop(frames);
        if idle {
            self.wake.notify_one();
        }
    }

    async fn room(&self) {
        while lock(&self.frames).len() >= ROOM {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            if lock(&self.frames).len() < ROOM {
                return;
            }
            room.await;
        }
    }

    fn ask(&self, answer: oneshot::Sender<u64>) -> u64 {
        let id = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.questions).insert(id, answer);
        id
    }

    async fn write(&self, mut io: impl AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut batch = Vec::new();
        loop {
            std::mem::swap(&mut *lock(&self.frames), &mut batch);
            if batch.is_empty() {
                self.wake.notified().await;
                continue;
            }
            self.room.notify_waiters();
            io.write_all(&batch).await?;
            io.flush().await?;
            batch.clear();
        }
    }
}

/// A frame in the buffer that it was read into.
struct Frame<'a> {
    mailbox: u32,
    question: u64,
    n: u64,
    body: &'a [u8],
}

fn frame(buffer: &mut Vec<u8>, mailbox: u32, question: u64, n: u64, body: &[u8]) {
    buffer.reserve(HEADER + NUMBER + body.len());
    buffer.extend_from_slice(&((NUMBER + body.len()) as u32).to_le_bytes());
    buffer.extend_from_slice(&mailbox.to_le_bytes());
    buffer.extend_from_slice(&question.to_le_bytes());
    buffer.extend_from_slice(&n.to_le_bytes());
    buffer.extend_from_slice(body);
}

/// The frame at the start of `bytes`, and how many it takes.
fn parse(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let part = |at: usize| *header[at..].first_chunk().expect("within the header");
    let length = u32::from_le_bytes(part(0)) as usize;
    let (n, body) = rest.get(..length)?.split_first_chunk::<NUMBER>()?;
    let question = *header.last_chunk().expect("within the header");
    let frame = Frame {
        mailbox: u32::from_le_bytes(part(4)),
        question: u64::from_le_bytes(question),
        n: u64::from_le_bytes(*n),
        body,
    };
    Some((frame, HEADER + length))
}

/// Reads until the end of the stream, and hands all frames to `f`.
async fn read(mut io: impl AsyncRead + Unpin, mut f: impl FnMut(Frame<'_>)) -> Result<()> {
    let mut buffer = Vec::with_capacity(READ);
    while io.read_buf(&mut buffer).await? > 0 {
        let mut start = 0;
        while let Some((frame, length)) = parse(&buffer[start..]) {
            f(frame);
            start += length;
        }
        buffer.drain(..start);
    }
    bail!("the connection was closed")
}

type Mailboxes = Arc<[mpsc::UnboundedSender<Delivery>]>;

async fn accept<S: Security>(
    listener: TcpListener,
    identity: Arc<Identity>,
    mailboxes: Mailboxes,
    inbox: PathBuf,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (identity, mailboxes) = (Arc::clone(&identity), Arc::clone(&mailboxes));
        let inbox = inbox.clone();
        tokio::spawn(async move {
            // The client learns of it by the end of the connection.
            let _ = serve_one::<S>(stream, &identity, mailboxes, &inbox).await;
        });
    }
}

async fn serve_one<S: Security>(
    stream: TcpStream,
    identity: &Identity,
    mailboxes: Mailboxes,
    inbox: &Path,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = S::accept(identity, stream).await?;
    if stream.read_u8().await? == Purpose::File as u8 {
        return file::receive(stream, inbox).await;
    }
    let link = Arc::<Link>::default();
    let (reader, writer) = tokio::io::split(stream);
    let writing = Arc::clone(&link);
    tokio::spawn(async move { writing.write(writer).await });
    read(reader, |frame| {
        let delivery = Delivery {
            message: Msg {
                n: frame.n,
                body: frame.body.to_vec(),
            },
            question: (frame.question > 0).then(|| (frame.question, Arc::clone(&link))),
        };
        // The mailboxes are there as long as the process.
        let _ = mailboxes[frame.mailbox as usize].send(delivery);
    })
    .await
}

/// What a connection is for: its first byte.
#[derive(Clone, Copy)]
enum Purpose {
    Messages = 0,
    File = 1,
}

async fn dial<S: Security>(contact: &Contact, node: usize, purpose: Purpose) -> Result<S::Stream> {
    let stream = TcpStream::connect(contact.listening[node]).await?;
    stream.set_nodelay(true)?;
    let mut stream = S::connect(&contact.identity, stream).await?;
    stream.write_u8(purpose as u8).await?;
    stream.flush().await?;
    Ok(stream)
}

/// A link to one of the nodes, and the token that says that it has ended.
async fn link<S: Security>(
    contact: &Contact,
    node: usize,
) -> Result<(Arc<Link>, CancellationToken)> {
    let (reader, writer) = tokio::io::split(dial::<S>(contact, node, Purpose::Messages).await?);
    let (link, lost) = (Arc::<Link>::default(), CancellationToken::new());
    let writing = Arc::clone(&link);
    tokio::spawn(async move { writing.write(writer).await });
    let (reading, token) = (Arc::clone(&link), lost.clone());
    tokio::spawn(async move {
        let answered = |frame: Frame<'_>| {
            if let Some(answer) = lock(&reading.questions).remove(&frame.question) {
                // Whoever asked may have gone.
                let _ = answer.send(frame.n);
            }
        };
        // However it ends.
        let _ = read(reader, answered).await;
        token.cancel();
    });
    Ok((link, lost))
}

/// Nothing that runs under these locks panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
