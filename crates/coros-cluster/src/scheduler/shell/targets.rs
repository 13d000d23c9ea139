//! Which nodes and workers calls can be sent to by name.

use super::super::JobError;
use super::super::core::Place;
use super::super::target::{HERE, Kind, Target};
use super::Shell;

impl Shell {
    /// Those that take calls, in the order in which they came.
    pub(super) fn targets(&self, kind: Kind) -> Vec<(Target, Place)> {
        match kind {
            Kind::Node => {
                let ready = self.hosts.iter().filter(|(_, host)| host.takes_calls());
                let name = |host: &super::Host| Target::node(host.name().unwrap_or(HERE));
                ready
                    .map(|(id, host)| (name(host), Place::Host(*id)))
                    .collect()
            }
            Kind::Worker => {
                let takes_calls = |it: &super::Worker| it.control.is_some() && !it.retiring;
                let ready = self.workers.iter().filter(|(_, it)| takes_calls(it));
                let mut ready: Vec<_> = ready.map(|(id, it)| (*id, &it.name)).collect();
                ready.sort_unstable();
                let target = |(id, name): (_, &std::sync::Arc<str>)| {
                    (
                        Target::worker(std::sync::Arc::clone(name)),
                        Place::Worker(id),
                    )
                };
                ready.into_iter().map(target).collect()
            }
        }
    }

    /// Where that is.
    pub(super) fn place(&self, target: Option<&Target>) -> Result<Place, JobError> {
        let Some(target) = target else {
            return Ok(Place::Anywhere);
        };
        let all = self.targets(target.kind());
        let found = all.iter().find(|(name, _)| name == target);
        found
            .map(|(_, place)| *place)
            .ok_or_else(|| JobError::NoTarget {
                target: target.clone(),
                there: all.iter().map(|(name, _)| name.name().into()).collect(),
            })
    }
}
