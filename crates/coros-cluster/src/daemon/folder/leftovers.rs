//! What those workers of a client have left that have ended: it takes its room on the disk until it is gone.

use tokio::sync::watch;

use super::held::Held;

/// All of a client.
#[derive(Clone, Debug, Default)]
pub(super) struct Leftovers(watch::Sender<Amounts>);

#[derive(Debug, Default)]
struct Amounts {
    bytes: u64,
    /// So many may hold anything: nobody has looked yet, or may look.
    unknown: usize,
}

/// That of one worker, which is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Leftover {
    all: Leftovers,
    /// If that is known.
    bytes: Option<u64>,
}

impl Leftovers {
    pub(super) fn add(&self) -> Leftover {
        self.0.send_modify(|all| all.unknown += 1);
        Leftover {
            all: self.clone(),
            bytes: None,
        }
    }

    /// What is known of them.
    pub(super) fn bytes(&self) -> u64 {
        self.0.borrow().bytes
    }

    /// Whether they are known to have no more than so many bytes.
    pub(super) fn are_within(&self, most: u64) -> bool {
        self.0.borrow().are_within(most)
    }

    /// Resolves when they are. Cancel safe.
    pub(super) async fn within(&self, most: u64) {
        let mut seen = self.0.subscribe();
        // It cannot be closed meanwhile.
        let _ = seen.wait_for(|all| all.are_within(most)).await;
    }
}

impl Amounts {
    fn are_within(&self, most: u64) -> bool {
        self.unknown == 0 && self.bytes <= most
    }
}

impl Leftover {
    /// It has been looked at.
    pub(super) fn seen(&mut self, held: &Held) {
        if held.hidden.is_none() && self.bytes.is_none() {
            self.bytes = Some(held.bytes);
            self.all.0.send_modify(|all| {
                all.unknown -= 1;
                all.bytes = all.bytes.saturating_add(held.bytes);
            });
        }
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        self.all.0.send_modify(|all| match self.bytes {
            Some(bytes) => all.bytes = all.bytes.saturating_sub(bytes),
            None => all.unknown -= 1,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_could_look_at_may_be_anything() {
        let all = Leftovers::default();
        let (mut one, mut other) = (all.add(), all.add());
        one.seen(&Held {
            bytes: 3,
            hidden: None,
        });
        assert!(!all.are_within(u64::MAX));
        other.seen(&Held {
            bytes: 5,
            hidden: Some("it is locked".into()),
        });
        assert!(!all.are_within(u64::MAX));
        drop(other);
        assert!(all.are_within(3) && !all.are_within(2));
        assert_eq!(all.bytes(), 3);
        drop(one);
        assert!(all.are_within(0));
    }
}
