//! The shell's workers: their processes, and the messages to them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use coros_core::remote::{CodecError, NodeId};
use coros_core::{Address, SendError};

use super::super::core::{self, CallId, HostId, Outcome, WorkerId};
use super::super::error::end_of;
use super::super::pool::{self, Purpose};
use super::super::{Command, Event};
use super::claims::Claim;
use super::{Phase, Report, Shell};
use crate::blob::Blob;
use crate::daemon::protocol::ToDesk;
use crate::placement::NodeView;
use crate::process::{End, Launcher, Place, Process};
use crate::protocol::{CallResult, Handover, Run, TOO_LARGE, ToScheduler, ToWorker, to_frame};

/// The longest name that a node may have.
const LONGEST_NAME: usize = 64;

/// A worker as the shell knows it.
pub(super) struct Worker {
    pub(super) host: HostId,
    pub(super) name: Arc<str>,
    /// None if it could not be started.
    pub(super) node: Option<NodeId>,
    pub(super) process: Option<Running>,
    /// The number of that; 0 until it is ready.
    pub(super) pid: u32,
    /// It gets no more calls, and ends when it has none left.
    pub(super) retiring: bool,
    /// It begins nothing for the time being.
    pub(super) suspended: bool,
    /// It ends, when it has torn down what was set up in it.
    pub(super) told_goodbye: bool,
    /// Why it could not be prepared.
    pub(super) failure: Option<String>,
    pub(super) control: Option<Address<ToWorker>>,
    /// Calls that go out with the next message.
    pub(super) batch: Vec<Run>,
    pub(super) batch_bytes: usize,
    /// The function of the last of them.
    batch_function: Cow<'static, str>,
    /// What its call takes of its node besides its slot, if it does.
    pub(super) claim: Option<Claim>,
    /// Messages for which the link has no room at present.
    pub(super) stalled: VecDeque<ToWorker>,
    /// How it ended.
    pub(super) end: String,
    pub(super) last_words: Vec<String>,
}

impl Worker {
    fn new(host: HostId, name: Arc<str>, node: Option<NodeId>, process: Option<Running>) -> Self {
        Worker {
            host,
            name,
            node,
            process,
            pid: 0,
            control: None,
            retiring: false,
            suspended: false,
            told_goodbye: false,
            failure: None,
            batch: Vec::new(),
            batch_bytes: 0,
            batch_function: Cow::default(),
            claim: None,
            stalled: VecDeque::new(),
            end: String::new(),
            last_words: Vec::new(),
        }
    }

    /// Whether it is ready, and not about to end.
    pub(super) fn takes_calls(&self) -> bool {
        self.control.is_some() && !self.retiring
    }

    /// Names the function of a call that joins the batch, unless it is that of the last one.
    #[expect(clippy::ptr_arg, reason = "a borrowed name is cloned as what it is")]
    pub(super) fn batch_names(
        &mut self,
        function: &Cow<'static, str>,
    ) -> Option<Cow<'static, str>> {
        if !self.batch.is_empty() && self.batch_function == *function {
            return None;
        }
        self.batch_function.clone_from(function);
        Some(function.clone())
    }

    /// Takes out a call for which the link has had no room: whether it was there.
    fn take_back(&mut self, call: CallId, attempt: u32) -> bool {
        let is_it = |run: &Run| (run.call, run.attempt) == (call, attempt);
        for (n, message) in self.stalled.iter_mut().enumerate() {
            let ToWorker::Run(batch) = message else {
                continue;
            };
            let Some(place) = batch.iter().position(is_it) else {
                continue;
            };
            let taken = batch.remove(place);
            // The next one may have relied on it.
            if let Some(next) = batch.get_mut(place) {
                next.function = next.function.take().or(taken.function);
            }
            if batch.is_empty() {
                self.stalled.remove(n);
            }
            return true;
        }
        false
    }
}

/// A worker's process.
#[derive(Debug)]
pub(super) enum Running {
    /// A child of this one. Killed when dropped.
    Here(Process),
    /// One of a node.
    There,
}

impl Worker {
    /// That it is ready, and suspended if it is, for whoever begins to listen.
    pub(super) fn so_far(&self, node: &Arc<NodeView>) -> impl Iterator<Item = Event> {
        let suspended = self.suspended.then(|| self.is_suspended(node));
        std::iter::once(self.is_ready(node)).chain(suspended)
    }

    pub(super) fn is_ready(&self, node: &Arc<NodeView>) -> Event {
        Event::WorkerReady {
            name: Arc::clone(&self.name),
            pid: self.pid,
            node: Arc::clone(node),
        }
    }

