//! Whatever a name stands for in the DNS, looked up again and again.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::BoxFuture;
use tokio::time::Instant;

use super::lookup::Lookup;
use super::{Heard, HostPort, Source};

/// How often a name is looked up.
const AGAIN: Duration = Duration::from_secs(30);
/// How soon after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Finds the addresses of a host; [`SystemResolver`] unless
/// [`Builder::resolver`](crate::Builder::resolver) gives another one.
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// All endpoints that `host` has, with this port.
    ///
    /// # Errors
    /// When there is no such host, or nobody to ask; it is asked again a little later.
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<io::Result<Vec<SocketAddr>>>;
}

/// Asks as the operating system does: `/etc/hosts`, DNS, …
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, port)).await?;
            Ok(found.collect())
        })
    }
}

#[derive(Debug)]
pub(crate) struct Dns {
    name: HostPort,
    lookup: Lookup,
    next: Option<Instant>,
}

impl Dns {
    pub(crate) fn new(name: HostPort, resolver: Arc<dyn Resolve>) -> Self {
        Dns {
            name,
            lookup: Lookup::new(resolver),
            next: None,
        }
    }

    async fn heard(&mut self) -> Heard {
        loop {
            if let Some((name, why)) = self.lookup.failure() {
                return Heard::NotFound(name, why);
            }
            if let Some(next) = self.next {
                tokio::time::sleep_until(next).await;
            }
            let is_found = self.lookup.look_up(&self.name).await;
            let pause = if is_found { AGAIN } else { AFTER_FAILURE };
            self.next = Some(Instant::now() + pause);
            if is_found {
                return Heard::Given(self.lookup.endpoints(&self.name).collect());
            }
        }
    }
}

impl Source for Dns {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Heard> + Send + '_>> {
        Box::pin(self.heard())
    }
}
