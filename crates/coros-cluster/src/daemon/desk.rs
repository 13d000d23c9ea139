//! The desk of one client: its program, its slots, and its workers.
//!
//! When the client is gone, or its desk ends for whatever reason, all its workers are killed, with
//! everything that they have started, and their folders are removed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use coros_core::remote::BoxFuture;
use coros_core::{Address, Context, Exit};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::bounds::Rules;
use super::claims::Claim;
use super::fetch::{Came, Fetched, Fetching, Sender};
use super::folder::{Overfull, WorkFolder, WorkFolders};
use super::leases::ClientId;
use super::protocol::{FromDesk, Opening, Own, OwnDesk, ToDaemon, ToDesk};
use crate::blob::Blob;
use crate::blocking::blocking;
use crate::computation::Start;
use crate::hash::ContentHash;
use crate::lock::lock;
use crate::process::{End, Launcher, LineSink, Place, Process};
use crate::resources::Resources;
use crate::scheduler::core::WorkerId;
use crate::scheduler::liaison::ToLiaison;
use crate::scheduler::lines::ToLines;
use crate::store::{Aside, Kind, Store};

/// So many messages may wait for a client that takes none. It has far fewer workers and less to be told in the
/// time that its link may be silent.
const UNHEARD: usize = 4096;

/// How often it is looked at what workers have written.
const LOOK: Duration = Duration::from_secs(1);

/// So long the end of a desk waits for its client to take what it has been told.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(super) struct Desk {
    id: ClientId,
    daemon: Address<ToDaemon>,
    client: Address<ToLiaison>,
    /// Where it takes what workers write.
    lines: Address<ToLines>,
    told: Teller,
    store: Store,
    folders: WorkFolders,
    rules: Rules,
    start: Start,
    /// Once it is there: the program and its files, and the room for copies of these.
    fetched: Option<(Fetched, Aside)>,
    /// As many as it has been granted and not given back.
    slots: usize,
    /// As many of them come back as soon as nothing runs in them: the client has no use for them any more.
    owed: usize,
    /// Those whose process has not ended yet.
    workers: BTreeMap<WorkerId, Worker>,
    /// Those that are to start when enough is gone of what earlier ones have left.
    waiting: BTreeMap<WorkerId, Launch>,
    /// The numbers of their processes, for whoever looks at what they have written.
    running: Arc<Mutex<BTreeMap<WorkerId, u32>>>,
    /// That is who does.
    watcher: Option<AbortOnDropHandle<()>>,
    /// What is done with folders meanwhile.
    chores: TaskTracker,
    /// That it shall stop.
    ending: CancellationToken,
}

struct Worker {
    /// Killed when dropped.
    process: Process,
    /// To be removed when its process has ended.
    folder: WorkFolder,
    /// It has claimed something, or did.
    claims: bool,
}

/// How a worker is to start.
struct Launch {
    name: String,
    handover: Vec<u8>,
    prepared: bool,
}

impl Desk {
    pub(super) fn new(
        id: ClientId,
        daemon: Address<ToDaemon>,
        opening: &Opening,
        store: Store,
        folders: WorkFolders,
        rules: Rules,
    ) -> Self {
        Desk {
            id,
            daemon,
            client: opening.client.clone(),
            lines: opening.lines.clone(),
            told: Teller::start(opening.client.clone()),
            store,
            folders,
            rules,
            start: opening.computation.start.clone(),
            fetched: None,
            slots: 0,
            owed: 0,
            workers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            running: Arc::default(),
            watcher: None,
            chores: TaskTracker::new(),
            ending: CancellationToken::new(),
        }
    }

    /// Serves the client until it leaves, is gone, or the daemon ends.
    pub(super) async fn run(mut self, mut me: Context<ToDesk>, fetching: Fetching) {
        let own = |message| ToDesk::Own(message);
        me.monitor(&self.client, move |exit| own(OwnDesk::Gone(exit)));
        let address = me.address();
        let (came, fetched) = fetching.start(move |fetched| {
            // Clients come again anyway.
            let fetched = fetched.map_err(|unfit| unfit.why);
            let _ = address.send(ToDesk::Own(OwnDesk::Fetched(fetched)));
        });
        let has_left = self.serve(&mut me, &came).await;
        drop(fetched);
        self.end(me, has_left).await;
    }

