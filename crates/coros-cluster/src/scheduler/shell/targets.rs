//! Which nodes and workers calls can be sent to by name.

use super::super::core::Place;
use super::super::target::{HERE, Kind, Target};
use super::super::{Action, JobError};
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

    /// Does something with a node or a worker.
    pub(super) fn control(&mut self, target: &Target, action: Action) -> Result<(), JobError> {
        match (self.place(Some(target))?, action) {
            (Place::Host(host), Action::Suspend) => self.hold(host, true),
            (Place::Host(host), Action::Resume) => self.hold(host, false),
            (Place::Host(host), Action::Close) if self.is_remote(host) => self.close_node(host),
            (Place::Host(_), Action::Close) => {
                return Err(JobError::WrongTarget {
                    target: target.clone(),
                    why: "is closed with its scheduler".to_owned(),
                });
            }
            (Place::Worker(worker), Action::Restart) => self.retire(worker),
            // A client elsewhere may say anything.
            _ => action.fits(target)?,
        }
        Ok(())
    }

    fn no_target(&self, target: &Target) -> JobError {
        let there = self.targets(target.kind());
        let there: Vec<_> = there.iter().map(|(it, _)| it.name().into()).collect();
        JobError::no_target(target.clone(), &there)
    }

    /// Where that is.
    pub(super) fn place(&self, target: Option<&Target>) -> Result<Place, JobError> {
        let Some(target) = target else {
            return Ok(Place::Anywhere);
        };
        let all = self.targets(target.kind());
        let found = all.iter().find(|(name, _)| name == target);
        let place = found.map(|(_, place)| *place);
        place.ok_or_else(|| self.no_target(target))
    }
}
