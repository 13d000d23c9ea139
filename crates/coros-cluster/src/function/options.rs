//! What a call asks for.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Call;
use crate::Target;
use crate::resources::Resources;
use crate::scheduler::core;

/// What has been said of a call. Most say nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Options {
    pub(crate) core: core::Options,
    pub(crate) limit: Option<Duration>,
    /// Where it has to run.
    pub(crate) target: Option<Target>,
}

impl Options {
    /// How many bytes the names in it take.
    pub(crate) fn bytes(&self) -> usize {
        let target = self.target.as_ref().map_or(0, |it| it.name().len());
        target + self.core.needs.bytes()
    }
}

/// How a scheduler is to run the call. [`here`](Call::here) takes no notice of it.
///
/// ```
/// # use coros_cluster::{Call, Resources};
/// # use std::time::Duration;
/// # fn f(render: Call<u32>, fetch: Call<u32>) {
/// let render = render.cpus(2).memory(1 << 30).time_limit(Duration::from_secs(60));
/// let fetch = fetch.io().priority(1);
/// # }
/// ```
impl<R> Call<R> {
    /// It takes so many cores while it runs: 1 unless told otherwise. The call runs in one
    /// worker; it may have so many threads there, and as many fewer other calls run beside it.
    ///
    /// # Panics
    /// When it is 0.
    pub fn cpus(mut self, n: u32) -> Self {
        assert!(
            n > 0,
            "a call takes at least one core; see `io` for one that waits"
        );
        self.options().core.needs.set_cores(n);
        self
    }

    /// It takes so much memory, in bytes: what all calls that run on a machine at a time take is
    /// never more than there is, on a node with those of its other clients. Where these have what it takes, it waits at
    /// the node for its turn, and its slot with it; calls that come later do not get what it waits for. Nothing keeps the
    /// call from taking more.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.options().core.needs.set_memory(bytes);
        self
    }

    /// It takes so many of what a machine has by this name, such as `gpu`, as of [memory](Self::memory). A node says
    /// [what it has](crate::daemon::DaemonBuilder::resources), a scheduler of this machine is told by
    /// [`SchedulerBuilder::resource`](crate::SchedulerBuilder::resource). Which of them the call uses is not said.
    pub fn resource(mut self, name: impl Into<Arc<str>>, n: u64) -> Self {
        self.options().core.needs.set_named(name.into(), n);
        self
    }

    /// It needs all of this, in place of what it has been told to need so far.
    pub fn needs(mut self, needs: Resources) -> Self {
        self.options().core.needs = needs;
        self
    }

    /// It runs there and nowhere else: it waits for its turn there, and ends with
    /// [`JobError::NoTarget`](crate::JobError::NoTarget) if there is no such node or worker, or
    /// [`JobError::TargetLost`](crate::JobError::TargetLost) when that is gone.
    pub fn at(mut self, target: Target) -> Self {
        self.options().target = Some(target);
        self
    }

    /// Calls of a higher priority start first, those of the same in the order submitted: 0 unless
    /// told otherwise. What has begun goes on.
    pub fn priority(mut self, priority: i32) -> Self {
        self.options().core.priority = priority;
        self
    }

    /// The call may run for so long, from its begin; then it ends with
    /// [`JobError::TimedOut`](crate::JobError::TimedOut), and does not run again. It counts anew
    /// when the call runs again because its worker was lost.
    ///
    /// An async function is dropped at its next await point. For a function that computes, and an
    /// async one that gets to no await point within a second, its worker is killed with all
    /// that it has started; other calls that were there run again elsewhere. A function that is
    /// not async and runs as [`io`](Call::io) call goes on to its end, whose value nobody gets.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.options().limit = Some(limit);
        self
    }

    /// How often the call runs again when its worker was lost, whatever
    /// [`SchedulerBuilder::retries`](crate::SchedulerBuilder::retries) says, which tells what counts. With 0 it runs at
    /// most once.
    pub fn retries(mut self, n: u32) -> Self {
        self.options().core.retries = Some(n);
        self
    }

    /// The call mostly waits: for the network, for a timer, for messages. Any number of such calls
    /// share one worker, beside the call that computes there, and what they
    /// [need](Call::cpus) is not counted.
    ///
    /// Async functions that run so share one thread, so they must not compute for long between two
    /// await points. A function that is not async gets a thread of its own, of which a worker has
    /// 512 at most; it cannot be dropped, so cancelling it only means that nobody gets its value.
    pub fn io(mut self) -> Self {
        self.options().core.io = true;
        self
    }

    fn options(&mut self) -> &mut Options {
        Arc::make_mut(self.options.get_or_insert_default())
    }
}
