//! The desk of one client: its program, its slots, and its workers.
//!
//! When the client is gone, or its desk ends for whatever reason, all its workers are killed, with
//! everything that they have started, and their folders are removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use coros_core::{Address, Context};

use super::bounds::Rules;
use super::fetch::{self, Fetched, Fetching};
use super::folder::{WorkFolder, WorkFolders};
use super::leases::ClientId;
use super::protocol::{FromDesk, Opening, Own, OwnDesk, ToDaemon, ToDesk};
use crate::computation::Start;
use crate::process::{End, Launcher, LineSink, Place, Process};
use crate::scheduler::core::WorkerId;
use crate::scheduler::liaison::ToLiaison;

pub(super) struct Desk {
    id: ClientId,
    daemon: Address<ToDaemon>,
    client: Address<ToLiaison>,
    folders: WorkFolders,
    rules: Rules,
    start: Start,
    /// Once it is there.
    fetched: Option<Fetched>,
    /// As many as it has been granted and not given back.
    slots: usize,
    /// Those whose end has not been told yet.
    workers: BTreeMap<WorkerId, Worker>,
}

struct Worker {
    /// Killed when dropped.
    process: Process,
    /// Removed when its process has ended.
    folder: WorkFolder,
}

impl Desk {
    pub(super) fn new(
        id: ClientId,
        daemon: Address<ToDaemon>,
        opening: &Opening,
        folders: WorkFolders,
        rules: Rules,
    ) -> Self {
        Desk {
            id,
            daemon,
            client: opening.client.clone(),
            folders,
            rules,
            start: opening.computation.start.clone(),
            fetched: None,
            slots: 0,
            workers: BTreeMap::new(),
        }
    }

    /// Serves the client until it leaves, is gone, or the daemon ends.
    pub(super) async fn run(mut self, mut me: Context<ToDesk>, fetching: Fetching) {
        let own = |message| ToDesk::Own(message);
        me.monitor(&self.client, move |exit| own(OwnDesk::Gone(exit)));
        let (sent, fetched) = fetching.start(self.client.clone(), me.address());
        while let Some(message) = me.receive().await {
            match message {
                ToDesk::Sent => sent.notify_one(),
                ToDesk::Want(wish) => self.tell_daemon(Own::Want(self.id, wish)),
                ToDesk::GiveBack(slots) => self.give_back(slots),
                ToDesk::Launch {
                    worker,
                    name,
                    handover,
                } => {
                    let launched = self.launch(&me, worker, &name, handover.0.to_vec()).await;
                    self.tell(match launched {
                        Ok(pid) => FromDesk::Launched { worker, pid },
                        Err(why) => FromDesk::Ended {
                            worker,
                            end: End::never_began(why),
                        },
                    })
                    .await;
                }
                ToDesk::Kill(worker) => {
                    if let Some(worker) = self.workers.get_mut(&worker) {
                        worker.process.kill();
                    }
                }
                ToDesk::Own(OwnDesk::Grant(slots)) => {
                    self.slots += slots;
                    self.tell(FromDesk::Grant(slots)).await;
                }
                ToDesk::Own(OwnDesk::State(state)) => self.tell(FromDesk::State(state)).await,
                ToDesk::Own(OwnDesk::Reclaim(slots)) => self.tell(FromDesk::Reclaim(slots)).await,
                ToDesk::Own(OwnDesk::Fetched(fetched)) => {
                    let ready = self.lay_out(fetched).await;
                    self.tell(match ready {
                        Ok(()) => FromDesk::Ready,
                        Err(why) => FromDesk::Unfit(why),
                    })
                    .await;
                }
                ToDesk::Own(OwnDesk::Ended { worker, end }) => {
                    if let Some(Worker { folder, .. }) = self.workers.remove(&worker) {
                        folder.remove().await;
                    }
                    self.tell(FromDesk::Ended { worker, end }).await;
                }
                ToDesk::Own(OwnDesk::Gone(exit)) => {
                    tracing::info!(client = self.id.0, %exit, "a client is gone");
                    break;
                }
                ToDesk::Leave | ToDesk::Own(OwnDesk::End) => break,
            }
        }
        drop(fetched);
        self.end(me).await;
    }

    /// Kills all workers, and waits until nothing is left of them.
    async fn end(mut self, mut me: Context<ToDesk>) {
        for worker in self.workers.values_mut() {
            worker.process.kill();
        }
        while !self.workers.is_empty()
            && let Some(message) = me.receive().await
        {
            if let ToDesk::Own(OwnDesk::Ended { worker, .. }) = message
                && let Some(Worker { folder, .. }) = self.workers.remove(&worker)
            {
                folder.remove().await;
            }
        }
        self.folders.remove().await;
        self.tell_daemon(Own::Left(self.id));
    }

    /// No more than those that run nothing.
    fn give_back(&mut self, slots: usize) {
        let slots = slots.min(self.slots.saturating_sub(self.workers.len()));
        self.slots -= slots;
        self.tell_daemon(Own::GiveBack(self.id, slots));
    }

    /// Puts the files where workers find them.
    async fn lay_out(&mut self, fetched: Result<Fetched, String>) -> Result<(), String> {
        let fetched = fetched?;
        let files = fetched.files.iter();
        let files = files
            .map(|(file, pin)| (file.clone(), pin.path()))
            .collect();
        self.folders.lay_out(files).await?;
        self.fetched = Some(fetched);
        Ok(())
    }

    async fn launch(
        &mut self,
        me: &Context<ToDesk>,
        id: WorkerId,
        name: &str,
        handover: Vec<u8>,
    ) -> Result<u32, String> {
        let Some(fetched) = &self.fetched else {
            return Err("its program is not there yet".into());
        };
        if self.workers.len() >= self.slots {
            return Err(format!("this client has {} slots, all in use", self.slots));
        }
        if self.workers.contains_key(&id) {
            return Err("a worker of that number runs".into());
        }
        let folder = self.folders.make(id).await;
        let folder = folder.map_err(|why| format!("it can have no folder: {why}"))?;
        let program = fetched.program.path();
        let read = vec![program.clone(), self.folders.files()];
        let bounds = self
            .rules
            .for_worker(folder.path(), self.folders.shared(), read);
        let launcher = Launcher {
            program,
            stderr: passed_on(self.client.clone(), id),
            place: Place::Folder {
                path: folder.path().to_owned(),
                start: self.start.clone(),
                bounds: Box::new(bounds),
            },
        };
        let address = me.address();
        let ended = move |end| {
            let ended = OwnDesk::Ended { worker: id, end };
            let _ = address.send(ToDesk::Own(ended));
        };
        let process = launcher.launch(&Arc::from(name), handover, ended);
        let process = process.map_err(|why| format!("it cannot be started: {why}"))?;
        let pid = process.pid;
        self.workers.insert(id, Worker { process, folder });
        Ok(pid)
    }

    /// Waits while the link to the client has no room. What cannot be told a client that is gone is
    /// of no use to anybody: its end comes as a message.
    async fn tell(&self, message: FromDesk) {
        fetch::tell(&self.client, message).await;
    }

    fn tell_daemon(&self, message: Own) {
        let _ = self.daemon.send(ToDaemon::Own(message));
    }
}

/// Lines go to the client as fast as it takes them: until then the worker waits.
fn passed_on(client: Address<ToLiaison>, worker: WorkerId) -> LineSink {
    Arc::new(move |_, line| {
        let (client, line) = (client.clone(), line.to_owned());
        Box::pin(async move { fetch::tell(&client, FromDesk::Line { worker, line }).await })
    })
}
