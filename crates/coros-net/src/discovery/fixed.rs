//! An endpoint that was given.

use std::net::SocketAddr;
use std::pin::Pin;

use super::{Heard, Source};

/// Told once; the dialler keeps trying.
#[derive(Debug)]
pub(crate) struct Fixed {
    endpoint: Option<SocketAddr>,
}

impl Fixed {
    pub(crate) fn new(endpoint: SocketAddr) -> Self {
        Fixed {
            endpoint: Some(endpoint),
        }
    }
}

impl Source for Fixed {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Heard> + Send + '_>> {
        Box::pin(async {
            match self.endpoint.take() {
                Some(endpoint) => Heard::Given([endpoint].into()),
                None => std::future::pending().await,
            }
        })
    }
}