    /// Whether it begins calls, as that is told.
    fn is_suspended(&self, node: &Arc<NodeView>) -> Event {
        let (name, pid, node) = (Arc::clone(&self.name), self.pid, Arc::clone(node));
        match self.suspended {
            true => Event::WorkerSuspended { name, pid, node },
            false => Event::WorkerResumed { name, pid, node },
        }
    }
}

impl Shell {
    /// Has a worker begin nothing for the time being, or go on.
    pub(super) fn suspend_worker(&mut self, id: WorkerId, suspended: bool) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut worker.suspended, suspended) == suspended {
            return;
        }
        let event = self.workers[&id].is_suspended(&self.node_at(self.workers[&id].host));
        self.emit(&event);
        self.tell_core(core::Input::Suspend {
            worker: id,
            suspended,
        });
        if suspended {
            self.has_none_wait(id);
        }
    }

    pub(super) fn flush(&mut self) {
        let filled = self
            .workers
            .iter()
            .filter(|(_, worker)| !worker.batch.is_empty());
        let filled: Vec<_> = filled.map(|(id, _)| *id).collect();
        for id in filled {
            self.flush_worker(id);
        }
    }

    pub(super) fn flush_worker(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id)
            && !worker.batch.is_empty()
        {
            worker.batch_bytes = 0;
            let batch = std::mem::take(&mut worker.batch);
            self.send(id, ToWorker::Run(batch));
        }
    }

    pub(super) fn send(&mut self, id: WorkerId, message: ToWorker) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        if !worker.stalled.is_empty() {
            worker.stalled.push_back(message);
            return;
        }
        let Some(control) = &worker.control else {
            return;
        };
        match control.send(message) {
            Err(SendError::Full(message)) => worker.stalled.push_front(message),
            Err(SendError::Codec(ToWorker::Run(batch), why)) => self.refuse(id, batch, &why),
            // When the link is down, the monitor tells.
            Ok(()) | Err(_) => {}
        }
    }

    /// Calls that are too large for a message: each is alone in its batch, since calls go
    /// together only as long as they are small.
    fn refuse(&mut self, worker: WorkerId, batch: Vec<Run>, why: &CodecError) {
        for Run { call, attempt, .. } in batch {
            let result =
                CallResult::Refused(format!("the arguments cannot be sent: {why}{TOO_LARGE}"));
            let result = Report { result, ran: None };
            self.tell_core(core::Input::Done {
                worker,
                call,
                attempt,
                result,
            });
        }
        self.nudge();
    }

    /// Takes back a call that nobody wants any more, if it has not gone to its worker, which may read nothing for long:
    /// whether it is back.
    pub(super) fn take_back(&mut self, id: WorkerId, call: CallId, attempt: u32) -> bool {
        let worker = self.workers.get_mut(&id);
        if !worker.is_some_and(|it| it.take_back(call, attempt))
            && !self.gives_up_claim(id, call, attempt)
        {
            return false;
        }
        self.tell_core(core::Input::Returned {
            worker: id,
            call,
            attempt,
        });
        self.nudge();
        true
    }

    /// Has what the core was told while its outputs were acted upon be done in the next round, which must come.
    fn nudge(&self) {
        let nudge = Command::Submit(Vec::new());
        let _ = self.address.send(ToScheduler::Command(nudge));
    }

    /// Tries again to send what a link had no room for.
    pub(super) fn unstall(&mut self) {
        let stalled = self
            .workers
            .iter()
            .filter(|(_, worker)| !worker.stalled.is_empty());
        let stalled: Vec<_> = stalled.map(|(id, _)| *id).collect();
        for id in stalled {
            let messages = self
                .workers
                .get_mut(&id)
                .map(|it| std::mem::take(&mut it.stalled));
            for message in messages.unwrap_or_default() {
                self.send(id, message);
            }
        }
    }

    pub(super) fn tell_pool(&mut self, id: HostId, input: pool::Input) {
        let Some(host) = self.hosts.get_mut(&id) else {
            return;
        };
        let mut out = Vec::new();
        host.pool.handle(Instant::now(), input, &mut out);
        for output in out {
            self.act_for_pool(id, output);
        }
        self.settle(id);
    }

    /// Tells the pool of a worker.
    pub(super) fn tell_pool_of(&mut self, worker: WorkerId, input: pool::Input) {
        if let Some(worker) = self.workers.get(&worker) {
            self.tell_pool(worker.host, input);
        }
    }

    pub(super) fn ended(&mut self, id: WorkerId, end: End) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.last_words = end.last_words;
        }
        let ended = pool::Input::Ended {
            worker: id,
            why: end.why,
            hit: end.hit,
            killed: end.killed,
            busy: self.core.is_busy(id),
        };
        self.tell_pool_of(id, ended);
    }

    fn act_for_pool(&mut self, host: HostId, output: pool::Output) {
        match output {
            pool::Output::Launch { worker, purpose } => self.launch(host, worker, purpose),
            pool::Output::Kill { worker } => self.kill(worker),
            pool::Output::Goodbye { worker, tidies_up } => {
                self.flush_worker(worker);
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.told_goodbye = true;
                }
                let tear_down_node = tidies_up;
                self.send(worker, ToWorker::Goodbye { tear_down_node });
            }
            pool::Output::Lost { worker, why } => self.lost(worker, &why),
            pool::Output::Failed { worker, why } => self.failed(worker, &why),
            pool::Output::Retired { worker } => self.retired(worker),
            pool::Output::TidyUpFailed { worker, why } => self.tidy_up_failed(worker, &why),
            pool::Output::GiveUp => self.give_up(host),
            pool::Output::Closed { killed } => self.pool_closed(host, killed),
        }
    }

    fn kill(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        match &mut worker.process {
            Some(Running::Here(process)) => process.kill(),
            Some(Running::There) => {
                let host = worker.host;
                self.order(host, ToDesk::Kill(id));
            }
            None => {}
        }
    }

    fn launch(&mut self, host: HostId, id: WorkerId, purpose: Purpose) {
        let name = self.name_at(host, id);
        let process = self
            .handover(host, id, &name, purpose)
            .and_then(|(node, handover)| {
                let process = self.start_process(host, id, &name, handover, purpose)?;
                Ok((node, process))
            });
        let (node, process, why) = match process {
            Ok((node, process)) => (Some(node), Some(process), None),
            Err(why) => (None, None, Some(why)),
        };
        let worker = Worker::new(host, name, node, process);
        self.workers.insert(id, worker);
        if let Some(why) = why {
            let end = End::never_began(why);
            let command = Command::Ended { worker: id, end };
            let _ = self.address.send(ToScheduler::Command(command));
        }
    }

    fn start_process(
        &mut self,
        host: HostId,
        id: WorkerId,
        name: &Arc<str>,
        handover: Vec<u8>,
        purpose: Purpose,
    ) -> Result<Running, String> {
        let remote = self.hosts.get(&host).and_then(|it| it.remote.as_ref());
        if let Some(remote) = remote {
            if remote.gone {
                return Err("its node is gone".into());
            }
            let launch = ToDesk::Launch {
                worker: id,
                name: name.to_string(),
                handover: handover.into(),
                prepared: purpose != Purpose::Prepare && self.hosts[&host].is_prepared(),
            };
            self.order(host, launch);
            return Ok(Running::There);
        }
        let Some(here) = &self.here else {
            return Err("this machine is not for workers".into());
        };
        let (printer, full_name) = (self.printer.clone(), Arc::clone(name));
        let launcher = Launcher {
            program: here.path.clone(),
            stderr: Arc::new(move |_, line| {
                let (printer, name, line) =
                    (printer.clone(), Arc::clone(&full_name), line.to_owned());
                Box::pin(async move { printer.print(name, line).await })
            }),
            place: Place::Here(here.start.clone()),
        };
        let address = self.address.clone();
        let ended = move |end| {
            let command = Command::Ended { worker: id, end };
            let _ = address.send(ToScheduler::Command(command));
        };
        let process = launcher.launch(name, handover, ended);
        let cannot = |error| format!("{} cannot be started: {error}", here.path.display());
        process.map(Running::Here).map_err(cannot)
    }

    /// What the worker reads from its standard input: the length, then the encoded handover.
    fn handover(
        &self,
        host: HostId,
        worker: WorkerId,
        name: &str,
        purpose: Purpose,
    ) -> Result<(NodeId, Vec<u8>), String> {
        let credentials = self
            .authority
            .issue(name)
            .map_err(|error| cannot_join(&error))?;
        let scheduler = self
            .node
            .encode(&self.address)
            .map_err(|error| cannot_join(&error))?;
        let node = credentials.node();
        let (home, listen) = self.hosts[&host].ways(self.node.location());
        let handover = Handover {
            credentials,
            home,
            client: self.client.clone(),
            listen,
            files: self.plan.files.clone(),
            shared: self.shared_at(host),
            purpose,
            duties: self.hosts[&host].duties(purpose),
            scheduler: Blob::from(scheduler),
            worker,
            link_limit: self.plan.start_limit,
            heartbeat: self.plan.silence / 2,
            log: self.plan.log.clone(),
        };
        let bytes = to_frame(&handover).map_err(|error| cannot_join(&error))?;
        Ok((node, bytes))
    }

    fn lost(&mut self, id: WorkerId, why: &str) {
        if let Some(worker) = self.workers.get_mut(&id) {
            // What it was about to be sent is in flight for the core.
            worker.batch.clear();
            why.clone_into(&mut worker.end);
        }
        // It has not begun.
        if let Some((call, attempt)) = self.waits_for_claim(id) {
            self.tell_core(core::Input::Returned {
                worker: id,
                call,
                attempt,
            });
        }
        let closing = matches!(self.phase, Phase::Closing);
        let retired = self.workers.get(&id).is_some_and(|it| it.retiring);
        let mut out = Vec::new();
        self.core
            .handle(core::Input::WorkerLost { worker: id }, &mut out);
        self.begun_at_lost(&self.name(id), &mut out);
        let (mut jobs, mut waited, mut given_up) = (0, 0, 0);
        for output in &out {
            match output {
                core::Output::Retry { call, ran, .. } if self.had_begun(*call, *ran) => jobs += 1,
                core::Output::Retry { .. } => waited += 1,
                core::Output::Finished {
                    outcome: Outcome::Abandoned { .. },
                    ..
                } => given_up += 1,
                _ => {}
            }
        }
        if let Some(worker) = self.workers.get(&id) {
            let (name, pid) = (Arc::clone(&worker.name), worker.pid);
            let node = self.node_at(worker.host);
            self.emit(&if closing || retired {
                Event::WorkerClosed { name, pid, node }
            } else {
                Event::WorkerLost {
                    name,
                    pid,
                    node,
                    reason: why.to_owned(),
                    jobs,
                    waited,
                    given_up,
                }
            });
        }
        self.todo.append(&mut out);
        self.act();
        self.workers.remove(&id);
    }

    fn retired(&mut self, id: WorkerId) {
        match self.workers.get(&id) {
            // One that never was ready has no calls, and nobody has heard of it.
            Some(worker) if worker.control.is_none() => drop(self.workers.remove(&id)),
            _ => self.lost(id, "it was not needed any more"),
        }
    }

    fn tidy_up_failed(&mut self, id: WorkerId, why: &str) {
        if let Some(worker) = self.workers.remove(&id) {
            // Of one at a node that is gone that was told.
            if self.remote(worker.host).is_some_and(|it| it.undone) {
                return;
            }
            let end = end_of(&worker.name, why, &worker.last_words);
            let reason = format!("the teardown of its node failed: {end}");
            let node = self.node_at(worker.host);
            let name = worker.name;
            self.emit(&Event::TearDownFailed { name, node, reason });
        }
    }

    fn failed(&mut self, id: WorkerId, why: &str) {
        let worker = self.workers.remove(&id);
        if let (Some(worker), Phase::Open) = (worker, &self.phase) {
            let reason = match &worker.failure {
                Some(failure) => format!("worker {}: {failure}", worker.name),
                None => end_of(&worker.name, why, &worker.last_words),
            };
            self.last_failure.clone_from(&reason);
            self.emit(&Event::WorkerFailed {
                node: self.node_at(worker.host),
                name: worker.name,
                reason,
            });
        }
    }
}

