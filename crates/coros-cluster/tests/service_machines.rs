//! A service, a node and a client on three machines, with addresses of their own and a switch between them; the
//! client is cut off for a while. Where that cannot be, it is said and counted as ignored.
//!
//! This executable is all three of them, and the workers.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

#[cfg(target_os = "linux")]
#[path = "../../coros-net/tests/faults/cable.rs"]
#[allow(dead_code, reason = "more can be done to a cable than is here")]
mod cable;
#[cfg(target_os = "linux")]
#[path = "../../coros-net/tests/faults/switch.rs"]
mod switch;
#[cfg(target_os = "linux")]
#[path = "../../coros-net/tests/common/talker.rs"]
#[allow(dead_code, reason = "each test uses some of it")]
mod talker;
#[cfg(target_os = "linux")]
#[path = "../../coros-net/tests/common/trial.rs"]
mod trial;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    coros::cluster::worker::enter();
    if let Some(role) = machines::Role::of_this_process() {
        role.play();
    }
    let missing = cable::no_namespaces().or_else(switch::no_switch);
    let tests: [(&str, fn()); 4] = [
        (
            "a_client_that_is_cut_off_for_a_moment_loses_nothing",
            machines::cut_briefly,
        ),
        (
            "a_client_that_is_cut_off_for_long_is_let_go_and_comes_back",
            machines::cut_for_long,
        ),
        (
            "a_client_that_workers_cannot_reach_is_told_so_at_its_start",
            machines::out_of_reach,
        ),
        (
            "a_client_is_not_given_the_nodes_whose_workers_cannot_reach_it",
            machines::apart_from_some,
        ),
    ];
    trial::run_all(missing.as_deref(), tests)
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod machines {
    use std::net::SocketAddr;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use coros::Scheduler;
    use coros::cluster::Event;
    use coros::cluster::daemon::Daemon;
    use coros::cluster::service::Service;
    use coros::net::{Node, Secret};
    use coros::{Address, Context};
    use tempfile::TempDir;

    use crate::switch::{PLACES, Switch};
    use crate::talker::Talker;

    const OFFICE: usize = 0;
    const FARM: usize = 1;
    const DESK: usize = 2;
    /// On the machine of the desk, and listening on loopback alone.
    const DRAWER: usize = 3;
    /// A service and a node on the machine of the desk.
    const SHELF: usize = 4;
    const LAPTOP: usize = 5;
    /// So many calls the client makes, and so long each takes.
    const CALLS: u64 = 3000;
    const EACH: Duration = Duration::from_millis(2);

    #[coros::remote]
    fn slow_square(n: u64) -> u64 {
        std::thread::sleep(EACH);
        n * n
    }

    #[coros::remote]
    fn says(to: Address<u64>, n: u64) {
        to.send(n).unwrap();
    }

    /// What a process of this executable is on a machine.
    pub(crate) struct Role {
        at: usize,
        folder: PathBuf,
        silence: Duration,
        grace: Duration,
        /// Where the service is.
        service: Option<String>,
    }

    /// What makes it that.
    const ROLE: &str = "--on-machine";

    impl Role {
        pub(crate) fn of_this_process() -> Option<Self> {
            let words: Vec<String> = std::env::args().skip(1).collect();
            let [role, at, folder, silence, grace, service @ ..] = words.as_slice() else {
                return None;
            };
            let ms = |word: &String| Duration::from_millis(word.parse().unwrap());
            (role == ROLE).then(|| Role {
                at: at.parse().unwrap(),
                folder: folder.into(),
                silence: ms(silence),
                grace: ms(grace),
                service: service.first().cloned(),
            })
        }

        pub(crate) fn play(self) -> ! {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let playing = runtime.spawn(async {
                match self.at {
                    OFFICE | SHELF => self.service().await,
                    FARM => self.node("farm").await,
                    LAPTOP => self.node("laptop").await,
                    DESK => self.client().await,
                    _ => self.client_on_loopback().await,
                }
            });
            // What runs besides would be waited for.
            let played = runtime.block_on(playing);
            std::process::exit(i32::from(played.is_err()));
        }

        fn builder(&self, name: &str) -> coros::net::Builder {
            let place = match self.at {
                DRAWER => "127.0.0.1",
                at => PLACES[machine(at)],
            };
            let place: SocketAddr = format!("{place}:0").parse().unwrap();
            let secret = self.folder.join("secret");
            let builder = Node::builder()
                .name(name)
                .secret(Secret::load(secret).unwrap())
                .listen(place)
                .silence(self.silence)
                .grace(self.grace);
            self.service.iter().fold(builder, coros::net::Builder::peer)
        }

        async fn service(self) {
            let service = Service::builder(self.builder("office"), self.folder.join("office"));
            let service = service.on_event(|event| println!("{event}")).start().await;
            let service = service.unwrap();
            println!("at {}", service.node().location().endpoint.unwrap());
            service.ended().await;
        }

        async fn node(self, name: &str) {
            let daemon = Daemon::builder(self.builder(name), self.folder.join(name));
            let daemon = daemon.slots(2).start().await.unwrap();
            println!("at {}", daemon.node().location().endpoint.unwrap());
            daemon.served().await.unwrap();
        }

        /// Makes all calls, and counts what came of each.
        async fn client(self) {
            let node = self.builder("desk").build().await.unwrap();
            let scheduler = Scheduler::at(&node).stderr(|_, _| {}).on_event(|event| {
                if matches!(
                    event,
                    Event::ServiceReady { .. } | Event::ServiceLost { .. }
                ) {
                    println!("{event}");
                }
            });
            let scheduler = scheduler.start().await.unwrap();
            let mut results = scheduler.map((0..CALLS).map(slow_square)).unordered();
            let mut came = vec![0; usize::try_from(CALLS).unwrap()];
            let mut all = 0;
            while let Some(it) = results.next().await {
                let n = it.index as u64;
                assert_eq!(it.result, Ok(n * n));
                came[it.index] += 1;
                all += 1;
                if all == 200 {
                    println!("begun");
                }
            }
            assert!(came.iter().all(|times| *times == 1), "{came:?}");
            println!("all");
            scheduler.close().await.unwrap();
            node.close().await;
        }

        /// Has a worker say something to it.
        async fn client_on_loopback(self) {
            let node = self.builder("drawer").build().await.unwrap();
            let scheduler = Scheduler::at(&node).stderr(|_, _| {}).on_event(|event| {
                if matches!(event, Event::NodeNotUsed { .. }) {
                    println!("{event}");
                }
            });
            match scheduler.start().await {
                Err(error) => println!("refused: {error}"),
                Ok(scheduler) => {
                    let ear = coros::spawn(async |mut me: Context<u64>| me.receive().await);
                    scheduler.run(says(ear.address(), 7)).await.unwrap();
                    let heard = tokio::time::timeout(Duration::from_secs(10), ear.join());
                    println!("heard {}", heard.await.unwrap().unwrap().unwrap());
                    scheduler.close().await.unwrap();
                }
            }
            node.close().await;
        }
    }

    fn machine(at: usize) -> usize {
        at.min(DESK)
    }

    struct Scene {
        switch: Switch,
        _folder: TempDir,
        office: Talker,
        _farm: Talker,
        desk: Talker,
    }

    impl Scene {
        /// The client makes calls.
        fn set(silence: u64, grace: u64) -> Self {
            let (switch, folder) = (Switch::new(), tempfile::tempdir().unwrap());
            Secret::random().save(folder.path().join("secret")).unwrap();
            let limits = [silence, grace];
            let start = |at, service| start(&switch, at, folder.path(), limits, service);
            let mut office = start(OFFICE, None);
            let at = office.wait_for("at ");
            let at = at.strip_prefix("at ").unwrap();
            let mut farm = start(FARM, Some(at));
            farm.wait_for("at ");
            let mut desk = start(DESK, Some(at));
            desk.wait_for("begun");
            Scene {
                switch,
                _folder: folder,
                office,
                _farm: farm,
                desk,
            }
        }
    }

    fn start(
        switch: &Switch,
        at: usize,
        folder: &Path,
        limits: [u64; 2],
        service: Option<&str>,
    ) -> Talker {
        let [nsenter, namespace] = switch.prefix(machine(at));
        let mut child = Command::new(nsenter)
            .arg(namespace)
            .arg(std::env::current_exe().unwrap())
            .args([ROLE, &at.to_string()])
            .arg(folder)
            .args(limits.map(|ms| ms.to_string()))
            .args(service)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let from = child.stdout.take().unwrap();
        Talker::new(child, from)
    }

    /// For longer than a peer may be silent, and shorter than a session goes on without a link.
    pub(crate) fn cut_briefly() {
        let mut scene = Scene::set(500, 20_000);
        scene.switch.pull(DESK);
        std::thread::sleep(Duration::from_millis(1500));
        scene.switch.put_back(DESK);
        scene.desk.wait_for("all");
        assert!(!scene.desk.has_said("lost"), "{:#?}", scene.desk.seen);
        scene.office.wait_for(") has left");
        assert!(!scene.office.has_said("gone"), "{:#?}", scene.office.seen);
    }

    pub(crate) fn out_of_reach() {
        let (switch, folder) = (Switch::new(), tempfile::tempdir().unwrap());
        Secret::random().save(folder.path().join("secret")).unwrap();
        let start = |at, service| start(&switch, at, folder.path(), [2000, 2000], service);
        let mut office = start(OFFICE, None);
        let at = office.wait_for("at ");
        let at = at.strip_prefix("at ").unwrap();
        let mut drawer = start(DRAWER, Some(at));
        let why = drawer.wait_for("refused: ");
        assert!(why.contains("listens on 127.0.0.1 alone"), "{why}");
        assert!(why.contains(".listen(([0, 0, 0, 0], 0).into())"), "{why}");
        office.wait_for(") has left");
    }

    /// Its service is on its machine, and the nodes are not all.
    pub(crate) fn apart_from_some() {
        let (switch, folder) = (Switch::new(), tempfile::tempdir().unwrap());
        Secret::random().save(folder.path().join("secret")).unwrap();
        let start = |at, service| start(&switch, at, folder.path(), [2000, 2000], service);
        let mut shelf = start(SHELF, None);
        let at = shelf.wait_for("at ");
        let at = at.strip_prefix("at ");
        let mut farm = start(FARM, at);
        farm.wait_for("at ");
        let mut drawer = start(DRAWER, at);
        let why = drawer.wait_for("is not used: ");
        assert!(why.starts_with("node farm "), "{why}");
        assert!(why.contains("this one is on another machine"), "{why}");
        assert!(why.contains(".listen(([0, 0, 0, 0], 0).into())"), "{why}");
        let mut laptop = start(LAPTOP, at);
        laptop.wait_for("at ");
        drawer.wait_for("heard 7");
        shelf.wait_for(") has left");
    }

    /// Until both sides know.
    pub(crate) fn cut_for_long() {
        let mut scene = Scene::set(300, 700);
        scene.switch.pull(DESK);
        scene.office.wait_for(") has left: it is gone: ");
        scene.desk.wait_for("service office was lost: ");
        scene.switch.put_back(DESK);
        scene.desk.wait_for("service office runs the program");
        scene.desk.wait_for("all");
        let left = scene.office.wait_for(") has left");
        assert!(left.ends_with("has left"), "{left}");
    }
}
