//! Nodes and workers that die, are drained, and come back.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::farm::*;
use common::work::*;
use common::*;
use coros::cluster::daemon::Daemon;
use coros::cluster::{Event, Events, Target, worker};
use coros::net::{Node, Secret};
use coros::{Address, JobError, Scheduler};
use libtest_mimic::Arguments;
#[cfg(target_os = "linux")]
use nix::sys::signal::Signal;
use tokio::sync::mpsc;

#[coros::remote]
fn exits(code: i32) {
    std::process::exit(code)
}

/// Starts a process that escapes from whoever has started it; its number.
#[cfg(target_os = "linux")]
#[coros::remote]
fn leave_behind() -> u32 {
    let sh = std::process::Command::new("sh")
        .args(["-c", ESCAPE])
        .output();
    pid(&sh.unwrap().stdout)
}

async fn a_call_that_kills_its_worker_is_given_up() {
    let farm = Farm::of([1]).await;
    let scheduler = quiet(Scheduler::cluster(&farm.client().await).retries(1));
    let scheduler = scheduler.start().await.unwrap();
    let error = scheduler.run(exits(3)).await.unwrap_err();
    let JobError::Abandoned { losses: 2, reason } = &error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("ended with exit status 3"), "{reason}");
    assert_eq!(scheduler.run(square(4)).await, Ok(16));
    scheduler.close().await.unwrap();
    farm.close().await;
}

async fn what_waits_for_a_node_that_goes_ends() {
    let farm = Farm::of([1, 1]).await;
    let scheduler = farm.scheduler().await;
    workers(&mut scheduler.events(), 2).await;
    let target = Target::node("farm-1");
    let (to, mut work) = told::<Work>();
    let running = scheduler.submit(until_told(to).at(target.clone()));
    let (_, _address) = begun(&mut work).await;
    let waiting = scheduler.submit(square(2).at(target.clone()));
    farm.daemons[0].close().await;
    let gone = JobError::TargetLost(target);
    assert_eq!(waiting.await, Err(gone.clone()));
    assert_eq!(running.await, Err(gone));
    assert_eq!(scheduler.run(square(3)).await, Ok(9));
    scheduler.close().await.unwrap();
    farm.close().await;
}

async fn without_a_node_nothing_hangs() {
    let farm = Farm::new();
    let scheduler = Scheduler::cluster(&farm.client().await).patience(Duration::from_millis(300));
    let error = scheduler.start().await.unwrap_err();
    assert!(error.to_string().contains("none was found"), "{error}");

    const PATIENCE: Duration = Duration::from_secs(4);
    let farm = Farm::of([1]).await;
    let node = farm.client().await;
    // The program has to come first.
    let scheduler = Scheduler::cluster(&node).patience(PATIENCE);
    let scheduler = quiet(scheduler).start().await.unwrap();
    assert_eq!(scheduler.run(square(4)).await, Ok(16));
    // One that needs too much does not wait for longer either.
    let large = scheduler.run(square(6).memory(1 << 50)).await;
    assert!(matches!(large, Err(JobError::NoRoom(_))), "{large:?}");
    assert_eq!(scheduler.run(square(4)).await, Ok(16));
    farm.daemons[0].close().await;
    let error = scheduler.run(square(5)).await.unwrap_err();
    assert!(
        matches!(&error, JobError::NoWorkers(why) if why.contains("farm-1")),
        "{error:?}"
    );
    // Nor does who comes later, until there is one again.
    let later = tokio::time::timeout(PATIENCE / 2, scheduler.run(square(5))).await;
    assert_eq!(later, Ok(Err(error)));
    let mut events = scheduler.events();
    let again = Daemon::builder(farm.builder("farm-1"), farm.folder("again"));
    let again = again.slots(1).start().await.unwrap();
    again.node().connect(endpoint(&node)).await.unwrap();
    let returned = |event: &Event| matches!(event, Event::NodeReturned { .. }).then_some(());
    until(&mut events, returned).await;
    assert_eq!(scheduler.run(square(5)).await, Ok(25));
    scheduler.close().await.unwrap();
    again.close().await;
}

/// Waits until a call has begun: where, and what ends it.
async fn begun(work: &mut mpsc::UnboundedReceiver<Work>) -> (Place, Address<()>) {
    loop {
        if let Work::Begun(place, address) = work.recv().await.unwrap() {
            return (place, address);
        }
    }
}

