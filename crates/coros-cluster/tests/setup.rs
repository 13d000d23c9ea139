//! What runs before and after all calls, in the workers of this machine and of nodes.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use common::farm::*;
use common::*;
use coros::cluster::placement::Placement;
use coros::cluster::{Call, Event, SchedulerBuilder, StartError, worker};
use coros::{Address, Scheduler};
use libtest_mimic::Arguments;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum What {
    NodeUp,
    Up,
    Down,
    NodeDown,
}

/// What has happened in which worker.
#[derive(Debug, Serialize, Deserialize)]
struct Step(What, String);

fn name() -> String {
    worker::name().unwrap_or_default().to_owned()
}

fn tell(to: &Address<Step>, what: What) {
    to.send(Step(what, name())).unwrap();
}

/// Loads data for all workers of the node, and gives its length.
#[coros::remote]
fn load(to: Address<Step>, text: String) -> usize {
    let path = worker::shared_folder().unwrap().join("data");
    std::fs::write(path, &text).unwrap();
    tell(&to, What::NodeUp);
    text.len()
}

static DATA: OnceLock<String> = OnceLock::new();

/// Leaves a process behind: its number.
#[cfg(target_os = "linux")]
#[coros::remote]
fn load_and_linger(to: Address<u32>) {
    let path = worker::shared_folder().unwrap().join("data");
    std::fs::write(path, "data").unwrap();
    let script = format!("{ESCAPE} exit");
    let mut started = std::process::Command::new("sh");
    started.args(["-c", &script]);
    to.send(pid(&started.output().unwrap().stdout)).unwrap();
}

/// The errors there were, and what there is to read.
#[cfg(target_os = "linux")]
type Tried = (Vec<Option<i32>>, String);

#[cfg(target_os = "linux")]
#[coros::remote]
fn tell_of_meddling(to: Address<Tried>) {
    to.send(meddling()).unwrap();
}

#[cfg(target_os = "linux")]
#[coros::remote]
fn meddle() -> Tried {
    meddling()
}

/// What comes of writing to what was loaded, of adding to it and of removing it, and what is read then.
#[cfg(target_os = "linux")]
fn meddling() -> Tried {
    use std::fs;
    let folder = worker::shared_folder().unwrap();
    let path = folder.join("data");
    let tried = [
        fs::write(&path, "changed"),
        fs::write(folder.join("new"), "new"),
        fs::create_dir(folder.join("folder")),
        fs::hard_link(&path, folder.join("link")),
        fs::remove_file(&path),
    ];
    let codes = tried.map(|it| it.err().and_then(|error| error.raw_os_error()));
    (codes.to_vec(), fs::read_to_string(path).unwrap_or_default())
}

/// Reads what there is on the node into this worker.
#[coros::remote]
fn read(to: Address<Step>) {
    let path = worker::shared_folder().unwrap().join("data");
    let text = std::fs::read_to_string(path).unwrap();
    let length = worker::node_value::<usize>().unwrap().unwrap();
    assert_eq!(length, text.len());
    DATA.set(text).expect("it is read once");
    tell(&to, What::Up);
}

