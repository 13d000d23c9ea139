//! How much of what a process tells of its computations is kept for it.

use coros_core::remote::NodeId;
use serde::{Deserialize, Serialize};

use crate::isolation::amount;

/// What there may be for one process, and for all of them.
#[derive(Debug)]
pub(crate) struct Quota {
    /// How many computations a process may have at a time, with those that are about to end.
    pub(crate) computations: usize,
    /// How many bytes may be kept of what it has told of them.
    pub(crate) bytes: usize,
    /// And of what all processes have.
    pub(crate) in_all: usize,
}

/// What is kept of a computation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// The node of the process that opened it.
    pub(crate) sender: Option<NodeId>,
    /// What it has told of it.
    pub(crate) bytes: usize,
}

/// Why a process may have no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Spent {
    #[error("this process has {0} computations there, and no process may have more at a time")]
    Computations(usize),
    #[error(
        "the environments, the arguments and the names of files of all computations that this process has there would \
         take more than {}, and those of no process may: close one that is done", amount(*.0 as u64)
    )]
    Bytes(usize),
    #[error(
        "the environments, the arguments and the names of files of all computations there would take more than {}: \
         wait until others are done, or have fewer files travel", amount(*.0 as u64)
    )]
    InAll(usize),
}

impl Quota {
    /// Whether one more may be kept, where these are already.
    ///
    /// # Errors
    /// What there is too much of.
    pub(crate) fn admit(&self, new: Kept, there: impl Iterator<Item = Kept>) -> Result<(), Spent> {
        let (mut computations, mut bytes, mut in_all) = (1, new.bytes, new.bytes);
        for kept in there {
            in_all += kept.bytes;
            if kept.sender == new.sender {
                computations += 1;
                bytes += kept.bytes;
            }
        }
        if computations > self.computations {
            return Err(Spent::Computations(self.computations));
        }
        if bytes > self.bytes {
            return Err(Spent::Bytes(self.bytes));
        }
        if in_all > self.in_all {
            return Err(Spent::InAll(self.in_all));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_no_more_than_it_may_and_all_have_no_more_than_they_may() {
        let quota = Quota {
            computations: 3,
            bytes: 10,
            in_all: 15,
        };
        let kept = |sender, bytes| Kept {
            sender: Some(NodeId(sender)),
            bytes,
        };
        let admit = |new, there: &[Kept]| quota.admit(new, there.iter().copied());
        assert_eq!(admit(kept(1, 10), &[]), Ok(()));
        assert_eq!(admit(kept(1, 11), &[]), Err(Spent::Bytes(10)));
        let two = [kept(1, 4), kept(1, 4)];
        assert_eq!(admit(kept(1, 2), &two), Ok(()));
        assert_eq!(admit(kept(1, 3), &two), Err(Spent::Bytes(10)));
        assert_eq!(admit(kept(2, 7), &two), Ok(()));
        assert_eq!(admit(kept(2, 8), &two), Err(Spent::InAll(15)));
        let three = [kept(1, 1), kept(2, 1), kept(1, 1), kept(1, 1)];
        assert_eq!(admit(kept(1, 0), &three), Err(Spent::Computations(3)));
        assert_eq!(admit(kept(2, 1), &three), Ok(()));
    }
}