    /// Nothing that takes long is waited for here: whoever wants the desk to end is heard at once.
    /// Gives whether the client has left, and was not lost or sent away.
    async fn serve(&mut self, me: &mut Context<ToDesk>, came: &mpsc::Sender<Came>) -> bool {
        while self.told.is_heard() {
            let message = tokio::select! {
                message = me.receive() => message,
                () = self.folders.room(self.rules.work), if !self.waiting.is_empty() => {
                    self.launch_waiting(me).await;
                    continue;
                }
            };
            let Some(message) = message else { break };
            match message {
                // There is room for what was asked for, and nobody waits for anything else.
                ToDesk::Sent => drop(came.try_send(Came::File)),
                ToDesk::Packed(Blob(pack)) => drop(came.try_send(Came::Pack(pack))),
                ToDesk::Own(OwnDesk::Gone(exit)) => {
                    tracing::info!(client = self.id.0, %exit, "a client is gone");
                    // That one has ended may be heard of before what it said last.
                    return !matches!(exit, Exit::Disconnected | Exit::Unwatched);
                }
                ToDesk::Leave => return true,
                ToDesk::Own(OwnDesk::End) => break,
                message => self.take(me, message).await,
            }
        }
        false
    }

    async fn take(&mut self, me: &Context<ToDesk>, message: ToDesk) {
        match message {
            ToDesk::Want(wish) => self.tell_daemon(Own::Want(self.id, wish)),
            ToDesk::GiveBack(slots) => {
                self.owed = self.owed.saturating_add(slots);
                self.give_back();
            }
            ToDesk::Launch {
                worker,
                name,
                handover,
                prepared,
            } => {
                if let Err(why) = self.may_launch(worker) {
                    let end = End::never_began(why);
                    return self.told.tell(FromDesk::Ended { worker, end });
                }
                let handover = handover.0.to_vec();
                let launch = Launch {
                    name,
                    handover,
                    prepared,
                };
                self.waiting.insert(worker, launch);
                self.launch_waiting(me).await;
            }
            ToDesk::Claim {
                worker,
                number,
                needs,
            } => self.claim(worker, number, &needs),
            ToDesk::Kill(worker) => self.kill(worker),
            ToDesk::Own(OwnDesk::Grant(slots)) => {
                self.slots += slots;
                self.told.tell(FromDesk::Grant(slots));
            }
            ToDesk::Own(OwnDesk::State(state)) => self.told.tell(FromDesk::State(state)),
            ToDesk::Own(OwnDesk::Reclaim(slots)) => self.told.tell(FromDesk::Reclaim(slots)),
            ToDesk::Own(OwnDesk::Claimed(Claim { worker, number, .. })) => {
                self.told.tell(FromDesk::Claimed { worker, number });
            }
            ToDesk::Own(OwnDesk::Fetched(Ok(fetched))) => self.lay_out(me, fetched),
            ToDesk::Own(OwnDesk::LaidOut(Ok(fetched))) => {
                self.fetched = Some(fetched);
                self.watch_folders(me);
                self.told.tell(FromDesk::Ready);
            }
            ToDesk::Own(OwnDesk::Overfull(overfull)) => self.overfull(overfull),
            ToDesk::Own(OwnDesk::Fetched(Err(why)) | OwnDesk::LaidOut(Err(why))) => {
                self.told.tell(FromDesk::Unfit(why));
            }
            ToDesk::Own(OwnDesk::Ended { worker, end }) => {
                self.ended(worker);
                self.give_back();
                self.told.tell(FromDesk::Ended { worker, end });
            }
            ToDesk::Sent
            | ToDesk::Packed(_)
            | ToDesk::Leave
            | ToDesk::Own(OwnDesk::Gone(_) | OwnDesk::End) => {}
        }
    }

    /// Kills all workers, and waits until nothing is left of them.
    async fn end(mut self, mut me: Context<ToDesk>, has_left: bool) {
        self.ending.cancel();
        self.watcher = None;
        if !has_left {
            self.told.tell(FromDesk::Ending);
        }
        for worker in self.workers.values_mut() {
            worker.process.kill();
        }
        while !self.workers.is_empty()
            && let Some(message) = me.receive().await
        {
            if let ToDesk::Own(OwnDesk::Ended { worker, .. }) = message {
                self.ended(worker);
            }
        }
        self.chores.close();
        self.chores.wait().await;
        self.folders.remove().await;
        self.tell_daemon(Own::Left {
            client: self.id,
            lost: !has_left,
        });
        self.told.end().await;
    }

    /// A worker claims so much, unless its process has ended: then its client will hear of that.
    fn claim(&mut self, worker: WorkerId, number: u64, needs: &Resources) {
        if let Some(it) = self.workers.get_mut(&worker) {
            it.claims = true;
            self.tell_claim(worker, number, needs);
        }
    }