#[coros::remote]
fn done(to: Address<Step>, what: What) {
    tell(&to, what);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Seen {
    worker: String,
    text: Option<String>,
    value: Option<usize>,
    shared: PathBuf,
}

#[coros::remote]
fn see() -> Seen {
    Seen {
        worker: name(),
        text: DATA.get().cloned(),
        value: worker::node_value::<usize>().map(Result::unwrap),
        shared: worker::shared_folder().unwrap().to_owned(),
    }
}

#[coros::remote]
fn fails(why: String) -> Result<(), String> {
    Err(why)
}

#[coros::remote]
fn may_exit(code: Option<i32>) {
    if let Some(code) = code {
        std::process::exit(code)
    }
}

#[coros::remote]
async fn takes(time: Duration) {
    tokio::time::sleep(time).await;
}

#[coros::remote]
fn panics() {
    panic!("ouch")
}

/// Asks when to go on.
#[coros::remote]
async fn slowly_done(mut me: coros::Context<()>, asks: Address<Address<()>>, to: Address<Step>) {
    asks.send(me.address()).unwrap();
    me.receive().await;
    tell(&to, What::NodeDown);
}

/// With all four functions, which tell what they do.
fn with_all(scheduler: SchedulerBuilder) -> (SchedulerBuilder, mpsc::UnboundedReceiver<Step>) {
    let (to, steps) = told::<Step>();
    let [a, b, c, d] = [(); 4].map(|()| to.clone());
    let scheduler = quiet(scheduler)
        .set_up_node(move |node| Some(load(a.clone(), format!("data for {}", node.name))))
        .set_up_worker(move |_| Some(read(b.clone())))
        .tear_down_worker(move |_| Some(done(c.clone(), What::Down)))
        .tear_down_node(move |_| Some(done(d.clone(), What::NodeDown)));
    (scheduler, steps)
}

/// The steps of each node, by the name of a node: `local` for this machine.
async fn by_node(
    mut steps: mpsc::UnboundedReceiver<Step>,
    n: usize,
) -> BTreeMap<String, Vec<Step>> {
    let mut of: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    for _ in 0..n {
        let step = steps.recv().await.unwrap();
        let node = step.1.split_once('@').map_or("local", |(_, node)| node);
        of.entry(node.to_owned()).or_default().push(step);
    }
    of
}

fn check(steps: &[Step], workers: usize) {
    let what: Vec<_> = steps.iter().map(|Step(what, _)| *what).collect();
    let mut expected = vec![What::NodeUp];
    expected.extend(vec![What::Up; workers]);
    expected.extend(vec![What::Down; workers]);
    expected.push(What::NodeDown);
    assert_eq!(what, expected, "{steps:?}");
    // Who tidies the node up is the last of its workers, and who prepares it none of them.
    assert_eq!(steps[2 * workers].1, steps[2 * workers + 1].1);
    let of = |what| {
        let steps = steps.iter().filter(move |it| it.0 == what);
        let mut names: Vec<_> = steps.map(|Step(_, name)| name).collect();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(of(What::Up).len(), workers);
    assert_eq!(of(What::Up), of(What::Down));
    assert!(!of(What::Up).contains(&&steps[0].1), "{steps:?}");
}

async fn each_node_and_each_worker_is_prepared_once() {
    let farm = Farm::of([1, 2]).await;
    for (scheduler, nodes) in [
        (Scheduler::local().workers(3), vec![("local", 3)]),
        (
            Scheduler::cluster(&farm.client().await),
            vec![("farm-1", 1), ("farm-2", 2)],
        ),
    ] {
        let (scheduler, steps) = with_all(scheduler);
        let scheduler = scheduler.start().await.unwrap();
        workers(&mut scheduler.events(), 3).await;
        let mut shared = Vec::new();
        for (target, seen) in scheduler.run_each_worker(|_| see()).await {
            let seen = seen.unwrap();
            assert_eq!(seen.worker, target.name());
            let node = target
                .name()
                .split_once('@')
                .map_or("local", |(_, node)| node);
            let text = format!("data for {node}");
            assert_eq!(seen.value, Some(text.len()));
            assert_eq!(seen.text, Some(text));
            shared.push(seen.shared);
        }
        shared.sort();
        shared.dedup();
        assert_eq!(shared.len(), nodes.len(), "one for each node");
        assert!(shared.iter().all(|folder| folder.exists()));
        scheduler.close().await.unwrap();
        let of = by_node(steps, 3 * 2 + 2 * nodes.len()).await;
        assert_eq!(of.len(), nodes.len());
        for (node, workers) in nodes {
            check(&of[node], workers);
        }
        for daemon in &farm.daemons {
            idle(daemon).await;
        }
        drop(scheduler);
        assert!(!shared.iter().any(|folder| folder.exists()), "{shared:?}");
    }
    farm.close().await;
}

/// Not by those that work, nor by the one that tidies up, nor by what the one has started that loaded it.
#[cfg(target_os = "linux")]
async fn what_is_loaded_for_all_is_read_and_not_written() {
    const DENIED: Option<i32> = Some(nix::libc::EACCES);
    let farm = Farm::of([2]).await;
    let node = farm.client().await;
    let (to, mut lingers) = told::<u32>();
    let (meddled, mut at_the_end) = told::<Tried>();
    let scheduler = quiet(Scheduler::cluster(&node))
        .set_up_node(move |_| Some(load_and_linger(to.clone())))
        .tear_down_node(move |_| Some(tell_of_meddling(meddled.clone())));
    let scheduler = scheduler.start().await.unwrap();
    workers(&mut scheduler.events(), 2).await;
    ended(lingers.recv().await.unwrap()).await;
    let all = scheduler.run_each_worker(|_| meddle()).await;
    assert_eq!(all.len(), 2);
    let refused = (vec![DENIED; 5], "data".to_owned());
    for (_, tried) in all {
        assert_eq!(tried, Ok(refused.clone()));
    }
    scheduler.close().await.unwrap();
    assert_eq!(at_the_end.recv().await, Some(refused));
    idle(&farm.daemons[0]).await;

    // Where nobody prepares the node, it is for all.
    let scheduler = quiet(Scheduler::cluster(&node)).start().await.unwrap();
    workers(&mut scheduler.events(), 2).await;
    for (_, tried) in scheduler.run_each_worker(|_| meddle()).await {
        let (tried, _) = tried.unwrap();
        assert_eq!(tried[0], None);
    }
    scheduler.close().await.unwrap();
    farm.close().await;
}

/// Without closing it, as when a program ends.
async fn a_scheduler_that_is_dropped_tidies_up_too() {
    let (scheduler, steps) = with_all(Scheduler::local().workers(2));
    let scheduler = scheduler.start().await.unwrap();
    workers(&mut scheduler.events(), 2).await;
    drop(scheduler);
    check(&by_node(steps, 6).await["local"], 2);
}

async fn a_worker_that_is_replaced_is_prepared_and_its_node_is_not() {
    let (scheduler, mut steps) = with_all(Scheduler::local().workers(1));
    let scheduler = scheduler.start().await.unwrap();
    let mut told = Vec::new();
    for _ in 0..2 {
        told.push(steps.recv().await.unwrap().0);
    }
    // Its worker is killed.
    let job = scheduler.submit(takes(Duration::from_secs(1000)));
    let pid = {
        let mut events = scheduler.events();
        let Some(Event::WorkerReady { pid, .. }) = events.next().await else {
            panic!("it is ready")
        };
        pid
    };
    signal(pid, nix::sys::signal::Signal::SIGKILL);
    told.push(steps.recv().await.unwrap().0);
    drop(job);
    assert_eq!(scheduler.run(see()).await.unwrap().value, Some(14));
    scheduler.close().await.unwrap();
    while told.len() < 5 {
        told.push(steps.recv().await.unwrap().0);
    }
    let expected = [What::NodeUp, What::Up, What::Up, What::Down, What::NodeDown];
    assert_eq!(told, expected);
}

/// The next steps, without who does them.
async fn next<const N: usize>(steps: &mut mpsc::UnboundedReceiver<Step>) -> [What; N] {
    let mut next = [What::Up; N];
    for what in &mut next {
        *what = steps.recv().await.unwrap().0;
    }
    next
}

/// Whoever comes after that is prepared anew, when the node is.
async fn restarting_all_tidies_up_before_anybody_comes_back() {
    let farm = Farm::of([2]).await;
    for scheduler in [
        Scheduler::local().workers(2),
        Scheduler::cluster(&farm.client().await),
    ] {
        let (scheduler, mut steps) = with_all(scheduler);
        let scheduler = scheduler.start().await.unwrap();
        let mut events = scheduler.events();
        workers(&mut events, 2).await;
        let up = [What::NodeUp, What::Up, What::Up];
        assert_eq!(next(&mut steps).await, up);
        for worker in scheduler.workers().await {
            scheduler.restart(worker).await.unwrap();
        }
        let down = [What::Down, What::Down, What::NodeDown];
        assert_eq!(next(&mut steps).await, down);
        assert_eq!(next(&mut steps).await, up);
        // One of two leaves the node as it is.
        workers(&mut events, 2).await;
        let worker = scheduler.workers().await.remove(0);
        scheduler.restart(worker).await.unwrap();
        assert_eq!(next(&mut steps).await, [What::Down, What::Up]);
        workers(&mut events, 1).await;
        scheduler.close().await.unwrap();
        assert_eq!(next(&mut steps).await, down);
    }
    farm.close().await;
}

/// It is still being prepared.
async fn a_node_is_tidied_up_though_no_worker_has_come_to_work() {
    let never_ready = |scheduler| {
        let (scheduler, steps) = with_all(scheduler);
        let (asks, asked) = told::<Address<()>>();
        let (to, _) = told::<Step>();
        let scheduler =
            scheduler.set_up_worker(move |_| Some(slowly_done(asks.clone(), to.clone())));
        (scheduler, steps, asked)
    };
    let (scheduler, mut steps, mut asked) = never_ready(Scheduler::local().workers(1));
    tokio::select! {
        _ = scheduler.start() => panic!("none is ready"),
        _ = asked.recv() => {}
    }
    assert_eq!(next(&mut steps).await, [What::NodeUp, What::NodeDown]);

    let farm = Farm::of([1]).await;
    let (scheduler, mut steps, mut asked) = never_ready(Scheduler::cluster(&farm.client().await));
    let scheduler = scheduler.start().await.unwrap();
    let job = scheduler.submit(takes(Duration::ZERO));
    asked.recv().await.unwrap();
    scheduler.close().await.unwrap();
    assert_eq!(next(&mut steps).await, [What::NodeUp, What::NodeDown]);
    assert!(job.await.is_err());
    farm.close().await;
}

/// Slots that are lent again meanwhile wait until the node is tidied up.
async fn nobody_starts_while_a_node_is_tidied_up() {
    let farm = Farm::of([2]).await;
    let (to, mut steps) = told::<Step>();
    let (asks, mut asked) = told::<Address<()>>();
    let up = to.clone();
    let scheduler = quiet(Scheduler::cluster(&farm.client().await))
        .set_up_node(move |_| Some(done(up.clone(), What::NodeUp)))
        .tear_down_node(move |_| Some(slowly_done(asks.clone(), to.clone())));
    let scheduler = scheduler.start().await.unwrap();
    let mut events = scheduler.events();
    workers(&mut events, 2).await;
    assert_eq!(next(&mut steps).await, [What::NodeUp]);
    farm.daemons[0].suspend();
    let go_on = asked.recv().await.unwrap();
    farm.daemons[0].resume();
    let resumed = |event: &Event| matches!(event, Event::NodeResumed { .. });
    while !resumed(&events.next().await.unwrap()) {}
    let job = scheduler.submit(takes(Duration::ZERO));
    assert!(steps.try_recv().is_err());
    go_on.send(()).unwrap();
    assert_eq!(next(&mut steps).await, [What::NodeDown, What::NodeUp]);
    job.await.unwrap();
    drop(scheduler);
    asked.recv().await.unwrap().send(()).unwrap();
    farm.close().await;
}

async fn what_cannot_be_prepared_is_not_used_and_told_why() {
    let why = async |scheduler: SchedulerBuilder| {
        let error = quiet(scheduler).start().await.unwrap_err();
        assert!(matches!(error, StartError::NoWorkers(_)));
        error.to_string()
    };
    let local = || Scheduler::local().workers(2);
    let said = why(local().set_up_node(|_| Some(fails("no data".into())))).await;
    assert!(
        said.contains("the setup of its node failed: no data"),
        "{said}"
    );
    let said = why(local().set_up_worker(|_| Some(panics()))).await;
    assert!(
        said.contains("its setup failed: it panicked: ouch"),
        "{said}"
    );
    let slow = |scheduler: SchedulerBuilder| {
        scheduler.set_up_worker(|_| Some(takes(Duration::from_millis(700))))
    };
    let said = why(slow(local()).setup_limit(Duration::from_millis(200))).await;
    assert!(said.contains("its setup took longer than 200ms"), "{said}");
    let said = why(local().tear_down_worker(|_| -> Option<Call<()>> { panic!("no broom") })).await;
    let panicked = "no worker could be started: its tear_down_worker function panicked: no broom";
    assert_eq!(said, panicked);
    // With time enough, also for more than a worker has to start.
    let scheduler = slow(local()).start_limit(Duration::from_millis(600));
    let scheduler = quiet(scheduler).start().await.unwrap();
    scheduler.close().await.unwrap();
}

/// For real, of a node and of workers here: all other limits are as ever.
async fn a_setup_of_a_minute_works_with_its_limit_raised() {
    const MINUTE: Duration = Duration::from_secs(60);
    let farm = Farm::of([1]).await;
    let node = Scheduler::cluster(&farm.client().await).set_up_node(|_| Some(takes(MINUTE)));
    let local = Scheduler::local().set_up_worker(|_| Some(takes(MINUTE)));
    let works = async |scheduler: SchedulerBuilder| {
        let began = Instant::now();
        let scheduler = quiet(scheduler.workers(1)).setup_limit(MINUTE + MINUTE / 2);
        let scheduler = scheduler.start().await.unwrap();
        assert_eq!(scheduler.run(square(3)).await, Ok(9));
        let took = began.elapsed();
        assert!(took >= MINUTE, "{took:?}");
        scheduler.close().await.unwrap();
    };
    tokio::join!(works(node), works(local));
    farm.close().await;
}

/// It is the node that is not used, and the scheduler goes on: with a panic for each node, and with one for one of two.
async fn a_function_that_panics_for_a_node_is_the_reason_why_it_is_not_used() {
    let farm = Farm::of([1, 1]).await;
    let client = farm.client().await;
    let placement = |bad: &'static str| {
        let placement = Placement::builder().allocate(move |node, decision| {
            assert!(!node.name.starts_with(bad), "no place for {}", node.name);
            decision
        });
        Scheduler::cluster(&client).placement(placement.build().unwrap())
    };
    let setup = |bad: &'static str| {
        Scheduler::cluster(&client).set_up_node(move |node| -> Option<Call<()>> {
            assert!(!node.name.starts_with(bad), "no place for {}", node.name);
            None
        })
    };
    let rows = [
        (placement("farm"), placement("farm-1"), "placement"),
        (setup("farm"), setup("farm-1"), "set_up_node"),
    ];
    for (none, one, what) in rows {
        let why = format!("its {what} function panicked: no place for farm-1");
        let none = quiet(none.patience(Duration::from_secs(1)));
        let error = none.start().await.unwrap_err().to_string();
        assert!(error.contains(&why), "{error}");
        let scheduler = quiet(one).start().await.unwrap();
        let mut events = scheduler.events();
        let told = until(&mut events, |event| match event {
            Event::NodeNotUsed { name, reason, .. } if **name == *"farm-1" => Some(reason.clone()),
            _ => None,
        });
        assert_eq!(told.await, why);
        let seen = scheduler.run(see()).await.unwrap();
        assert_eq!(seen.worker, "w1@farm-2");
        scheduler.close().await.unwrap();
    }
    farm.close().await;
}

