//! An endpoint that was given.

use std::net::SocketAddr;
use std::pin::Pin;

use super::{Endpoints, Source, of_anybody};

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
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Endpoints> + Send + '_>> {
        Box::pin(async {
            match self.endpoint.take() {
                Some(endpoint) => of_anybody([endpoint]),
                None => std::future::pending().await,
            }
        })
    }
}