    fn tell_claim(&self, worker: WorkerId, number: u64, needs: &Resources) {
        let claim = Claim {
            client: self.id,
            worker,
            number,
        };
        // Of cores it has its slot.
        self.tell_daemon(Own::Claim(claim, needs.besides_cores()));
    }

    /// A worker's process has ended. There may be much in its folder, which nobody waits for.
    fn ended(&mut self, worker: WorkerId) {
        lock(&self.running).remove(&worker);
        if let Some(Worker { folder, claims, .. }) = self.workers.remove(&worker) {
            if claims {
                self.tell_claim(worker, 0, &Resources::default());
            }
            self.chores.spawn(folder.remove(self.rules.work));
        }
    }

    /// Gives back what is owed and runs nothing. A client may have given up a worker before it has ended, so the
    /// rest follows when it has.
    fn give_back(&mut self) {
        // Nobody can owe more than he has.
        self.owed = self.owed.min(self.slots);
        let idle = self
            .slots
            .saturating_sub(self.workers.len() + self.waiting.len());
        let slots = self.owed.min(idle);
        if slots > 0 {
            self.slots -= slots;
            self.owed -= slots;
            self.tell_daemon(Own::GiveBack(self.id, slots));
        }
    }

    /// Puts the files where workers find them, if there is room for so much more.
    fn lay_out(&mut self, me: &Context<ToDesk>, fetched: Fetched) {
        let (files, bytes) = (fetched.files().collect(), fetched.copied());
        let laid_out = self.folders.lay_out(files, self.ending.clone());
        let (me, store) = (me.address(), self.store.clone());
        self.chores.spawn(async move {
            let aside = store.set_aside(bytes).await;
            let laid_out = match aside {
                Ok(aside) => laid_out.await.map(|()| (fetched, aside)),
                Err(why) => Err(format!("workers cannot have copies of its files: {why}")),
            };
            let _ = me.send(ToDesk::Own(OwnDesk::LaidOut(laid_out)));
        });
    }

    /// Sees to it that workers do not fill the disk. Looking takes time where there is much, so it is done less
    /// often there.
    fn watch_folders(&mut self, me: &Context<ToDesk>) {
        let (folders, most) = (self.folders.clone(), self.rules.work);
        let running = Arc::clone(&self.running);
        let me = me.address();
        let watch = async move {
            let mut pause = LOOK;
            loop {
                tokio::time::sleep(pause).await;
                let began = Instant::now();
                let running = lock(&running).clone();
                let fill = folders.fill(running, most).await;
                pause = LOOK.max(began.elapsed() * 10);
                if let Some(overfull) = fill.over(most)
                    && me.send(ToDesk::Own(OwnDesk::Overfull(overfull))).is_err()
                {
                    return;
                }
            }
        };
        self.watcher = Some(AbortOnDropHandle::new(tokio::spawn(watch)));
    }

    /// Kills whoever has written too much.
    fn overfull(&mut self, Overfull { worker, why }: Overfull) {
        tracing::info!(client = self.id.0, "{why}");
        for (id, running) in &mut self.workers {
            if worker.is_none_or(|worker| worker == *id) {
                running.process.kill_for(why.clone());
            }
        }
    }