#[coros::remote]
fn gives(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[coros::remote]
fn takes_text(text: String) {
    assert!(!text.is_empty());
}

#[coros::remote]
fn sees_text() -> usize {
    worker::node_value::<String>().unwrap().unwrap().len()
}

/// As large as it may be it comes to all workers, here and there; what is larger is told.
async fn what_prepares_a_node_may_be_large() {
    let farm = Farm::of([2]).await;
    let most = (3 << 20) - 8;
    for scheduler in [
        Scheduler::local().workers(2),
        Scheduler::cluster(&farm.client().await),
    ] {
        let text = move || takes_text("x".repeat(most));
        let scheduler = quiet(scheduler)
            .set_up_node(move |_| Some(gives(most)))
            .tear_down_node(move |_| Some(text()))
            .set_up_worker(move |_| Some(text()))
            .tear_down_worker(move |_| Some(text()));
        let scheduler = scheduler.start().await.unwrap();
        workers(&mut scheduler.events(), 2).await;
        for (_, length) in scheduler.run_each_worker(|_| sees_text()).await {
            assert_eq!(length, Ok(most));
        }
        scheduler.close().await.unwrap();
    }
    farm.close().await;
    let why = async |scheduler: SchedulerBuilder| {
        let error = quiet(scheduler.workers(1)).start().await.unwrap_err();
        error.to_string()
    };
    let said = why(Scheduler::local().set_up_node(move |_| Some(gives(most + 8)))).await;
    assert!(said.contains("what it gives has"), "{said}");
    let text = move || takes_text("x".repeat(most + 8));
    let said = why(Scheduler::local().set_up_worker(move |_| Some(text()))).await;
    assert!(said.contains("what the function is given has"), "{said}");
}

/// It is an event, and said on standard error.
async fn what_cannot_be_undone_is_told() {
    let farm = Farm::of([1]).await;
    for (scheduler, worker) in [
        (Scheduler::local().workers(1), "w1"),
        (Scheduler::cluster(&farm.client().await), "w1@farm-1"),
    ] {
        let (say, mut said) = mpsc::unbounded_channel();
        let (tell, mut told) = mpsc::unbounded_channel();
        let scheduler = scheduler
            .log("off")
            .stderr(move |_, line| drop(say.send(line.to_owned())))
            .on_event(move |event| {
                if let Event::TearDownFailed { name, reason, .. } = event {
                    let _ = tell.send(format!("{name}: {reason}"));
                }
            })
            .tear_down_worker(|_| Some(fails("no broom".into())))
            .tear_down_node(|_| Some(panics()));
        let scheduler = scheduler.start().await.unwrap();
        workers(&mut scheduler.events(), 1).await;
        scheduler.close().await.unwrap();
        drop(scheduler);
        let mut lines = Vec::new();
        while let Some(line) = said.recv().await {
            lines.push(line);
        }
        for why in [
            "its teardown failed: no broom",
            "the teardown of its node failed: it panicked: ouch",
        ] {
            let event = told.recv().await.unwrap();
            assert_eq!(event, format!("{worker}: {why}"));
            assert!(lines.iter().any(|line| line == why), "{lines:?}");
        }
        assert_eq!(told.recv().await, None);
    }
    farm.close().await;
}

/// Of each worker and of the node, before that it has ended; and nothing is torn down.
async fn what_a_node_ends_that_evicts_is_told_to_be_left_undone() {
    let farm = Farm::of([2]).await;
    let (scheduler, mut steps) = with_all(Scheduler::cluster(&farm.client().await));
    let scheduler = scheduler.start().await.unwrap();
    let mut events = scheduler.events();
    let there = workers(&mut events, 2).await;
    while next(&mut steps).await != [What::Up] {}
    assert_eq!(next(&mut steps).await, [What::Up]);
    farm.daemons[0].evict();
    let mut told = Vec::new();
    loop {
        match events.next().await.unwrap() {
            Event::TearDownFailed { name, node, reason } => {
                assert_eq!(node.name, "farm-1");
                told.push((name, reason));
            }
            Event::NodeEnded { .. } => break,
            _ => {}
        }
    }
    let why = "did not run: its node has ended all that ran there";
    let own = there.iter().cloned();
    let mut expected: Vec<_> = own.map(|it| (it, format!("its teardown {why}"))).collect();
    let one = Arc::clone(&expected[0].0);
    expected.push((one, format!("the teardown of its node {why}")));
    assert_eq!(told, expected);
    let mut lost = 0;
    while lost < 2 {
        match events.next().await.unwrap() {
            event @ Event::TearDownFailed { .. } => panic!("{event}"),
            Event::WorkerLost { .. } => lost += 1,
            _ => {}
        }
    }
    assert!(steps.try_recv().is_err(), "something is torn down");
    // When it is back, all is prepared anew, and torn down once.
    let all = [What::NodeUp, What::Up, What::Up];
    assert_eq!(next(&mut steps).await, all);
    workers(&mut events, 2).await;
    scheduler.close().await.unwrap();
    let all = [What::Down, What::Down, What::NodeDown];
    assert_eq!(next(&mut steps).await, all);
    while let Some(event) = events.next().await {
        assert!(!matches!(event, Event::TearDownFailed { .. }), "{event}");
    }
    farm.close().await;
}

/// One that comes only for that, as nobody else is left: also when it cannot say so itself.
async fn one_that_ends_while_it_tidies_up_is_told_of() {
    for code in [None, Some(3)] {
        let (asks, mut asked) = told::<Address<()>>();
        let (to, _) = told::<Step>();
        let (tell, mut failed) = mpsc::unbounded_channel();
        let scheduler = quiet(Scheduler::local().workers(1))
            .on_event(move |event| {
                if let Event::TearDownFailed { name, reason, .. } = event {
                    let _ = tell.send(format!("{name}: {reason}"));
                }
            })
            .set_up_node(|_| Some(takes(Duration::ZERO)))
            .set_up_worker(move |_| Some(slowly_done(asks.clone(), to.clone())))
            .tear_down_node(move |_| Some(may_exit(code)));
        tokio::select! {
            _ = scheduler.start() => panic!("none is ready"),
            _ = asked.recv() => {}
        }
        let why = "w3: the teardown of its node failed: worker w3, ended with exit status 3";
        assert_eq!(failed.recv().await, code.map(|_| why.to_owned()));
    }
}

/// On a node whose workers never start nobody waits for ever, though it is tried again and again.
async fn a_node_that_cannot_be_prepared_keeps_nobody_waiting() {
    let farm = Farm::of([1]).await;
    let scheduler = Scheduler::cluster(&farm.client().await)
        .patience(Duration::from_secs(3))
        .set_up_node(|_| Some(fails("no data".into())));
    let scheduler = quiet(scheduler).start().await.unwrap();
    let error = scheduler.run(see()).await.unwrap_err();
    assert!(error.to_string().contains("no data"), "{error}");
    scheduler.close().await.unwrap();
    farm.close().await;
}

async fn a_node_that_need_not_be_prepared_is_not() {
    let scheduler = Scheduler::local().workers(2);
    let scheduler = scheduler
        .set_up_node(|node| (node.name == "another").then(|| fails("this is not the one".into())));
    let scheduler = quiet(scheduler).start().await.unwrap();
    let seen = scheduler.run(see()).await.unwrap();
    assert_eq!((seen.value, seen.text), (None, None));
    scheduler.close().await.unwrap();
}

fn main() {
    worker::enter();
    let mut trials = trials![
        each_node_and_each_worker_is_prepared_once,
        a_scheduler_that_is_dropped_tidies_up_too,
        a_worker_that_is_replaced_is_prepared_and_its_node_is_not,
        restarting_all_tidies_up_before_anybody_comes_back,
        a_node_is_tidied_up_though_no_worker_has_come_to_work,
        nobody_starts_while_a_node_is_tidied_up,
        what_cannot_be_prepared_is_not_used_and_told_why,
        a_function_that_panics_for_a_node_is_the_reason_why_it_is_not_used,
        what_prepares_a_node_may_be_large,
        what_cannot_be_undone_is_told,
        what_a_node_ends_that_evicts_is_told_to_be_left_undone,
        one_that_ends_while_it_tidies_up_is_told_of,
        a_node_that_cannot_be_prepared_keeps_nobody_waiting,
        a_node_that_need_not_be_prepared_is_not,
    ];
    trials.push(long_trial(
        "a_setup_of_a_minute_works_with_its_limit_raised",
        a_setup_of_a_minute_works_with_its_limit_raised,
    ));
    #[cfg(target_os = "linux")]
    trials.push(trial_that_needs(
        "landlock: files",
        "what_is_loaded_for_all_is_read_and_not_written",
        what_is_loaded_for_all_is_read_and_not_written,
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
