//! Whoever announces himself on the local network, by multicast DNS; see [`announced`].
//!
//! Each node has a responder of its own, a thread of mdns-sd, which ends with the node and says
//! goodbye. It listens on all interfaces there are, and looks for new ones again and again.
//!
//! Anyone on the local network can announce anything, for as long as he likes, and mdns-sd keeps all
//! of it. So what it keeps is weighed again and again, and a responder that keeps too much is ended: a
//! little later there is another one, which knows nothing.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::time::Duration;

use coros_core::remote::NodeId;
use mdns_sd::{Receiver, ServiceDaemon, ServiceEvent};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::announced::{self, Listener};
use super::dialler;
use super::{Heard, Said, Source};

/// The groups of multicast DNS.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// How often it is looked for new interfaces, in seconds.
const LOOK: u32 = 2;
/// How long the responder may take to say goodbye.
const GOODBYE: Duration = Duration::from_millis(500);
/// A flood ends what is listened to, which rests before it is listened to again.
const REST: Duration = Duration::from_secs(5);
/// How often it is weighed what the responder keeps.
const COUNT: Duration = Duration::from_secs(1);
/// How long it may take to say so.
const ANSWER: Duration = Duration::from_secs(5);
/// So many bytes it may keep, if each record is as long as it can be: those of some thousand nodes.
const MOST: i64 = 32 << 20;
/// A record has some names, of 255 bytes at most, and little else.
const RECORD: i64 = 1 << 10;
/// But for a text, which may fill a packet.
const TEXT: i64 = 10 << 10;
/// Each instance has a text, and is pointed at, and has a place.
const _: () = assert!(MOST / (TEXT + 2 * RECORD) < dialler::PEERS as i64);
/// News that come within this time are told at once, but no more than so many.
const NEWS: Duration = Duration::from_millis(100);
const MOST_NEWS: usize = 256;

pub(crate) struct Multicast {
    own: Own,
    /// `None` after what it kept or told was too much.
    responder: Option<Responder>,
    /// As long as there is one.
    events: Option<Receiver<ServiceEvent>>,
    listener: Listener,
    count: Interval,
    /// What is to be told, and when: in the order in which it was said, for the last word need not be the true one.
    said: Vec<Said>,
    news: Interval,
}

/// What is announced of this node.
struct Own {
    network: String,
    node: NodeId,
    listening: Option<SocketAddr>,
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
        let own = Own {
            network: network.to_owned(),
            node,
            listening,
        };
        let responder = Responder::start(&own).map_err(io::Error::other)?;
        let events = responder.0.browse(announced::SERVICE);
        Ok(Multicast {
            events: Some(events.map_err(io::Error::other)?),
            responder: Some(responder),
            listener: Listener::new(network, node),
            own,
            count: interval(COUNT),
            said: Vec::new(),
            news: {
                let mut news = interval(NEWS);
                news.set_missed_tick_behavior(MissedTickBehavior::Delay);
                news
            },
        })
    }

    async fn hear(&mut self) -> Heard {
        loop {
            let Some(events) = &self.events else {
                tokio::time::sleep(REST).await;
                self.listen();
                continue;
            };
            let event = tokio::select! {
                biased;
                _ = self.count.tick() => {
                    if self.is_full().await {
                        return self.forget().await;
                    }
                    continue;
                }
                _ = self.news.tick(), if !self.said.is_empty() => {
                    return Heard::Announced(std::mem::take(&mut self.said));
                }
                event = events.recv_async() => event,
            };
            let Ok(event) = event else {
                return self.forget().await;
            };
            self.said.extend(self.listener.said(event));
            if self.said.len() >= MOST_NEWS {
                return Heard::Announced(std::mem::take(&mut self.said));
            }
        }
    }

    /// Listens again, with another responder.
    fn listen(&mut self) {
        self.responder = Responder::start(&self.own).ok();
        let responder = self.responder.as_ref();
        self.events = responder.and_then(|it| it.0.browse(announced::SERVICE).ok());
    }

    async fn is_full(&self) -> bool {
        match &self.responder {
            Some(responder) => responder.keeps().await > MOST,
            None => false,
        }
    }

    /// Ends a responder that keeps too much, or has told too much at once: it would begin with the
    /// same again, and not come to those whom it heard last.
    async fn forget(&mut self) -> Heard {
        tracing::warn!("too much is announced on the local network: forgetting all of it");
        self.events = None;
        self.said.clear();
        if let Some(responder) = self.responder.take() {
            responder.end().await;
        }
        Heard::Nothing
    }
}

impl Source for Multicast {
    fn is_given(&self) -> bool {
        false
    }

    fn next(&mut self) -> Pin<Box<dyn Future<Output = Heard> + Send + '_>> {
        Box::pin(self.hear())
    }

    fn end(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if let Some(responder) = self.responder {
                responder.end().await;
            }
        })
    }
}

/// Ends when it is dropped; else its thread would stay.
struct Responder(ServiceDaemon);

impl Responder {
    /// One that announces this node, if it listens.
    fn start(own: &Own) -> Result<Self, mdns_sd::Error> {
        let responder = Responder(ServiceDaemon::new()?);
        responder.0.set_ip_check_interval(LOOK)?;
        if let Some(listening) = own.listening {
            let service = announced::service(&own.network, own.node, listening)?;
            responder.0.register(service)?;
        }
        Ok(responder)
    }

    /// How many bytes of others it may keep. One that does not answer any more keeps too many.
    async fn keeps(&self) -> i64 {
        let Ok(metrics) = self.0.get_metrics() else {
            return i64::MAX;
        };
        let metrics = timeout(ANSWER, metrics.recv_async()).await;
        let Ok(Ok(metrics)) = metrics else {
            return i64::MAX;
        };
        metrics
            .iter()
            .map(|(name, number)| weight(name, *number))
            .sum()
    }

    /// Says goodbye.
    async fn end(self) {
        if let Ok(ended) = self.0.shutdown() {
            // It is of no account how: others notice by themselves.
            let _ = timeout(GOODBYE, ended.recv_async()).await;
        }
    }
}

/// How many bytes so many of these take at most: records of others, or times to look at them again.
fn weight(name: &str, number: i64) -> i64 {
    let each = match name {
        "cached-txt" => TEXT,
        name if name.starts_with("cached-") || name == "timer" => RECORD,
        _ => 0,
    };
    number.saturating_mul(each)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_long_texts_are_as_much_as_many_records() {
        let keeps = |what: &[(&str, i64)]| {
            let weights = what.iter().map(|(name, number)| weight(name, *number));
            weights.sum::<i64>()
        };
        let thousand_nodes = [
            ("cached-ptr", 1000),
            ("cached-srv", 1000),
            ("cached-txt", 1000),
            ("cached-addr", 4000),
            ("timer", 7000),
            ("respond", 1 << 40),
        ];
        assert!(keeps(&thousand_nodes) <= MOST);
        // Of 8,900 bytes each.
        assert!(keeps(&[("cached-txt", 4000)]) > MOST);
        assert!(keeps(&[("cached-nsec", 40_000)]) > MOST);
        assert!(keeps(&[("timer", i64::MAX)]) > MOST);
    }
}
