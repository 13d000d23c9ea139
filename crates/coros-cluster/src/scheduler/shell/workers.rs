//! The shell's workers: their processes, and the messages to them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use coros_core::remote::{CodecError, NodeId};
use coros_core::{Address, SendError};

use super::super::core::{self, Outcome, WorkerId};
use super::super::error::end_of;
use super::super::pool;
use super::super::{Command, Event};
use super::{Phase, Shell};
use crate::blob::Blob;
use crate::process::{End, Process};
use crate::protocol::{CallResult, Handover, Run, TOO_LARGE, ToScheduler, ToWorker};

/// A worker as the shell knows it.
pub(super) struct Worker {
    pub(super) name: Arc<str>,
    /// None if it could not be started.
    pub(super) node: Option<NodeId>,
    pub(super) process: Option<Process>,
    pub(super) control: Option<Address<ToWorker>>,
    /// Calls that go out with the next message.
    pub(super) batch: Vec<Run>,
    pub(super) batch_bytes: usize,
    /// Messages for which the link has no room at present.
    pub(super) stalled: VecDeque<ToWorker>,
    /// How it ended.
    pub(super) end: String,
    pub(super) last_words: Vec<String>,
}

impl Worker {
    pub(super) fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, |process| process.pid)
    }
}

impl Shell {
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
            self.tell_core(core::Input::Done {
                worker,
                call,
                attempt,
                result,
            });
        }
        // They end in the next round, which must come.
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

    pub(super) fn tell_pool(&mut self, input: pool::Input) {
        let mut out = Vec::new();
        self.pool.handle(Instant::now(), input, &mut out);
        for output in out {
            self.act_for_pool(output);
        }
    }

    fn act_for_pool(&mut self, output: pool::Output) {
        match output {
            pool::Output::Launch { worker } => self.launch(worker),
            pool::Output::Kill { worker } => {
                let process = self
                    .workers
                    .get_mut(&worker)
                    .and_then(|it| it.process.as_mut());
                if let Some(process) = process {
                    process.kill();
                }
            }
            pool::Output::Goodbye { worker } => {
                self.flush_worker(worker);
                self.send(worker, ToWorker::Goodbye);
            }
            pool::Output::Lost { worker, why } => self.lost(worker, &why),
            pool::Output::Failed { worker, why } => self.failed(worker, &why),
            pool::Output::GiveUp => self.give_up(),
            pool::Output::Closed { killed } => {
                if !matches!(self.phase, Phase::Failed(_)) || !self.closing.is_empty() {
                    let killed: Vec<_> = killed.into_iter().map(name_of).collect();
                    self.closed(&killed);
                }
            }
        }
    }

    fn launch(&mut self, id: WorkerId) {
        let name = name_of(id);
        let process = self.handover(id, &name).and_then(|(node, handover)| {
            let address = self.address.clone();
            let ended = move |end| {
                let command = Command::Ended { worker: id, end };
                let _ = address.send(ToScheduler::Command(command));
            };
            self.launcher
                .launch(&name, handover, ended)
                .map(|process| (node, process))
                .map_err(|error| {
                    format!(
                        "{} cannot be started: {error}",
                        self.launcher.program.display()
                    )
                })
        });
        let (node, process, why) = match process {
            Ok((node, process)) => (Some(node), Some(process), None),
            Err(why) => (None, None, Some(why)),
        };
        self.workers.insert(
            id,
            Worker {
                name,
                node,
                process,
                control: None,
                batch: Vec::new(),
                batch_bytes: 0,
                stalled: VecDeque::new(),
                end: String::new(),
                last_words: Vec::new(),
            },
        );
        if let Some(why) = why {
            let end = End {
                why,
                killed: false,
                last_words: Vec::new(),
            };
            let command = Command::Ended { worker: id, end };
            let _ = self.address.send(ToScheduler::Command(command));
        }
    }

    /// What the worker reads from its standard input: the length, then the encoded handover.
    fn handover(&self, worker: WorkerId, name: &str) -> Result<(NodeId, Vec<u8>), String> {
        let credentials = self
            .authority
            .issue(name)
            .map_err(|error| cannot_join(&error))?;
        let scheduler = self
            .node
            .encode(&self.address)
            .map_err(|error| cannot_join(&error))?;
        let node = credentials.node();
        let handover = Handover {
            credentials,
            client: self.node.location(),
            scheduler: Blob::from(scheduler),
            worker,
            slots: self.slots,
            link_limit: self.link_limit,
            heartbeat: self.heartbeat,
            log: self.log.clone(),
        };
        let bytes = handover.to_bytes().map_err(|error| cannot_join(&error))?;
        Ok((node, bytes))
    }

    fn lost(&mut self, id: WorkerId, why: &str) {
        if let Some(worker) = self.workers.get_mut(&id) {
            // What it was about to be sent is in flight for the core.
            worker.batch.clear();
            why.clone_into(&mut worker.end);
        }
        let closing = matches!(self.phase, Phase::Closing);
        let mut out = Vec::new();
        self.core
            .handle(core::Input::WorkerLost { worker: id }, &mut out);
        let (mut jobs, mut given_up) = (0, 0);
        for output in &out {
            match output {
                core::Output::Retry { .. } => jobs += 1,
                core::Output::Finished {
                    outcome: Outcome::Abandoned { .. },
                    ..
                } => given_up += 1,
                _ => {}
            }
        }
        if let Some(worker) = self.workers.get(&id) {
            let (name, pid) = (Arc::clone(&worker.name), worker.pid());
            self.emit(&if closing {
                Event::WorkerClosed { name, pid }
            } else {
                Event::WorkerLost {
                    name,
                    pid,
                    reason: why.to_owned(),
                    jobs,
                    given_up,
                }
            });
        }
        self.todo.append(&mut out);
        self.act();
        self.workers.remove(&id);
    }

    fn failed(&mut self, id: WorkerId, why: &str) {
        let worker = self.workers.remove(&id);
        if let (Some(worker), Phase::Open) = (worker, &self.phase) {
            let reason = end_of(&worker.name, why, &worker.last_words);
            self.last_failure.clone_from(&reason);
            self.emit(&Event::WorkerFailed {
                name: worker.name,
                reason,
            });
        }
    }

    fn give_up(&mut self) {
        let why = self.last_failure.clone();
        self.phase = Phase::Failed(why.clone());
        if let Some(started) = self.started.take() {
            let _ = started.send(Err(why));
        }
        self.tell_core(core::Input::Close);
    }
}

fn cannot_join(why: &dyn std::fmt::Display) -> String {
    format!("it cannot join: {why}")
}

pub(super) fn name_of(worker: WorkerId) -> Arc<str> {
    format!("w{}", worker.0).into()
}
