//! Whether a channel may subscribe to another, when some of the channels below are on other nodes.
//!
//! No node knows all of the hierarchy, and there is no lock over all nodes. So a subscription of a
//! channel is entered first, as one that carries no messages yet. If that is at a relay, its home
//! is told, and has to confirm it. Then its node asks its way down from the subscriber: home by
//! home, which channels have subscribed there, and at the relays that say that they have some?
//! Subscriptions that carry no messages yet count. If the search comes to the channel that would
//! get the subscriber's messages back, the subscription is taken out again; else it begins to carry
//! messages.
//!
//! Of the subscriptions that would close a cycle together one has been confirmed last, and its
//! search sees all the others. It may be that several do, and more are refused than had to be. A
//! cycle never carries a message.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexSet;

use super::wire::MAX_BELOW;
use crate::channel::Channel;
use crate::primitives::lock;

/// More channels than this are not searched.
const MAX_SEARCH: usize = 8 * MAX_BELOW;

/// How long all of the search may take.
const SEARCH: Duration = Duration::from_secs(30);

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);

impl<M: Clone + Send + 'static> Channel<M> {
    /// Whether what this channel sends comes to `other`, to which it has just been subscribed on
    /// this node; or why that cannot be told.
    pub(in crate::channel) async fn leads_far_to(
        &self,
        other: &Channel<M>,
    ) -> Result<bool, &'static str> {
        if let Some(home) = &other.inner.home {
            let confirmed = tokio::time::timeout(ANSWER, home.count()).await;
            if !matches!(confirmed, Ok(Ok(_))) {
                return Err("its node does not answer");
            }
        }
        let search = tokio::time::timeout(SEARCH, self.search(other)).await;
        search.map_err(|_| "its subscribers could not all be asked in time")?
    }

    async fn search(&self, other: &Channel<M>) -> Result<bool, &'static str> {
        let mut seen = IndexSet::from([self.clone()]);
        let mut next = vec![self.clone()];
        while let Some(channel) = next.pop() {
            if channel == *other {
                return Ok(true);
            }
            let below = channel.below().await;
            let below = below.ok_or("the node of a channel below it does not answer")?;
            let unseen = below.into_iter().filter(|it| seen.insert(it.clone()));
            next.extend(unseen);
            if seen.len() > MAX_SEARCH {
                return Err("too many channels have subscribed to each other");
            }
        }
        Ok(false)
    }

    /// The channels that have subscribed to this one, on all nodes; `None` when one of the nodes
    /// does not answer, whether or not it is gone: it may come back, and what it knows with it.
    pub(super) async fn below(&self) -> Option<Vec<Channel<M>>> {
        let (mut below, answers) = match &self.inner.home {
            Some(home) => (Vec::new(), vec![home.below()?]),
            None => {
                let relays: Vec<_> = {
                    let state = lock(&self.inner.state);
                    let relays = state.subscribers.relays.values();
                    relays.filter(|it| it.has_channels()).cloned().collect()
                };
                let answers: Option<_> = relays.iter().map(|relay| relay.below()).collect();
                (self.channels_here(), answers?)
            }
        };
        // All have been asked; so the time for all is the time for one.
        let all = async {
            for answer in answers {
                below.extend(answer.await.ok()?.0);
            }
            Some(below)
        };
        tokio::time::timeout(ANSWER, all).await.ok()?
    }

    /// The channels that have subscribed on this node, whether or not they get messages yet.
    pub(super) fn channels_here(&self) -> Vec<Channel<M>> {
        let list = Arc::clone(&lock(&self.inner.state).subscribers);
        list.all_channels().cloned().collect()
    }
}
