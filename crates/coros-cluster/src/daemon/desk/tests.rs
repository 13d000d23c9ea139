//! Desks whose client, daemon and processes are the test.

use std::sync::mpsc as blocking;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::super::folder::WorkRoot;
use super::super::leases::Wish;
use super::super::spare::Spare;
use super::*;
use crate::isolation::Limits;

const WORKER: WorkerId = WorkerId(7);
const LIMIT: Duration = Duration::from_secs(30);

/// A desk with one slot and a worker in it, and what its daemon hears.
struct World {
    desk: Address<ToDesk>,
    daemon: UnboundedReceiver<ToDaemon>,
    folder: tempfile::TempDir,
}

/// An address, and what is sent to it.
fn heard<M: Send + 'static>() -> (Address<M>, UnboundedReceiver<M>) {
    let (to, from) = mpsc::unbounded_channel();
    let coro = coros_core::build()
        .daemon()
        .spawn(async move |mut me: Context<M>| {
            while let Some(message) = me.receive().await {
                let _ = to.send(message);
            }
        });
    (coro.address(), from)
}

/// A client that takes one message and no more.
fn deaf() -> Address<ToLiaison> {
    let coro = coros_core::build()
        .daemon()
        .capacity(1)
        .spawn(async |_me: Context<ToLiaison>| std::future::pending::<()>().await);
    coro.address()
}

impl World {
    async fn new(client: Address<ToLiaison>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let work = WorkRoot::open(&folder.path().join("work")).await.unwrap();
        let (to_daemon, daemon) = heard();
        let opening = Opening::for_test(client, 1);
        let rules = Rules {
            limits: Limits::default(),
            work: u64::MAX,
            spare: Spare::new(Limits::default(), None),
            readable: Vec::new(),
            hidden: Vec::new(),
        };
        let id = ClientId(1);
        let store = Store::open(&folder.path().join("store"), 1000)
            .await
            .unwrap();
        let mut desk = Desk::new(id, to_daemon, &opening, store, work.of(id), rules);
        let never = CancellationToken::new();
        desk.folders.lay_out(Vec::new(), never).await.unwrap();
        let worker = Worker {
            process: Process::none(),
            folder: desk.folders.make(WORKER).await.unwrap(),
            claims: false,
        };
        desk.slots = 1;
        desk.workers.insert(WORKER, worker);
        let run = async move |mut me: Context<ToDesk>| {
            let has_left = desk.serve(&mut me, &mpsc::channel(1).0).await;
            desk.end(me, has_left).await;
        };
        World {
            desk: coros_core::build().daemon().spawn(run).address(),
            daemon,
            folder,
        }
    }

    fn say(&self, message: ToDesk) {
        self.desk.send(message).unwrap();
    }

    fn ended(&self) {
        let end = End::never_began("it was the test".into());
        self.say(ToDesk::Own(OwnDesk::Ended {
            worker: WORKER,
            end,
        }));
    }

    /// What the daemon hears next.
    async fn next(&mut self) -> Own {
        match timeout(LIMIT, self.daemon.recv()).await {
            Ok(Some(ToDaemon::Own(own))) => own,
            other => panic!("{other:?}"),
        }
    }

    /// That the desk has done all that it was told before.
    async fn is_awake(&mut self) {
        self.say(ToDesk::Want(Wish::default()));
        let heard = self.next().await;
        assert!(matches!(heard, Own::Want(..)), "{heard:?}");
    }
}

/// Holds all threads for what blocks, until it is dropped.
fn hold() -> blocking::Sender<()> {
    let (release, released) = blocking::channel::<()>();
    tokio::task::spawn_blocking(move || released.recv());
    release
}

#[test]
fn who_has_a_large_folder_holds_nobody_up() {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1);
    runtime.build().unwrap().block_on(async {
        let (client, mut told) = heard();
        let mut world = World::new(client).await;
        let folder = world.folder.path().join("work/1");
        let held = hold();
        world.ended();
        world.is_awake().await;
        let told = timeout(LIMIT, told.recv()).await.unwrap().unwrap();
        assert!(
            matches!(told, ToLiaison::Desk(FromDesk::Ended { .. })),
            "{told:?}"
        );
        assert!(folder.join(WORKER.0.to_string()).exists());
        // Nothing is left behind all the same.
        world.say(ToDesk::Leave);
        drop(held);
        let left = world.next().await;
        assert!(matches!(left, Own::Left { lost: false, .. }), "{left:?}");
        assert!(!folder.exists());
    });
}

