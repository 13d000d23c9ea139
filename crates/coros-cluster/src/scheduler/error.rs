//! What can go wrong with a scheduler and its calls.

use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::CodecError;
use serde::{Deserialize, Serialize};

use super::Target;
use crate::process::last_words;
use crate::resources::Resources;

/// Why a call has no value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The function returned an error: its text.
    #[error("{0}")]
    Failed(String),
    /// The function panicked: the text of the panic.
    #[error("the function panicked: {0}")]
    Panicked(String),
    /// The worker was lost each time the call ran.
    #[error("given up, because its worker was lost {}{reason}", times(*losses))]
    Abandoned {
        /// How many workers were lost while they ran it.
        losses: u32,
        /// How the last one ended, with the last lines of its standard error.
        reason: String,
    },
    /// The worker could not run the function, or its arguments or its result could not be sent,
    /// as when they take more than 16 MiB: why.
    #[error("{0}")]
    Refused(String),
    /// The call ran for longer than its [time limit](crate::Call::time_limit), which was this.
    #[error("it ran for longer than its time limit of {0:?}")]
    TimedOut(Duration),
    /// No machine has so much as the call needs.
    #[error("it needs {0}, and no machine has so much")]
    NoRoom(Resources),
    /// The node or the worker where the call [had to run](crate::Call::at) is gone.
    #[error("{0}, where it had to run, is gone")]
    TargetLost(Target),
    /// There is no such node or worker.
    #[error("there is no {target}{}", others(.there, *.more))]
    NoTarget {
        /// Where the call had to run.
        target: Target,
        /// The names of those that there are: the first 32 of them.
        there: Vec<Arc<str>>,
        /// How many more there are.
        more: usize,
    },
    /// That cannot be done with a node, or with a worker.
    #[error("{target} {why}")]
    WrongTarget {
        /// With what it was to be done.
        target: Target,
        /// Why not.
        why: String,
    },
    /// The call was cancelled.
    #[error("the call was cancelled")]
    Cancelled,
    /// The scheduler was closed before the call ended.
    #[error("the scheduler was closed")]
    Closed,
    /// No worker can be started any more: why.
    #[error("there are no workers: {0}")]
    NoWorkers(String),
    /// The arguments or the result cannot travel.
    // Found out where it is wanted, so it never travels itself. The last, because those after one that is
    // skipped are taken for others.
    #[error(transparent)]
    #[serde(skip)]
    Codec(CodecError),
}

/// So many names of others are told.
const TOLD: usize = 32;

impl JobError {
    /// There is no such node or worker, but these.
    pub(crate) fn no_target(target: Target, there: &[Arc<str>]) -> Self {
        JobError::NoTarget {
            target,
            there: there.iter().take(TOLD).cloned().collect(),
            more: there.len().saturating_sub(TOLD),
        }
    }
}

fn others(there: &[Arc<str>], more: usize) -> String {
    match (there, more) {
        ([], _) => ", nor any other".to_owned(),
        (there, 0) => format!("; there are: {}", there.join(", ")),
        (there, more) => format!("; there are: {}, and {more} more", there.join(", ")),
    }
}

/// Why a scheduler could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// This program did not enter in a way that would let it become a worker, or guard one.
    #[error(
        "this program cannot start workers: put #[coros::main] on its `async fn main`, \
         or call coros::cluster::worker::enter() first thing in `main`"
    )]
    NoEntry,
    /// The node could not be started.
    #[error("cannot start a node: {0}")]
    Node(String),
    /// What workers are to log is no filter: why.
    #[error("the filter for what workers log makes no sense: {0}")]
    LogFilter(String),
    /// A file that is to travel with the program cannot: which, and why.
    #[error("{0}")]
    Depends(String),
    /// Workers cannot be given an environment variable, or an argument: which, and why.
    #[error("{0}")]
    Given(String),
    /// There can be no folder for what workers share.
    #[error("cannot make a folder for what workers share: {0}")]
    Shared(std::io::Error),
    /// Workers do not start: how the last one ended, with the last lines of its standard error.
    #[error("no worker could be started: {0}")]
    NoWorkers(String),
}

/// Workers that did not end when told to and had to be killed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("killed workers that did not end within their grace period: {}", .killed.join(", "))]
pub struct CloseError {
    /// Their names.
    pub killed: Vec<Arc<str>>,
}

/// How often workers were lost, before why the last one was.
fn times(losses: u32) -> String {
    match losses {
        1 => "once: ".into(),
        n => format!("{n} times; the last was "),
    }
}

/// How a worker ended, in one text.
pub(super) fn end_of(name: &str, why: &str, lines: &[String]) -> String {
    format!("worker {name}, {why}{}", last_words(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_is_no_plural() {
        let lost = |losses| {
            let reason = "worker w1, gone".into();
            JobError::Abandoned { losses, reason }.to_string()
        };
        assert!(lost(1).ends_with("was lost once: worker w1, gone"));
        assert!(lost(2).ends_with("was lost 2 times; the last was worker w1, gone"));
    }

    #[test]
    fn where_there_is_nobody_nobody_is_listed() {
        let error = JobError::no_target(Target::node("vm"), &[]);
        assert_eq!(error.to_string(), "there is no node vm, nor any other");
    }

    #[test]
    fn of_many_others_some_are_told() {
        let there: Vec<_> = (0..40).map(|n| Arc::from(format!("w{n}"))).collect();
        let text = JobError::no_target(Target::worker("w77"), &there).to_string();
        assert!(text.ends_with("w30, w31, and 8 more"), "{text}");
        let text = JobError::no_target(Target::worker("w77"), &there[..32]).to_string();
        assert!(text.ends_with("w30, w31"), "{text}");
    }

    #[test]
    fn errors_arrive_as_they_are() {
        let target = Target::node("farm-1");
        let all = [
            JobError::Failed("a".into()),
            JobError::Panicked("b".into()),
            JobError::Abandoned {
                losses: 2,
                reason: "c".into(),
            },
            JobError::Refused("d".into()),
            JobError::TimedOut(Duration::from_secs(1)),
            JobError::NoRoom(Resources::cpus(2).named("gpu", 1)),
            JobError::TargetLost(target.clone()),
            JobError::NoTarget {
                target: target.clone(),
                there: vec!["e".into()],
                more: 1,
            },
            JobError::WrongTarget {
                target,
                why: "cannot be".into(),
            },
            JobError::Cancelled,
            JobError::Closed,
            JobError::NoWorkers("f".into()),
        ];
        for error in all {
            let bytes = postcard::to_stdvec(&error).unwrap();
            assert_eq!(postcard::from_bytes::<JobError>(&bytes), Ok(error));
        }
    }
}
