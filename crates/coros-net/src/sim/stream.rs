//! One end of a simulated connection, as a node holds it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::world::{Shared, Step};

/// Names one end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndId {
    pub(super) connection: u64,
    /// 0 dialled, 1 was dialled.
    pub(super) side: usize,
}

pub(super) struct SimStream {
    shared: Arc<Shared>,
    id: EndId,
    read_timer: Timer,
    write_timer: Timer,
}

impl SimStream {
    pub(super) fn new(shared: &Arc<Shared>, id: EndId) -> Self {
        SimStream {
            shared: Arc::clone(shared),
            id,
            read_timer: Timer::default(),
            write_timer: Timer::default(),
        }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let step = this
                .shared
                .with(|world| world.read(this.id, cx.waker(), buffer));
            match step {
                Step::Done(result) => return Poll::Ready(result),
                Step::Later(at) => ready!(this.read_timer.poll(cx, at)),
                Step::Wait => return Poll::Pending,
            }
        }
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            let step = this
                .shared
                .with(|world| world.write(this.id, cx.waker(), bytes));
            match step {
                Step::Done(result) => return Poll::Ready(result),
                Step::Later(at) => ready!(this.write_timer.poll(cx, at)),
                Step::Wait => return Poll::Pending,
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = self
            .shared
            .with(|world| world.shut_down(self.id, cx.waker()));
        shut.map(Ok)
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.shared.with(|world| world.drop_end(self.id));
    }
}

/// One timer, made when it is first needed.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(cx)
    }
}