#[tokio::test]
async fn a_client_that_takes_nothing_keeps_no_desk() {
    let mut world = World::new(deaf()).await;
    for _ in 0..10 {
        world.say(ToDesk::Own(OwnDesk::Grant(1)));
    }
    world.is_awake().await;
    world.say(ToDesk::Own(OwnDesk::End));
    world.ended();
    let left = world.next().await;
    assert!(matches!(left, Own::Left { lost: true, .. }), "{left:?}");
    // Nor one for which all that is said is kept.
    let mut world = World::new(deaf()).await;
    for _ in 0..UNHEARD + 3 {
        world.say(ToDesk::Own(OwnDesk::Grant(1)));
    }
    world.ended();
    let left = world.next().await;
    assert!(matches!(left, Own::Left { lost: true, .. }), "{left:?}");
}

/// A client that has given up a worker gives its slot back, also before its process has ended.
#[tokio::test]
async fn a_slot_that_is_given_back_too_early_comes_when_its_worker_has_ended() {
    let (client, mut told) = heard();
    let mut world = World::new(client).await;
    world.say(ToDesk::Own(OwnDesk::Grant(1)));
    // One runs nothing; those that it does not have are none.
    world.say(ToDesk::GiveBack(5));
    let back = world.next().await;
    assert!(matches!(back, Own::GiveBack(_, 1)), "{back:?}");
    // Nothing may begin in the other meanwhile.
    world.say(ToDesk::Launch {
        worker: WorkerId(8),
        name: "w8".into(),
        handover: Vec::new().into(),
        prepared: false,
    });
    world.is_awake().await;
    world.ended();
    let back = world.next().await;
    assert!(matches!(back, Own::GiveBack(_, 1)), "{back:?}");
    world.is_awake().await;
    let mut refused = None;
    while let Some(ToLiaison::Desk(message)) = timeout(LIMIT, told.recv()).await.unwrap() {
        match message {
            FromDesk::Ended { worker, .. } if worker == WORKER => break,
            FromDesk::Ended { end, .. } => refused = Some(end.why),
            _ => {}
        }
    }
    assert_eq!(
        refused.as_deref(),
        Some("this client has 0 slots, all in use")
    );
}

/// It may have left as much as all may have, and more would come before that is gone.
#[test]
fn nobody_starts_before_it_is_known_what_the_one_before_has_left() {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1);
    runtime.build().unwrap().block_on(async {
        let (client, mut told) = heard();
        let mut world = World::new(client).await;
        let launch = |worker| ToDesk::Launch {
            worker: WorkerId(worker),
            name: format!("w{worker}"),
            handover: Vec::new().into(),
            prepared: false,
        };
        let mut ended = async || match timeout(LIMIT, told.recv()).await {
            Ok(Some(ToLiaison::Desk(FromDesk::Ended { worker, end }))) => (worker.0, end),
            other => panic!("{other:?}"),
        };
        let held = hold();
        world.ended();
        assert_eq!(ended().await.0, WORKER.0);
        world.say(launch(8));
        world.is_awake().await;
        // It has the slot, and can be killed as if it ran.
        world.say(launch(9));
        let (worker, end) = ended().await;
        let all_in_use = "this client has 1 slots, all in use";
        assert_eq!((worker, &*end.why), (9, all_in_use));
        world.say(ToDesk::Kill(WorkerId(8)));
        let (worker, end) = ended().await;
        assert_eq!((worker, end.killed), (8, true));
        world.say(launch(10));
        world.say(ToDesk::GiveBack(1));
        world.is_awake().await;
        drop(held);
        let (worker, end) = ended().await;
        assert_eq!((worker, &*end.why), (10, "its program is not there yet"));
        let back = world.next().await;
        assert!(matches!(back, Own::GiveBack(_, 1)), "{back:?}");
    });
}
