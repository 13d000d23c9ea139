//! Whoever announces himself on the local network, by multicast DNS; see [`announced`].
//!
//! Each node has a responder of its own, a thread of mdns-sd, which ends with the node and says
//! goodbye. It listens on all interfaces there are, and looks for new ones again and again.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::time::Duration;

use coros_core::remote::NodeId;
use mdns_sd::{Receiver, ServiceDaemon, ServiceEvent};

use super::announced::{self, Announced};
use super::{Endpoints, Source};

/// The groups of multicast DNS.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// How often it is looked for new interfaces, in seconds.
const LOOK: u32 = 2;
/// How long the responder may take to say goodbye.
const GOODBYE: Duration = Duration::from_millis(500);
/// A flood ends what is listened to, which rests before it is listened to again.
const REST: Duration = Duration::from_secs(5);

pub(crate) struct Multicast {
    responder: Responder,
    /// `None` after what was heard was too much.
    events: Option<Receiver<ServiceEvent>>,
    announced: Announced,
}

impl Multicast {
    /// Announces a node that listens, and looks for others of its network.
    ///
    /// # Errors
    /// When there is no multicast at all on this machine. An interface that has none, or is down,
    /// is no error.
    pub(crate) fn start(
        network: &str,
        node: NodeId,
        listening: Option<SocketAddr>,
    ) -> io::Result<Self> {
        is_possible()?;
        let responder = Responder(ServiceDaemon::new().map_err(io::Error::other)?);
        let events = responder.0.set_ip_check_interval(LOOK);
        let events = events.and_then(|()| responder.0.browse(announced::SERVICE));
        let events = events.map_err(io::Error::other)?;
        if let Some(listening) = listening {
            let registered = announced::service(network, node, listening)
                .and_then(|service| responder.0.register(service));
            registered.map_err(io::Error::other)?;
        }
        Ok(Multicast {
            responder,
            events: Some(events),
            announced: Announced::new(network, node),
        })
    }

    async fn endpoints(&mut self) -> Endpoints {
        loop {
            let Some(events) = &self.events else {
                tokio::time::sleep(REST).await;
                self.events = self.responder.0.browse(announced::SERVICE).ok();
                continue;
            };
            let Ok(event) = events.recv_async().await else {
                tracing::warn!("too much is announced on the local network: looking away");
                self.events = None;
                continue;
            };
            let mut news = self.announced.handle(event);
            // What has come at the same time is one piece of news.
            while let Ok(event) = events.try_recv() {
                news |= self.announced.handle(event);
            }
            if news {
                return self.announced.endpoints();
            }
        }
    }
}

impl Source for Multicast {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Endpoints> + Send + '_>> {
        Box::pin(self.endpoints())
    }

    fn end(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if let Ok(ended) = self.responder.0.shutdown() {
                // It is of no account how: others notice by themselves.
                let _ = tokio::time::timeout(GOODBYE, ended.recv_async()).await;
            }
        })
    }
}

/// Ends when it is dropped; else its thread would stay.
struct Responder(ServiceDaemon);

impl Drop for Responder {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.0.shutdown();
    }
}

/// The responder only says in its log that it cannot do anything, so it is tried out before: at least
/// on the loopback interface this works on every machine that has multicast.
fn is_possible() -> io::Result<()> {
    let on = |interface| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.join_multicast_v4(&GROUP_V4, &interface)
    };
    let v6 = || {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        socket.join_multicast_v6(&GROUP_V6, 0)
    };
    on(Ipv4Addr::LOCALHOST)
        .or_else(|_| on(Ipv4Addr::UNSPECIFIED))
        .or_else(|error| v6().map_err(|_| error))
}