fn cannot_join(why: &dyn std::fmt::Display) -> String {
    format!("it cannot join: {why}")
}

pub(super) fn name_of(worker: WorkerId) -> Arc<str> {
    format!("w{}", worker.0).into()
}

/// The name of a worker of a node, as `w3@farm-1`.
pub(in super::super) fn full_name(worker: WorkerId, node: &str) -> Arc<str> {
    let name = name_of(worker);
    let full = format!("{name}@{node}");
    match full.len() <= LONGEST_NAME {
        true => full.into(),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(call: u64, function: Option<&'static str>) -> Run {
        Run {
            call: CallId(call),
            attempt: 1,
            function: function.map(Cow::Borrowed),
            args: Vec::new().into(),
            priority: 0,
            io: true,
            limit: None,
            watched: false,
        }
    }

    #[test]
    fn what_is_taken_back_leaves_its_name_to_the_next() {
        let mut worker = Worker::new(HostId(0), "w1".into(), None, None);
        let batch = vec![run(0, Some("a")), run(1, None), run(2, Some("b"))];
        worker.stalled = [ToWorker::Run(batch), ToWorker::Pause(true)].into();
        assert!(!worker.take_back(CallId(0), 2));
        assert!(worker.take_back(CallId(0), 1));
        assert!(!worker.take_back(CallId(0), 1));
        let ToWorker::Run(batch) = &worker.stalled[0] else {
            panic!("{:?}", worker.stalled);
        };
        let names: Vec<_> = batch.iter().map(|it| it.function.as_deref()).collect();
        assert_eq!(names, [Some("a"), Some("b")]);
        assert!(worker.take_back(CallId(1), 1) && worker.take_back(CallId(2), 1));
        assert!(matches!(
            worker.stalled.make_contiguous(),
            [ToWorker::Pause(true)]
        ));
    }
}