async fn a_node_that_is_drained_ends_what_it_runs_and_no_more() {
    let farm = Farm::of([1, 1]).await;
    let scheduler = farm.scheduler().await;
    let mut events = scheduler.events();
    workers(&mut events, 2).await;
    let (to, mut work) = told::<Work>();
    let jobs = [(); 2].map(|()| scheduler.submit(until_told(to.clone())));
    let running = [begun(&mut work).await, begun(&mut work).await];
    let running = BTreeMap::from(running.map(|(place, address)| (node_of(&place.worker), address)));
    let mut draining = Box::pin(farm.daemons[0].drain());
    // What comes now runs on the other one, as soon as that is free.
    let more = scheduler.submit(where_am_i());
    let is_told = |event: &Event| matches!(event, Event::NodeDraining { .. }).then_some(());
    tokio::select! {
        biased;
        _ = &mut draining => panic!("something runs there"),
        () = until(&mut events, is_told) => {}
    }
    running["farm-2"].send(()).unwrap();
    assert_eq!(node_of(&more.await.unwrap().worker), "farm-2");
    running["farm-1"].send(()).unwrap();
    draining.await.unwrap();
    for job in jobs {
        job.await.unwrap();
    }
    assert_eq!(
        node_of(&scheduler.run(where_am_i()).await.unwrap().worker),
        "farm-2"
    );
    scheduler.close().await.unwrap();
    farm.close().await;
}

#[cfg(target_os = "linux")]
mod processes {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A daemon in a process of its own, killed when dropped.
    pub(super) struct Process {
        child: Child,
        endpoint: SocketAddr,
    }

    pub(super) const ARGUMENT: &str = "--daemon";

    impl Process {
        pub(super) fn start(farm: &Farm, name: &str, slots: usize) -> Self {
            Self::listening(farm, name, slots, (std::net::Ipv4Addr::LOCALHOST, 0).into())
        }

        fn listening(farm: &Farm, name: &str, slots: usize, at: SocketAddr) -> Self {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([ARGUMENT, name, &slots.to_string(), &at.to_string()])
                .arg(farm.folder(name))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            writeln!(stdin, "{}", farm.secret.reveal()).unwrap();
            let mut line = String::new();
            let stdout = child.stdout.take().unwrap();
            BufReader::new(stdout).read_line(&mut line).unwrap();
            let endpoint = line.trim().parse().unwrap();
            Process { child, endpoint }
        }

        /// Another one in its place, when this one has ended.
        fn again(self, farm: &Farm) -> Self {
            let endpoint = self.endpoint;
            drop(self);
            Self::listening(farm, "farm-1", 1, endpoint)
        }

        fn signal(&self, which: Signal) {
            signal(self.child.id(), which);
        }
    }

