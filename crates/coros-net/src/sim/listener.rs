//! Where simulated connections come in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::host::Life;
use super::stream::SimStream;
use super::world::Shared;
use crate::transport::{BoxStream, Listener};

pub(super) struct SimListener {
    pub(super) shared: Arc<Shared>,
    pub(super) life: Life,
    pub(super) endpoint: SocketAddr,
}

impl Listener for SimListener {
    fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(BoxStream, SocketAddr)>> {
        let port = self.endpoint.port();
        let accepted = self
            .shared
            .with(|world| world.accept(self.life, port, cx.waker()));
        accepted.map(|(id, from)| {
            let stream = SimStream::new(&self.shared, id);
            Ok((Box::new(stream) as BoxStream, from))
        })
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let port = self.endpoint.port();
        self.shared
            .with(|world| world.stop_listening(self.life, port));
    }
}
