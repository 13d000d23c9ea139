//! The tasks of one link, around the peer's session: a [`reader`], a [`writer`], and here what minds
//! the time and how the link ends.

mod reader;
mod writer;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;

use self::reader::{Over, Reader};
use self::writer::Writer;
use crate::buffer::ReadBuffer;
use crate::clock;
use crate::node::FLUSH;
use crate::peer::{Course, Peer};
use crate::read_ahead::Carried;
use crate::rendezvous::Ticket;
use crate::session::Input;
use crate::transport::why_broken;

/// How long the last frames may take, and the peer to close its side after them.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a failed write waits for the reader to find out why.
const WHY: Duration = Duration::from_millis(100);

/// A connection that has become the link with a peer.
pub(crate) struct Link {
    pub(crate) peer: Arc<Peer>,
    pub(crate) ticket: Ticket,
    pub(crate) stream: TlsStream<Carried>,
    /// What has been read beyond the greeting.
    pub(crate) buffer: ReadBuffer,
    /// Until when the peer is who it has shown to be.
    pub(crate) until: SystemTime,
    /// To be written first.
    pub(crate) greeting: Vec<u8>,
    pub(crate) token: CancellationToken,
    pub(crate) course: Course,
}

impl Link {
    /// Starts the link's tasks. They end with the link, and the link with them.
    pub(crate) fn spawn(self) {
        let node = Arc::clone(self.peer.node());
        node.links.spawn_on(self.run(), &node.runtime);
    }

    async fn run(self) {
        let (peer, ticket, course) = (self.peer, self.ticket, self.course);
        // Also when the runtime drops the task.
        let _lost = LostOnDrop(&peer, ticket);
        let (mut read, write) = tokio::io::split(self.stream);
        let writer = Writer::new(Arc::clone(&peer), ticket, write, self.token.clone());
        let node = Arc::clone(peer.node());
        let mut writer = node
            .links
            .spawn_on(writer.run(self.greeting), &node.runtime);
        let (epoch, time) = (course.epoch, course.clone());
        let mut reader = Reader::new(&peer, ticket, course, self.buffer);

        let reason = tokio::select! {
            biased;
            () = self.token.cancelled() => "it was closed".to_owned(),
            over = reader.run(&mut read) => match over {
                Over::Lost(reason) => reason,
                Over::Broken(error) => {
                    tracing::warn!(peer = %peer.location(), %error, "a peer broke the protocol");
                    peer.input(epoch, Input::Refuse(error.to_string()));
                    last_words(&mut writer, &mut read).await;
                    error.to_string()
                }
            },
            () = clock::passed(self.until) => {
                tracing::warn!(peer = %peer.location(), "the certificate of a peer has expired");
                peer.input(epoch, Input::Expired);
                last_words(&mut writer, &mut read).await;
                "its certificate has expired".to_owned()
            }
            written = &mut writer => match written {
                // The last frames are written: the peer closes when it has read them.
                Ok(Ok(())) => {
                    let _ = tokio::time::timeout(LAST_WORDS, drain(&mut read)).await;
                    "it was closed".to_owned()
                }
                // If the peer said goodbye, that is why.
                Ok(Err(error)) => {
                    let _ = tokio::time::timeout(WHY, reader.run(&mut read)).await;
                    why_broken(&error)
                }
                Err(_) => "the writer has stopped".to_owned(),
            },
            // After the reader: what has come counts before what has not.
            // However busy that is.
            reason = tokio::task::unconstrained(keep_time(&peer, ticket, &time)) => reason,
        };
        peer.lost(ticket, &reason);
        self.token.cancel();
    }
}

struct LostOnDrop<'a>(&'a Arc<Peer>, Ticket);

impl Drop for LostOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stopped(self.1);
    }
}

/// Tells the session when its time has come. Beside the writer rather than in it: to a peer that
/// stands still a write does not end.
///
/// Now and then it asks about coroutines that have got something and get no more.
async fn keep_time(peer: &Arc<Peer>, ticket: Ticket, course: &Course) -> String {
    let pause = peer.node().config.timing.heartbeat;
    let mut look = Instant::now() + pause;
    while let Some(deadline) = peer.deadline(ticket) {
        tokio::select! {
            biased;
            () = peer.sooner() => {}
            () = tokio::time::sleep_until(deadline.into()) => peer.timeout(ticket),
        }
        if Instant::now() >= look {
            look = Instant::now() + pause;
            for ask in course.inflow.idle() {
                peer.ask(course, ask);
            }
        }
    }
    // The session is over, and the link is as soon as the last frames are written.
    tokio::time::sleep(FLUSH).await;
    "it did not take the last frames".to_owned()
}

/// Until they are written, and the peer has read them and closes.
async fn last_words(writer: &mut (impl Future + Unpin), read: &mut (impl AsyncReadExt + Unpin)) {
    let _ = tokio::time::timeout(LAST_WORDS, writer).await;
    let _ = tokio::time::timeout(LAST_WORDS, drain(read)).await;
}

async fn drain(io: &mut (impl AsyncReadExt + Unpin)) -> io::Result<()> {
    let mut waste = [0; 4096];
    while io.read(&mut waste).await? > 0 {}
    Ok(())
}