    impl Drop for Process {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// What such a process does: name, slots, where it listens, folder; the secret on its standard
    /// input.
    pub(super) fn lend(arguments: &[String]) -> ! {
        let [name, slots, listen, folder] = arguments else {
            panic!("{arguments:?}")
        };
        let mut secret = String::new();
        std::io::stdin().read_line(&mut secret).unwrap();
        let secret = Secret::from_text(secret.trim()).unwrap();
        let listen = listen.parse().unwrap();
        let node = Node::builder().name(name).secret(secret).listen(listen);
        let daemon = Daemon::builder(node, folder).slots(slots.parse().unwrap());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let daemon = daemon.start().await.unwrap();
            println!("{}", endpoint(daemon.node()));
            std::future::pending().await
        })
    }

    async fn scheduler(farm: &Farm, nodes: &[&Process]) -> Scheduler {
        let mut builder = farm.builder("desk").grace(Duration::from_secs(1));
        for node in nodes {
            builder = builder.peer(node.endpoint);
        }
        let node = builder.build().await.unwrap();
        quiet(Scheduler::cluster(&node)).start().await.unwrap()
    }

    /// A daemon that is alone on its network, and a scheduler that uses it.
    async fn alone() -> (Farm, Process, Scheduler) {
        let farm = Farm::new();
        let one = Process::start(&farm, "farm-1", 1);
        let scheduler = scheduler(&farm, &[&one]).await;
        (farm, one, scheduler)
    }

    /// Waits for an event that tells of what was killed just now.
    async fn soon<T>(events: &mut Events, meant: impl Fn(&Event) -> Option<T>) -> T {
        let told = tokio::time::timeout(Duration::from_secs(2), until(events, meant)).await;
        told.expect("it is known within 2 s")
    }

    pub(super) async fn a_killed_daemon_takes_its_workers_along_and_the_work_goes_on() {
        let farm = Farm::new();
        let [one, other] = ["farm-1", "farm-2"].map(|name| Process::start(&farm, name, 1));
        let scheduler = scheduler(&farm, &[&one, &other]).await;
        let mut events = scheduler.events();
        workers(&mut events, 2).await;
        let (to, mut work) = told::<Work>();
        let jobs = [(); 2].map(|()| scheduler.submit(until_told(to.clone())));
        let running = [begun(&mut work).await, begun(&mut work).await];
        let running = running.map(|it| (node_of(&it.0.worker), it));
        let running = BTreeMap::from(running);
        one.signal(Signal::SIGKILL);
        let lost = |event: &Event| match event {
            Event::WorkerLost { name, .. } => Some(node_of(name)),
            _ => None,
        };
        assert_eq!(soon(&mut events, lost).await, "farm-1");
        ended(running["farm-1"].0.pid).await;
        // It runs again on the other one as soon as that is free.
        running["farm-2"].1.send(()).unwrap();
        let (place, address) = begun(&mut work).await;
        assert_eq!(node_of(&place.worker), "farm-2");
        address.send(()).unwrap();
        for job in jobs {
            assert_eq!(node_of(&job.await.unwrap()), "farm-2");
        }
        scheduler.close().await.unwrap();
    }

    /// Nobody is left there to do that, and who has prepared it is to know.
    pub(super) async fn what_was_prepared_at_a_node_whose_daemon_is_killed_stays_undone() {
        let farm = Farm::new();
        let one = Process::start(&farm, "farm-1", 1);
        let node = farm.builder("desk").peer(one.endpoint).build().await;
        let scheduler = Scheduler::cluster(&node.unwrap())
            .set_up_node(|_| Some(square(1)))
            .tear_down_node(|_| Some(square(2)));
        let scheduler = quiet(scheduler).start().await.unwrap();
        let mut events = scheduler.events();
        workers(&mut events, 1).await;
        one.signal(Signal::SIGKILL);
        let told = async {
            let mut told = Vec::new();
            loop {
                match events.next().await.unwrap() {
                    Event::TearDownFailed { reason, .. } => told.push(reason),
                    Event::NodeLost { .. } => return told,
                    _ => {}
                }
            }
        };
        let told = told.await;
        let [of_node] = told.as_slice() else {
            panic!("{told:?}")
        };
        let why = "the teardown of its node did not run: its node was lost: ";
        assert!(of_node.starts_with(why), "{of_node}");
        scheduler.close().await.unwrap();
    }

    /// It can run nowhere else.
    pub(super) async fn what_waits_for_a_node_whose_daemon_is_killed_ends() {
        let (_farm, one, scheduler) = alone().await;
        let node = Target::node("farm-1");
        let (to, mut work) = told::<Work>();
        let running = scheduler.submit(until_told(to).at(node.clone()));
        let (_place, _address) = begun(&mut work).await;
        let waiting = [2, 3].map(|n| scheduler.submit(square(n).at(node.clone())));
        one.signal(Signal::SIGKILL);
        let gone = Err(JobError::TargetLost(node));
        for job in waiting {
            assert_eq!(job.await, gone.clone());
        }
        assert_eq!(running.await.map(drop), gone.map(drop));
        scheduler.close().await.unwrap();
    }

    pub(super) async fn a_killed_daemon_takes_along_what_has_left_its_group() {
        let (_farm, one, scheduler) = alone().await;
        let left = scheduler.run(leave_behind()).await.unwrap();
        assert!(is_running(left));
        one.signal(Signal::SIGKILL);
        ended(left).await;
        scheduler.close().await.unwrap();
    }

    pub(super) async fn a_daemon_that_is_back_is_used_again() {
        let (farm, one, scheduler) = alone().await;
        let before = scheduler.run(where_am_i()).await.unwrap();
        one.signal(Signal::SIGKILL);
        ended(before.pid).await;
        // It waits meanwhile.
        let job = scheduler.submit(where_am_i());
        let _again = one.again(&farm);
        let after = job.await.unwrap();
        assert_eq!(node_of(&after.worker), "farm-1");
        assert_ne!(after.pid, before.pid);
        assert_eq!(after.program, before.program, "it has kept it");
        scheduler.close().await.unwrap();
    }

    /// What makes a file another than one of the same name, and of a number that is used again.
    fn identity(path: &Path) -> (u64, Option<std::time::SystemTime>) {
        use std::os::unix::fs::MetadataExt;

        let metadata = std::fs::metadata(path).unwrap();
        (metadata.ino(), metadata.created().ok())
    }

    /// What there is of a file that comes.
    fn part_of(incoming: &Path) -> Option<PathBuf> {
        let folders = std::fs::read_dir(incoming).into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()));
        let mut parts = files.flatten().flatten().filter(|file| {
            let name = file.file_name();
            name.as_encoded_bytes().starts_with(b".coros-part-")
        });
        let some = |file: &std::fs::DirEntry| file.metadata().is_ok_and(|it| it.len() > 0);
        Some(parts.find(some)?.path())
    }

    pub(super) async fn what_a_killed_daemon_had_received_is_not_sent_again() {
        let farm = Farm::new();
        let one = Process::start(&farm, "farm-1", 1);
        let builder = farm.builder("desk").grace(Duration::from_secs(1));
        let node = builder.peer(one.endpoint).build().await.unwrap();
        let starting = tokio::spawn(quiet(Scheduler::cluster(&node)).start());
        let incoming = farm.folder("farm-1").join("store/incoming");
        let part = loop {
            if let Some(found) = part_of(&incoming) {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        one.signal(Signal::SIGKILL);
        let before = identity(&part);
        let _again = one.again(&farm);
        let scheduler = starting.await.unwrap().unwrap();
        let place = scheduler.run(where_am_i()).await.unwrap();
        // It has become the program.
        assert_eq!(identity(&place.program), before);
        scheduler.close().await.unwrap();
    }

    pub(super) async fn a_node_that_dies_while_it_has_nothing_to_do_is_noticed() {
        let (_farm, one, scheduler) = alone().await;
        let mut events = scheduler.events();
        workers(&mut events, 1).await;
        one.signal(Signal::SIGKILL);
        let lost = |event: &Event| matches!(event, Event::NodeLost { .. }).then_some(());
        soon(&mut events, lost).await;
        scheduler.close().await.unwrap();
    }

    pub(super) async fn a_killed_worker_is_known_at_once() {
        let farm = Farm::of([1]).await;
        let scheduler = farm.scheduler().await;
        let mut events = scheduler.events();
        let place = scheduler.run(where_am_i()).await.unwrap();
        signal(place.pid, Signal::SIGKILL);
        let lost = |event: &Event| match event {
            Event::WorkerLost { reason, pid, .. } => Some((*pid, reason.clone())),
            _ => None,
        };
        let why = "killed by signal 9 (SIGKILL)".to_owned();
        assert_eq!(soon(&mut events, lost).await, (place.pid, why));
        let again = scheduler.run(where_am_i()).await.unwrap();
        assert_ne!(again.pid, place.pid);
        scheduler.close().await.unwrap();
        farm.close().await;
    }
}

fn main() {
    worker::enter();
    #[cfg(target_os = "linux")]
    use processes::*;
    #[cfg(target_os = "linux")]
    if let [_, first, rest @ ..] = &std::env::args().collect::<Vec<_>>()[..]
        && first == ARGUMENT
    {
        lend(rest);
    }
    let trials = trials![
        a_call_that_kills_its_worker_is_given_up,
        what_waits_for_a_node_that_goes_ends,
        without_a_node_nothing_hangs,
        a_node_that_is_drained_ends_what_it_runs_and_no_more,
        #[cfg(target_os = "linux")]
        a_killed_daemon_takes_its_workers_along_and_the_work_goes_on,
        #[cfg(target_os = "linux")]
        what_waits_for_a_node_whose_daemon_is_killed_ends,
        #[cfg(target_os = "linux")]
        what_was_prepared_at_a_node_whose_daemon_is_killed_stays_undone,
        #[cfg(target_os = "linux")]
        a_killed_daemon_takes_along_what_has_left_its_group,
        #[cfg(target_os = "linux")]
        a_daemon_that_is_back_is_used_again,
        #[cfg(target_os = "linux")]
        what_a_killed_daemon_had_received_is_not_sent_again,
        #[cfg(target_os = "linux")]
        a_node_that_dies_while_it_has_nothing_to_do_is_noticed,
        #[cfg(target_os = "linux")]
        a_killed_worker_is_known_at_once,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