    fn kill(&mut self, worker: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.process.kill();
        } else if self.waiting.remove(&worker).is_some() {
            self.give_back();
            let end = End {
                killed: true,
                ..End::never_began("it had not begun".into())
            };
            self.told.tell(FromDesk::Ended { worker, end });
        }
    }

    /// Why a worker may not start, if so.
    fn may_launch(&self, id: WorkerId) -> Result<(), String> {
        let slots = self.slots - self.owed;
        if self.workers.len() + self.waiting.len() >= slots {
            return Err(format!("this client has {slots} slots, all in use"));
        }
        if self.workers.contains_key(&id) || self.waiting.contains_key(&id) {
            return Err("a worker of that number runs".into());
        }
        Ok(())
    }

    /// Starts those that wait, if what earlier ones have left is no more than all may have.
    async fn launch_waiting(&mut self, me: &Context<ToDesk>) {
        while self.folders.have_room(self.rules.work)
            && let Some((worker, launch)) = self.waiting.pop_first()
        {
            if let Err(why) = self.launch(me, worker, launch).await {
                self.give_back();
                let end = End::never_began(why);
                self.told.tell(FromDesk::Ended { worker, end });
            }
        }
    }

    async fn launch(
        &mut self,
        me: &Context<ToDesk>,
        id: WorkerId,
        launch: Launch,
    ) -> Result<(), String> {
        let Launch {
            name,
            handover,
            prepared,
        } = launch;
        let Some((fetched, _)) = &self.fetched else {
            return Err("its program is not there yet".into());
        };
        let folder = self.folders.make(id).await;
        let folder = folder.map_err(|why| format!("it can have no folder: {why}"))?;
        let program = fetched.program();
        let (mut read, mut write) = (vec![program.clone(), self.folders.files()], Vec::new());
        match prepared {
            true => read.push(self.folders.shared()),
            false => write.push(self.folders.shared()),
        }
        let rules = self.rules.clone();
        let (start, stderr) = (self.start.clone(), passed_on(self.lines.clone(), id));
        let (path, name) = (folder.path().to_owned(), Arc::from(name.as_str()));
        let address = me.address();
        let ended = move |end| {
            let ended = OwnDesk::Ended { worker: id, end };
            let _ = address.send(ToDesk::Own(ended));
        };
        // Some systems take tens of milliseconds to put a process into a control group.
        let launched = blocking(move || {
            let blank = Box::new(rules.spare.take()?);
            let pid = blank.pid();
            let place = Place::Folder {
                blank,
                start,
                isolation: Box::new(rules.for_worker(&path, write, read)),
            };
            let launcher = Launcher {
                program,
                stderr,
                place,
            };
            let launched = launcher.launch(&name, handover, ended);
            // The next one need not wait for that.
            tokio::task::spawn_blocking(move || rules.spare.fill());
            launched.map(|process| (process, pid))
        });
        match launched.await {
            Ok((process, pid)) => {
                lock(&self.running).insert(id, pid);
                let claims = false;
                self.workers.insert(
                    id,
                    Worker {
                        process,
                        folder,
                        claims,
                    },
                );
                Ok(())
            }
            Err(why) => {
                self.chores.spawn(folder.remove(self.rules.work));
                Err(format!("it cannot be started: {why}"))
            }
        }
    }

    fn tell_daemon(&self, message: Own) {
        let _ = self.daemon.send(ToDaemon::Own(message));
    }
}

/// Says what a client is to know, in order, as fast as its link takes it. What cannot be told a client that is
/// gone is of no use to anybody: its end comes as a message.
struct Teller {
    to: mpsc::Sender<FromDesk>,
    heard: bool,
    task: AbortOnDropHandle<()>,
}

impl Teller {
    fn start(client: Address<ToLiaison>) -> Self {
        let (to, mut from) = mpsc::channel(UNHEARD);
        let task = tokio::spawn(async move {
            while let Some(message) = from.recv().await {
                tell(&client, message).await;
            }
        });
        Teller {
            to,
            heard: true,
            task: AbortOnDropHandle::new(task),
        }
    }

    fn tell(&mut self, message: FromDesk) {
        self.heard &= self.to.try_send(message).is_ok();
    }

    /// Waits until all has been said, but not for a client that does not take it.
    async fn end(self) {
        drop(self.to);
        let _ = tokio::time::timeout(LAST_WORDS, self.task).await;
    }

    /// Whether it takes what it is told. One that does not, for so long, cannot know what it has here.
    fn is_heard(&self) -> bool {
        self.heard
    }
}

/// Lines go to the client as fast as it takes them: until then the worker waits.
fn passed_on(to: Address<ToLines>, worker: WorkerId) -> LineSink {
    Arc::new(move |_, line| {
        let (to, line) = (to.clone(), line.to_owned());
        Box::pin(async move { drop(to.feed(ToLines::Line { worker, line }).await) })
    })
}

/// Says something to a client, and waits while the link has no room for it.
async fn tell(client: &Address<ToLiaison>, message: FromDesk) {
    // Who cannot be reached is gone, and that is told otherwise.
    let _ = client.feed(ToLiaison::Desk(message)).await;
}

/// A client as whoever has its program.
pub(super) struct Client {
    pub(super) id: ClientId,
    pub(super) address: Address<ToLiaison>,
    pub(super) daemon: Address<ToDaemon>,
}

impl Sender for Client {
    fn send(&self, content: ContentHash) -> BoxFuture<()> {
        let client = self.address.clone();
        Box::pin(async move { tell(&client, FromDesk::Send(content)).await })
    }

    fn pack(&self, contents: Vec<ContentHash>) -> BoxFuture<()> {
        let client = self.address.clone();
        Box::pin(async move { tell(&client, FromDesk::Pack(contents)).await })
    }

    fn coming(&self) -> BoxFuture<()> {
        let client = self.address.clone();
        Box::pin(async move { tell(&client, FromDesk::Coming).await })
    }

    fn received(&self, kind: Kind, bytes: u64) {
        let received = Own::Received(self.id, kind, bytes);
        let _ = self.daemon.send(ToDaemon::Own(received));
    }
}

#[cfg(test)]
mod tests;
