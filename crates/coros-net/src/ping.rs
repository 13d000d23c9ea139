//! How far away a peer is.

use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::Location;
use tokio::sync::oneshot;

use crate::Node;
use crate::peer::Peer;

impl Node {
    /// How long a word to a peer and its answer take: over the link there is, or over one that is
    /// made for it, whose making does not count.
    ///
    /// Pings overtake messages, and are answered by the node, whatever its coroutines are at. A
    /// link that breaks meanwhile is made again, and asked again. Waits no longer than for anything
    /// else of a peer: a silent one is given up after [`silence`](crate::Builder::silence), a tenth
    /// of it, and [`grace`](crate::Builder::grace); whoever is not as patient puts a
    /// `tokio::time::timeout` around it.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use coros_net::{Node, Secret};
    ///
    /// let secret = Secret::random();
    /// let desk = Node::builder().name("desk").secret(secret.clone()).build().await?;
    /// let farm = Node::builder().name("farm").secret(secret).build().await?;
    ///
    /// let took = desk.ping(&farm.location()).await?;
    /// println!("the farm is {took:?} away, there and back");
    /// # desk.close().await; farm.close().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`PingError`]: the peer cannot be reached, is gone, or does not answer.
    ///
    /// # Cancel safety
    /// Dropping the future is harmless.
    pub async fn ping(&self, peer: &Location) -> Result<Duration, PingError> {
        let node = self.inner();
        if peer.node == node.location.node {
            return Err(PingError::Itself);
        }
        let no_answer = |reason| PingError::NoAnswer {
            peer: Box::new(peer.clone()),
            reason,
        };
        let answer = Question::ask(node.peer(peer)).map_err(no_answer)?;
        // Only a peer that lives and does not answer is waited for so long.
        let timing = node.config.timing;
        let limit = node.config.handshake + timing.silence * 11 / 10 + timing.grace;
        match tokio::time::timeout(limit, answer.wait()).await {
            Ok(answer) => answer.map_err(no_answer),
            Err(_) => Err(no_answer(format!("none within {limit:.1?}"))),
        }
    }
}

/// A ping that is under way, taken back when it is dropped.
struct Question {
    peer: Arc<Peer>,
    number: u64,
    answer: oneshot::Receiver<Result<Duration, String>>,
}

impl Question {
    fn ask(peer: Arc<Peer>) -> Result<Self, String> {
        let (waiter, answer) = oneshot::channel();
        let number = peer.ping(waiter).map_err(|error| error.to_string())?;
        Ok(Question {
            peer,
            number,
            answer,
        })
    }

    async fn wait(mut self) -> Result<Duration, String> {
        let answer = (&mut self.answer).await;
        answer.unwrap_or_else(|_| Err("this node has closed".to_owned()))
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.peer.forget_ping(self.number);
    }
}

/// Why there is no answer to a ping.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// The peer cannot be reached, is gone, or says nothing.
    #[error("no answer from {peer}: {reason}")]
    NoAnswer {
        /// Who was asked.
        peer: Box<Location>,
        /// What is known of it.
        reason: String,
    },
    /// The node would ping itself.
    #[error("that is this node itself: ping another one, such as one of `peers()`")]
    Itself,
}
