//! Connections that have not shown yet who they are.
//!
//! There are never more than a fixed number: when another comes, the oldest goes. A node's
//! handshake takes milliseconds, so it is through long before its turn; connections that say
//! nothing, or little, push each other out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

#[derive(Clone, Default)]
pub(crate) struct Pending {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    last: u64,
    tokens: VecDeque<(u64, CancellationToken)>,
}

/// One connection's place.
pub(crate) struct Place {
    pending: Pending,
    number: u64,
    token: CancellationToken,
}

impl Pending {
    /// Takes a place among at most `limit`, from the oldest if need be.
    pub(crate) fn enter(&self, limit: usize) -> Place {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        while queue.tokens.len() >= limit
            && let Some((_, oldest)) = queue.tokens.pop_front()
        {
            oldest.cancel();
        }
        queue.last += 1;
        let (number, token) = (queue.last, CancellationToken::new());
        queue.tokens.push_back((number, token.clone()));
        Place {
            pending: self.clone(),
            number,
            token,
        }
    }
}

impl Place {
    /// Resolves when the place is taken away.
    pub(crate) async fn lost(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queue = self
            .pending
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Ok(at) = queue
            .tokens
            .binary_search_by_key(&self.number, |(number, _)| *number)
        {
            queue.tokens.remove(at);
        }
    }
}
