//! How many bytes wait here for each other node: bounded, since a node that asks and does not read
//! could fill this one.
//!
//! One account a node, whatever waits: what its link does not take yet (answers, and what channels
//! send), and deliveries of its own that wait at channels here. Answers may fill all of it,
//! channels a part, so that they leave room for answers.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::primitives::{Mutex, lock};
use crate::remote::{CodecError, Encode, NodeId};

/// So much may wait for one node in all, beyond what its link takes; and one thing more.
pub(crate) const MOST: usize = 256 << 20;

/// So much, when messages of channels are let wait.
pub(crate) const CHANNELS: usize = 64 << 20;

/// What each thing that waits costs besides its bytes.
const EACH: usize = 512;

static WAITING: LazyLock<Mutex<HashMap<NodeId, usize>>> = LazyLock::new(Mutex::default);

/// Something that waits.
pub(crate) struct Waits {
    node: NodeId,
    cost: usize,
}

/// Lets something wait for a node, unless `most` does already.
pub(crate) fn take(node: NodeId, most: usize) -> Option<Waits> {
    let mut waiting = lock(&WAITING);
    let bytes = waiting.entry(node).or_default();
    if *bytes >= most {
        return None;
    }
    *bytes += EACH;
    Some(Waits { node, cost: EACH })
}

impl Waits {
    /// It has so many bytes more.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.cost += bytes;
        *lock(&WAITING).entry(self.node).or_default() += bytes;
    }

    /// Encodes it, and adds what that takes.
    pub(crate) fn encode(
        &mut self,
        buffer: &mut Vec<u8>,
        encode: Encode<'_>,
    ) -> Result<(), CodecError> {
        let before = buffer.len();
        encode(buffer)?;
        self.add(buffer.len() - before);
        Ok(())
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let mut waiting = lock(&WAITING);
        if let Some(bytes) = waiting.get_mut(&self.node) {
            *bytes -= self.cost;
            if *bytes == 0 {
                waiting.remove(&self.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of so many bytes, until no more may wait.
    fn fill(node: NodeId, most: usize, bytes: usize) -> Vec<Waits> {
        let more = || {
            let mut waits = take(node, most)?;
            waits.add(bytes);
            Some(waits)
        };
        std::iter::from_fn(more).collect()
    }

    #[test]
    fn what_waits_for_a_node_that_does_not_read_is_bounded_in_all() {
        let (deaf, other) = (NodeId(7_001), NodeId(7_002));
        let channels = fill(deaf, CHANNELS, 16 << 20);
        assert_eq!(channels.len(), 4);
        let answers = fill(deaf, MOST, 16 << 20);
        assert_eq!(answers.len(), 12, "channels leave room for answers");
        assert!(take(other, CHANNELS).is_some());
        drop(channels);
        assert!(take(deaf, CHANNELS).is_none(), "one account");
        drop(answers);
        assert!(take(deaf, CHANNELS).is_some());
        assert!(!lock(&WAITING).contains_key(&deaf));
    }
}
