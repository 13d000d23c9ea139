//! A simulated machine.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use coros_core::remote::BoxFuture;

use super::listener::SimListener;
use super::stream::SimStream;
use super::world::{HostId, Shared, killed};
use crate::transport::{BoxListener, BoxStream, Transport};
use crate::{Builder, Node};

/// A machine of a [`SimNetwork`](super::SimNetwork), until it is [killed](SimHost::kill): the
/// [`Transport`] of the nodes that run on it.
///
/// It has one address. The loopback and the unspecified address stand for that one, too. Clones
/// are the same host.
#[derive(Clone)]
pub struct SimHost {
    shared: Arc<Shared>,
    life: Life,
    name: Arc<str>,
    ip: Ipv4Addr,
}

/// A host from one start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) host: HostId,
    pub(super) number: u64,
}

impl SimHost {
    pub(super) fn new(shared: &Arc<Shared>, name: &str) -> Self {
        let (life, ip) = shared.with(|world| {
            let life = world.host(name);
            (life, world.hosts[life.host].ip)
        });
        SimHost {
            shared: Arc::clone(shared),
            life,
            name: name.into(),
            ip,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip.into()
    }

    /// Starts a node on this host: it has the host's name, a launch id from the seed, and
    /// credentials of the simulated network, and listens on any free port.
    ///
    /// Each builder makes another node. A [`Builder`] with other credentials works as well, with
    /// this host as its [transport](Builder::transport), but a random launch id makes runs of
    /// the same seed differ.
    ///
    /// # Panics
    /// When the host's name is none for a node: empty, longer than 128 bytes, with control
    /// characters.
    pub fn builder(&self) -> Builder {
        let mut seed = [0; 32];
        self.shared.with(|world| {
            for half in seed.chunks_exact_mut(16) {
                half.copy_from_slice(&world.random.wide().to_le_bytes());
            }
        });
        let credentials = self.shared.authority.issue_from_seed(&self.name, &seed);
        Node::builder()
            .credentials(credentials.expect("the name of a host can be that of a node"))
            .listen(SocketAddr::from((self.ip, 0)))
            .transport(self.clone())
    }

    /// Whatever runs on the host stands still, as after SIGSTOP: it accepts, reads and writes
    /// nothing. What it has written before arrives, and others can write to it until buffers are full.
    ///
    /// The clock of its nodes goes on, since there is but one: they may find in the meantime that
    /// their peers are silent. Nobody learns of that before the host goes on.
    pub fn freeze(&self) {
        self.shared.with(|world| world.freeze(self.life.host));
    }

    /// Ends [`freeze`](SimHost::freeze).
    pub fn thaw(&self) {
        self.shared.with(|world| world.thaw(self.life.host));
    }

    /// Whatever runs on the host is dead, as after SIGKILL: nothing reaches the network any more,
    /// and the host's connections are closed, which peers learn if they can be reached.
    ///
    /// [`SimNetwork::host`](super::SimNetwork::host) gives the host's next life: the same address,
    /// for a new node. A node of the old life is an object of the test's process all the same and
    /// should be dropped; what it waits for ends as for a node that is alone.
    pub fn kill(&self) {
        self.shared.with(|world| world.kill(self.life));
    }

    /// Its place in a network.
    ///
    /// # Panics
    /// When it is of another network.
    pub(super) fn id_in(&self, shared: &Arc<Shared>) -> HostId {
        assert!(
            Arc::ptr_eq(&self.shared, shared),
            "{self:?} belongs to another simulated network"
        );
        self.life.host
    }
}

impl fmt::Debug for SimHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimHost({} at {})", self.name, self.ip)
    }
}

impl Transport for SimHost {
    fn listen(&self, endpoint: SocketAddr) -> BoxFuture<io::Result<BoxListener>> {
        let this = self.clone();
        Box::pin(async move {
            if this.resolve(endpoint) != Some(this.ip) {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
            let port = endpoint.port();
            let endpoint = this.shared.with(|world| world.listen(this.life, port))?;
            Ok(Box::new(SimListener {
                shared: this.shared,
                life: this.life,
                endpoint,
            }) as BoxListener)
        })
    }

    fn dial(&self, endpoint: SocketAddr) -> BoxFuture<io::Result<BoxStream>> {
        let this = self.clone();
        Box::pin(async move {
            let stream = this.connect(endpoint).await?;
            Ok(Box::new(stream) as BoxStream)
        })
    }
}

impl SimHost {
    /// The host that an address stands for, seen from this one.
    fn resolve(&self, endpoint: SocketAddr) -> Option<Ipv4Addr> {
        let ip = endpoint.ip();
        if ip.is_loopback() || ip.is_unspecified() {
            return Some(self.ip);
        }
        match ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        }
    }

    async fn connect(self, endpoint: SocketAddr) -> io::Result<SimStream> {
        let near = self.life.host;
        let ip = self.resolve(endpoint);
        let found = ip.and_then(|ip| self.shared.with(|world| world.find(ip)));
        let Some(far) = found else {
            return Err(io::ErrorKind::HostUnreachable.into());
        };
        self.cross(near, far).await?;
        let connected = self
            .shared
            .with(|world| world.connect(near, far, endpoint.port()));
        // From here on dropping this future closes the connection.
        let stream = connected.map(|id| SimStream::new(&self.shared, id));
        self.cross(far, near).await?;
        stream.ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
    }

    /// Until a packet has got from one host to another: sent again and again while the way is
    /// blocked, or this host stands still.
    async fn cross(&self, from: HostId, to: HostId) -> io::Result<()> {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            let latency = self.shared.with(|world| {
                if !world.is_alive(self.life) {
                    return Err(killed());
                }
                let frozen = world.hosts[self.life.host].frozen;
                let open = !frozen && !world.blocked.contains_key(&(from, to));
                let latency = world.conditions(from, to).latency;
                Ok(open.then(|| world.random.within(&latency)))
            })?;
            let Some(latency) = latency else {
                changed.await;
                continue;
            };
            tokio::select! {
                biased;
                () = tokio::time::sleep(latency) => return Ok(()),
                // It may be among what gets lost.
                () = changed => {}
            }
        }
    }
}
