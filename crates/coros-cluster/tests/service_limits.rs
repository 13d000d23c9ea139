//! What a service keeps of a client: no more than so much.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use common::farm::*;
use common::service::*;
use common::*;
#[cfg(target_os = "linux")]
use coros::cluster::Event;
#[cfg(target_os = "linux")]
use coros::cluster::service::{Service, ServiceEvent};
use coros::cluster::worker;
use coros::net::Node;
use coros::{Address, JobError, Scheduler};
use libtest_mimic::Arguments;
#[cfg(target_os = "linux")]
use nix::sys::signal::Signal;
#[cfg(target_os = "linux")]
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[coros::remote]
fn of_size(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[coros::remote]
fn fails_at_length(bytes: usize) -> Result<(), String> {
    Err("x".repeat(bytes))
}

#[coros::remote]
fn length(text: String) -> usize {
    text.len()
}

/// Says that it has begun.
#[coros::remote]
fn tells_and_gives(to: Address<()>, bytes: usize) -> String {
    to.send(()).unwrap();
    "x".repeat(bytes)
}

/// More than the service keeps of a client.
async fn many_large_calls_wait_at_the_client() {
    let (farm, service) = farm_with_service([1]).await;
    let scheduler = at(&farm, &service).await;
    let (to, mut begun) = told::<Begun>();
    let first = scheduler.submit(computes("it".into(), to));
    let running = next(&mut begun).await;
    // None of them ends: the service would let this client go.
    let large = || length("x".repeat(8 << 20));
    let jobs: Vec<_> = (0..12).map(|_| scheduler.submit(large())).collect();
    for _ in 0..12 {
        // At least one more is sent before the answer, if it may be.
        assert_eq!(scheduler.nodes().await.len(), 1);
    }
    // Goes first of those that wait.
    let urgent = scheduler.submit(square(3).priority(1));
    running.end.send(()).unwrap();
    first.await.unwrap();
    assert_eq!(urgent.await, Ok(9));
    for job in jobs {
        assert_eq!(job.await, Ok(8 << 20));
    }
    scheduler.close().await.unwrap();
    close(farm, service).await;
}

/// A client whose coroutine stands still when it is told to.
#[derive(Default)]
struct Brake(Arc<(Mutex<bool>, Condvar)>);

impl Brake {
    fn set(&self, on: bool) {
        *self.0.0.lock().unwrap() = on;
        self.0.1.notify_all();
    }

    async fn client(&self, node: &Node) -> Scheduler {
        let brake = Arc::clone(&self.0);
        let scheduler = Scheduler::at(node).on_event(move |_| {
            // Other tasks go on.
            tokio::task::block_in_place(|| {
                let on = brake.0.lock().unwrap();
                drop(brake.1.wait_while(on, |on| *on).unwrap());
            });
        });
        quiet(scheduler).start().await.unwrap()
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        // Whoever stands still would not end.
        self.set(false);
    }
}

/// Waits until nothing more begins: how many have.
async fn until_none_begins(begun: &mut mpsc::UnboundedReceiver<()>) -> usize {
    let mut count = 0;
    while let Ok(Some(())) = timeout(Duration::from_secs(2), begun.recv()).await {
        count += 1;
    }
    count
}

const EACH: usize = 8 << 20;
const CALLS: usize = 40;

/// What its calls return is kept at the service up to a point; what ends after that is kept by workers, and the
/// rest does not begin.
async fn a_client_that_takes_no_results_gets_no_more_of_them() {
    let (farm, service) = farm_with_service([2]).await;
    let brake = Brake::default();
    let scheduler = brake.client(&client(&farm, &service).await).await;
    let (to, mut begun) = told::<()>();
    let submit = || scheduler.submit(tells_and_gives(to.clone(), EACH));
    assert_eq!(submit().await.unwrap().len(), EACH);
    begun.recv().await.unwrap();
    let jobs: Vec<_> = (0..CALLS).map(|_| submit()).collect();
    begun.recv().await.unwrap();
    brake.set(true);
    let count = until_none_begins(&mut begun).await;
    // Eight of them fill the window.
    assert!((7..24).contains(&count), "{count}");
    brake.set(false);
    for job in jobs {
        assert_eq!(job.await.unwrap().len(), EACH);
    }
    scheduler.close().await.unwrap();
    close(farm, service).await;
}

/// io calls have all begun when it turns out that nobody takes what they return.
#[cfg(target_os = "linux")]
async fn a_client_that_takes_no_results_does_not_make_the_service_larger() {
    let farm = Farm::of([2]).await;
    let (service, _words) = others::service_process(&farm).await;
    let resident = || resident(service.id().unwrap());
    let brake = Brake::default();
    let scheduler = brake.client(&farm.client().await).await;
    let (to, mut begun) = told::<()>();
    let submit = || scheduler.submit(tells_and_gives(to.clone(), EACH).io());
    assert_eq!(submit().await.unwrap().len(), EACH);
    begun.recv().await.unwrap();
    let before = resident();
    let jobs: Vec<_> = (0..CALLS).map(|_| submit()).collect();
    brake.set(true);
    until_none_begins(&mut begun).await;
    let grown = resident().saturating_sub(before);
    // The window, and what is on its way to and from the service.
    assert!(grown < 160 << 20, "{grown}");
    brake.set(false);
    for job in jobs {
        assert_eq!(job.await.unwrap().len(), EACH);
    }
    scheduler.close().await.unwrap();
    others::kill(service).await;
    farm.close().await;
}

/// Its process stands still, for less than its session outlives.
#[cfg(target_os = "linux")]
async fn a_client_that_is_stopped_does_not_make_the_service_larger() {
    let farm = Farm::of([2]).await;
    let (service, _words) = others::service_process(&farm).await;
    let service_pid = service.id().unwrap();
    let peers: Vec<_> = farm
        .daemons
        .iter()
        .map(|it| endpoint(it.node()).to_string())
        .collect();
    let what = others::GREEDY_CLIENT;
    let gate = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = farm.folder("client");
    std::fs::create_dir(&folder).unwrap();
    let at = gate.local_addr().unwrap().to_string();
    std::fs::write(folder.join(others::GATE), at).unwrap();
    let (client, mut words) = others::process(&farm, what, "client", &peers).await;
    let mut waiting = Vec::new();
    for _ in 0..others::GREEDY {
        waiting.push(gate.accept().await.unwrap());
    }
    let before = resident(service_pid);
    signal(client.id().unwrap(), Signal::SIGSTOP);
    drop(waiting);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let grown = resident(service_pid).saturating_sub(before);
    signal(client.id().unwrap(), Signal::SIGCONT);
    assert!((8 << 20..160 << 20).contains(&grown), "{grown}");
    assert_eq!(others::word(&mut words).await, "all");
    others::kill(client).await;
    others::kill(service).await;
    farm.close().await;
}

/// How many bytes a process has in memory.
#[cfg(target_os = "linux")]
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: usize = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib * 1024
}

