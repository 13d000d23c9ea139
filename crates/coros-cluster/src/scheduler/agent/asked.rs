//! What somebody has asked of a tenant, and waits for.

use tokio::sync::oneshot;

use super::super::{JobError, Target};

pub(super) enum Asked {
    Targets(oneshot::Sender<Vec<Target>>),
    Control(Target, oneshot::Sender<Result<(), JobError>>),
}

impl Asked {
    /// There is no node.
    pub(super) fn answer_nothing(self) {
        match self {
            // Who has asked may have gone away.
            Asked::Targets(reply) => drop(reply.send(Vec::new())),
            Asked::Control(target, reply) => {
                drop(reply.send(Err(JobError::no_target(target, &[]))));
            }
        }
    }
}
