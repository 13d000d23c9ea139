//! An endpoint that was given.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::Pin;

use super::Source;

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
    fn next(&mut self) -> Pin<Box<dyn Future<Output = BTreeSet<SocketAddr>> + Send + '_>> {
        Box::pin(async {
            match self.endpoint.take() {
                Some(endpoint) => BTreeSet::from([endpoint]),
                None => std::future::pending().await,
            }
        })
    }
}
