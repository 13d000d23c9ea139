//! Calls on their way from a client to a service, and the scheduler that runs them there.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coros_core::{Address, Context};
use coros_net::{Authority, Location, Node};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::builder::Stderr;
use super::core::CallId;
use super::finder;
use super::job::{Completed, ReplyTo};
use super::judge::Asks;
use super::listeners::{Aside, Listeners};
use super::plan::{Plan, Usage};
use super::shell::{Cluster, Settings, Shell, Workers};
use super::{Item, JobError, Submission};
use crate::blob::Blob;
use crate::computation::Cargo;
use crate::function::Options;
use crate::protocol::{TOO_LARGE, ToScheduler};

/// A call as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RemoteCall {
    call: CallId,
    function: Cow<'static, str>,
    args: Blob,
    options: Option<Arc<Options>>,
}

/// What a call takes besides all that it says.
const EACH: usize = 512;

/// Its end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) call: CallId,
    pub(super) completed: Completed,
}

/// Where the ends of calls are told: which, and how.
pub(crate) type Ends = mpsc::UnboundedSender<(usize, Completed)>;

impl RemoteCall {
    #[cfg(test)]
    pub(crate) fn sample(call: u64, bytes: usize) -> Self {
        RemoteCall {
            call: CallId(call),
            function: "a function".into(),
            args: vec![0; bytes].into(),
            options: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn named(self, function: String) -> Self {
        RemoteCall {
            function: function.into(),
            ..self
        }
    }

    pub(super) fn of(call: CallId, item: &Item) -> Self {
        RemoteCall {
            call,
            function: item.function.clone(),
            args: item.args.clone(),
            options: item.options.clone(),
        }
    }

    pub(crate) fn call(&self) -> CallId {
        self.call
    }

    pub(crate) fn bytes(&self) -> usize {
        bytes(&self.function, &self.args, self.options.as_deref())
    }

    /// How many bytes its names take: those of its function, of where it runs, and of what it needs.
    pub(crate) fn names(&self) -> usize {
        self.function.len() + self.options.as_deref().map_or(0, Options::bytes)
    }

    fn index(&self) -> usize {
        usize::try_from(self.call.0).unwrap_or(usize::MAX)
    }

    /// Ends it without running it.
    pub(crate) fn refuse(&self, why: String, ends: &Ends) {
        let refused = Completed::without_worker(JobError::Refused(why));
        // Who ends has no use for it.
        let _ = ends.send((self.index(), refused));
    }

    pub(crate) fn submission(self, ends: &Ends) -> Submission {
        let index = self.index();
        Submission {
            call: self.call,
            item: Item {
                function: self.function,
                args: self.args,
                reply: ReplyTo::map(ends.clone(), index),
                options: self.options,
                submitted: Instant::now(),
                begun: None,
            },
        }
    }
}

impl Item {
    /// How many it takes on its way, and there.
    pub(super) fn bytes(&self) -> usize {
        bytes(&self.function, &self.args, self.options.as_deref())
    }
}

/// How many bytes a call takes, about.
fn bytes(function: &str, args: &Blob, options: Option<&Options>) -> usize {
    EACH + function.len() + args.0.len() + options.map_or(0, Options::bytes)
}

impl Ended {
    pub(crate) fn new((index, completed): (usize, Completed)) -> Self {
        Ended {
            call: CallId(index as u64),
            completed,
        }
    }

    /// Whether it has not ended but been left, by a scheduler that is closed or has ended.
    pub(crate) fn is_left(&self) -> bool {
        self.completed.result == Err(JobError::Closed)
    }

    /// In place of one that is too large for a message.
    pub(crate) fn refused(self) -> Self {
        let why = format!("the result cannot be sent on{TOO_LARGE}");
        let result = Err(JobError::Refused(why));
        let completed = Completed {
            result,
            ..self.completed
        };
        Ended { completed, ..self }
    }
}

/// A scheduler for a client that is elsewhere.
pub(crate) struct Deputy {
    /// This process on the network of the workers.
    pub(crate) own: Node,
    pub(crate) authority: Authority,
    /// This process on the network of the daemons.
    pub(crate) node: Node,
    /// The client on the network of the workers.
    pub(crate) client: Location,
    pub(crate) plan: Plan,
    pub(crate) usage: Usage,
    pub(crate) cargo: Cargo,
    pub(crate) asks: Asks,
    pub(crate) stderr: Stderr,
    /// Hears what happens besides those who have asked for it.
    pub(crate) hears: Aside,
    /// How long it may take to end when it is terminated, whatever the client says.
    pub(crate) grace: Duration,
}

impl Deputy {
    /// Starts it; the second value resolves as [`start`](super::SchedulerBuilder::start) does.
    pub(crate) fn start(self) -> (Address<ToScheduler>, oneshot::Receiver<Result<(), String>>) {
        let (started, has_started) = oneshot::channel();
        let coroutine = coros_core::build()
            .name("scheduler of a client")
            .daemon()
            .grace(self.plan.ending().min(self.grace));
        let cluster = Cluster {
            node: self.node,
            usage: self.usage,
            cargo: Arc::new(self.cargo),
            asks: self.asks,
        };
        let (node, listeners) = (self.own, Listeners::aside(self.hears));
        let run = move |me: Context<_>| {
            let finder = finder::start_for(cluster.node.clone(), me.address());
            let settings = Settings {
                plan: self.plan,
                workers: Workers::At(cluster, finder),
                stderr: self.stderr,
                authority: self.authority,
                client: Some(self.client),
            };
            Shell::new(&me, node, settings, listeners, started).run(me)
        };
        (coroutine.spawn(run).address(), has_started)
    }
}