async fn what_no_message_has_room_for_is_refused() {
    let (farm, service) = farm_with_service([1]).await;
    let scheduler = at(&farm, &service).await;
    // From the worker to the service there is room for it by a few bytes.
    let most = 16 * 1024 * 1024;
    let mut refused_here = 0;
    for bytes in (most - 72..most).step_by(8) {
        match scheduler.run(of_size(bytes)).await {
            Ok(value) => assert_eq!(value.len(), bytes),
            Err(JobError::Refused(why)) if why.contains("cannot be sent on") => refused_here += 1,
            Err(JobError::Refused(why)) => assert!(why.contains("cannot be sent"), "{why}"),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused_here > 0);
    // Together they are more than a message has room for.
    let long = (0..4).map(|_| scheduler.submit(fails_at_length(6 << 20)));
    for job in long.collect::<Vec<_>>() {
        let error = job.await.unwrap_err();
        assert!(matches!(&error, JobError::Failed(why) if why.len() == 6 << 20));
    }
    assert_eq!(scheduler.run(square(3)).await, Ok(9));
    scheduler.close().await.unwrap();
    close(farm, service).await;
}

#[cfg(target_os = "linux")]
#[coros::remote]
fn never_tidies_up() {
    loop {
        std::thread::park();
    }
}

/// A client that says that its workers have an hour to end, which they do not do by themselves; and the process
/// of one.
#[cfg(target_os = "linux")]
async fn patient_client(farm: &Farm, service: &Service) -> (Node, Scheduler, u32) {
    let node = client(farm, service).await;
    let scheduler = Scheduler::at(&node)
        .grace(Duration::from_secs(3600))
        .setup_limit(Duration::from_secs(3600))
        .tear_down_worker(|_| Some(never_tidies_up()))
        .exclusive();
    let scheduler = quiet(scheduler).start().await.unwrap();
    let mut events = scheduler.events();
    let pid = until(&mut events, |event| match event {
        Event::WorkerReady { pid, .. } => Some(*pid),
        _ => None,
    });
    let call = scheduler.submit(square(3));
    let pid = pid.await;
    assert_eq!(call.await, Ok(9));
    (node, scheduler, pid)
}

/// A farm with a service that grants no more than this.
#[cfg(target_os = "linux")]
async fn impatient_service() -> (Farm, Service, mpsc::UnboundedReceiver<ServiceEvent>) {
    let farm = Farm::of([1]).await;
    let (tell, events) = mpsc::unbounded_channel();
    let service = farm
        .service()
        .grace(Duration::from_millis(200))
        .on_event(passing(tell));
    (farm, service.start().await.unwrap(), events)
}

#[cfg(target_os = "linux")]
async fn workers_of_a_client_that_is_gone_have_the_grace_of_the_service() {
    let (farm, service, _events) = impatient_service().await;
    let (node, _scheduler, pid) = patient_client(&farm, &service).await;
    turns(&service, &[true]).await;
    let other = Scheduler::at(&client(&farm, &service).await);
    let other = tokio::spawn(quiet(other).exclusive().start());
    turns(&service, &[true, false]).await;
    // For all that others can see, its process has ended.
    node.close().await;
    ended(pid).await;
    let other = other.await.unwrap().unwrap();
    assert_eq!(other.run(square(3)).await, Ok(9));
    other.close().await.unwrap();
    idle(&farm.daemons[0]).await;
    close(farm, service).await;
}

#[cfg(target_os = "linux")]
async fn a_service_that_closes_waits_for_its_clients_and_tells_of_them() {
    let (farm, service, mut events) = impatient_service().await;
    let (_node, _scheduler, pid) = patient_client(&farm, &service).await;
    service.close().await;
    ended(pid).await;
    let mut left = false;
    while let Ok(event) = events.try_recv() {
        left |= matches!(event, ServiceEvent::ClientLeft { reason: None, .. });
    }
    assert!(left);
    farm.close().await;
}

fn main() {
    worker::enter();
    #[cfg(target_os = "linux")]
    others::enter();
    let trials = trials![
        many_large_calls_wait_at_the_client,
        a_client_that_takes_no_results_gets_no_more_of_them,
        #[cfg(target_os = "linux")]
        a_client_that_takes_no_results_does_not_make_the_service_larger,
        #[cfg(target_os = "linux")]
        a_client_that_is_stopped_does_not_make_the_service_larger,
        what_no_message_has_room_for_is_refused,
        #[cfg(target_os = "linux")]
        workers_of_a_client_that_is_gone_have_the_grace_of_the_service,
        #[cfg(target_os = "linux")]
        a_service_that_closes_waits_for_its_clients_and_tells_of_them,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
