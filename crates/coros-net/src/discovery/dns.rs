//! Whatever a name stands for in the DNS, looked up again and again.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::BoxFuture;
use tokio::time::Instant;

use super::{Heard, HostPort, Source};
use crate::unheard::{self, Trouble};

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
    resolver: Arc<dyn Resolve>,
    next: Option<Instant>,
    /// What has been told of a failure.
    told: Option<String>,
}

impl Dns {
    pub(crate) fn new(name: HostPort, resolver: Arc<dyn Resolve>) -> Self {
        Dns {
            name,
            resolver,
            next: None,
            told: None,
        }
    }

    async fn endpoints(&mut self) -> BTreeSet<SocketAddr> {
        loop {
            if let Some(next) = self.next {
                tokio::time::sleep_until(next).await;
            }
            let found = self.resolver.resolve(self.name.host(), self.name.port());
            let found = found.await;
            match found {
                Ok(found) => {
                    self.next = Some(Instant::now() + AGAIN);
                    self.told = None;
                    return found.into_iter().collect();
                }
                // What was found before may still be there.
                Err(error) => {
                    self.next = Some(Instant::now() + AFTER_FAILURE);
                    let error = error.to_string();
                    if self.told.as_ref() != Some(&error) {
                        tracing::warn!(name = %self.name, %error, "cannot look up where nodes are");
                        let name = &self.name;
                        unheard::say(
                            Trouble::NotFound(name.clone()),
                            format_args!("trying on: cannot look up where {name} is: {error}"),
                        );
                        self.told = Some(error);
                    }
                }
            }
        }
    }
}

impl Source for Dns {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Heard> + Send + '_>> {
        Box::pin(async { Heard::Given(self.endpoints().await) })
    }
}
