//! Schedulers whose workers run on the nodes of a network: with real daemons, to which this very test
//! program travels.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::farm::*;
use common::*;
use coros::cluster::daemon::{Daemon, DaemonBuilder};
use coros::cluster::placement::{Decision, NodeView, Placement, Rule};
use coros::cluster::{Event, SchedulerBuilder, StartError, Target, worker};
use coros::net::{Node, Secret};
use coros::{Address, Context, JobError, Scheduler};
use libtest_mimic::Arguments;
#[cfg(target_os = "linux")]
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[coros::remote]
fn nothing() {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    pid: u32,
    worker: String,
    program: PathBuf,
    folder: PathBuf,
    environment: BTreeMap<String, String>,
    nice: i32,
}

#[coros::remote]
fn where_am_i() -> Place {
    Place {
        pid: std::process::id(),
        worker: worker::name().unwrap_or_default().to_owned(),
        program: std::fs::read_link("/proc/self/exe").unwrap_or_default(),
        folder: std::env::current_dir().unwrap(),
        environment: std::env::vars().collect(),
        nice: nice(),
    }
}

/// How much this process stands back for others.
fn nice() -> i32 {
    #[cfg(unix)]
    return rustix::process::getpriority_process(None).unwrap();
    #[cfg(not(unix))]
    0
}

#[coros::remote]
fn says(line: String) {
    eprintln!("{line}");
}

#[coros::remote]
fn says_and_exits(line: String) {
    eprintln!("{line}");
    std::process::exit(3)
}

#[coros::remote]
fn exits(code: i32) {
    std::process::exit(code)
}

#[coros::remote]
fn leaves_a_file() -> PathBuf {
    std::fs::write("left", "something").unwrap();
    std::path::absolute("left").unwrap()
}

/// What a worker finds: the text of each file, variables, the last arguments, and whether it can write
/// into a file.
#[coros::remote]
fn finds(
    files: Vec<String>,
    variable: String,
) -> (Vec<Option<String>>, Option<String>, Vec<String>) {
    let read = |name: &String| std::fs::read_to_string(worker::file(name)?).ok();
    let files = files.iter().map(read).collect();
    let arguments = std::env::args().skip_while(|it| !it.starts_with("--coros"));
    (
        files,
        std::env::var(variable).ok(),
        arguments.skip(2).collect(),
    )
}

/// What is in the working directory, and what comes of writing into a file there.
#[coros::remote]
fn looks_around(name: String) -> (Vec<String>, String, String) {
    let there = std::fs::read_dir(".").unwrap().map(Result::unwrap);
    let mut there: Vec<_> = there
        .map(|it| it.file_name().into_string().unwrap())
        .collect();
    there.sort();
    let text = std::fs::read_to_string(&name).unwrap();
    let written = std::fs::write(&name, "another");
    (
        there,
        text,
        format!("{:?}", written.map_err(|error| error.kind())),
    )
}

/// Takes memory without end.
#[coros::remote]
fn hogs() -> usize {
    let mut all = Vec::new();
    loop {
        all.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&all);
    }
}

/// Takes so many bytes of memory.
#[coros::remote]
fn takes(bytes: usize) -> usize {
    let all = vec![1_u8; bytes];
    std::hint::black_box(&all).len()
}

/// Starts processes that start processes.
#[coros::remote]
fn bombs() -> String {
    let script = "f() { f | f & wait; }; f";
    let ran = std::process::Command::new("sh")
        .arg("-c")
        .arg(script)
        .output();
    format!("{:?}", ran.map(|it| it.status))
}

/// Starts processes until that is refused: how many, and why no more.
#[coros::remote]
fn hoards() -> (usize, String) {
    for n in 0..10_000 {
        if let Err(why) = std::process::Command::new("sleep").arg("1000").spawn() {
            return (n, why.to_string());
        }
    }
    (10_000, "nothing".into())
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

/// Writes to a file without end.
#[coros::remote]
fn fills() {
    use std::io::Write;
    let mut file = std::fs::File::create("large").unwrap();
    loop {
        file.write_all(&[0; 1 << 20]).unwrap();
    }
}

/// Writes many files, though none that is large.
#[coros::remote]
fn litters() {
    for n in 0..100_000 {
        std::fs::write(format!("{n}"), vec![1; 1 << 20]).unwrap();
        // Until it is noticed, not until the disk of this test is full.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Uses memory that is not its own, as faulty unsafe code does.
#[coros::remote]
fn crashes() {
    // The first time the standard library looks whether it was a stack that was too small.
    for _ in 0..2 {
        let _ = nix::sys::signal::raise(Signal::SIGSEGV);
    }
}

/// What comes of reading, writing and signalling where it has no business.
#[coros::remote]
fn tries(reads: Vec<PathBuf>, writes: Vec<PathBuf>, pid: i32) -> (Vec<bool>, Vec<bool>, bool) {
    let reads = reads.iter().map(|path| std::fs::read(path).is_ok());
    let writes = writes.iter().map(|path| std::fs::write(path, "x").is_ok());
    let (reads, writes) = (reads.collect(), writes.collect());
    let signalled = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None);
    (reads, writes, signalled.is_ok())
}

#[derive(Debug, Serialize, Deserialize)]
enum Work {
    Begun(Place, Address<()>),
    Ended(String),
}

/// Tells that it has begun, and computes until it is told to end.
#[coros::remote]
async fn until_told(mut me: Context<()>, to: Address<Work>) -> String {
    let place = where_am_i().here().await.unwrap();
    to.send(Work::Begun(place, me.address())).unwrap();
    me.receive().await;
    let name = worker::name().unwrap_or_default().to_owned();
    to.send(Work::Ended(name.clone())).unwrap();
    name
}

#[derive(Debug, Serialize, Deserialize)]
enum Hello {
    From(Address<Greeting>, String),
    Heard(String, String),
}

#[derive(Debug, Serialize, Deserialize)]
enum Greeting {
    Greet(Address<Greeting>),
    Hello(String),
}

/// Tells its address, greets whom it is told to, and tells who greets it.
#[coros::remote]
async fn sociable(mut me: Context<Greeting>, to: Address<Hello>) -> Result<(), String> {
    let name = worker::name().unwrap_or_default().to_owned();
    to.send(Hello::From(me.address(), name.clone()))
        .map_err(|error| error.to_string())?;
    loop {
        match me.receive().await {
            Some(Greeting::Greet(other)) => other
                .deliver(Greeting::Hello(name.clone()))
                .await
                .map_err(|error| error.to_string())?,
            Some(Greeting::Hello(from)) => {
                let heard = Hello::Heard(name.clone(), from);
                return to.send(heard).map_err(|error| error.to_string());
            }
            None => return Err("nobody is left".into()),
        }
    }
}

async fn a_program_runs_where_it_has_never_been() {
    let farm = Farm::of([1, 2]).await;
    let scheduler = farm.scheduler().await;
    let mut events = scheduler.events();
    let names = workers(&mut events, 3).await;
    let nodes = names.iter().map(|name| node_of(name));
    let mut nodes: Vec<_> = nodes.collect();
    nodes.sort();
    assert_eq!(nodes, ["farm-1", "farm-2", "farm-2"]);

    let mut squares = scheduler.map((0..1000).map(square));
    let mut n = 0;
    while let Some(value) = squares.next().await {
        assert_eq!(value, Ok(n * n));
        n += 1;
    }
    assert_eq!(n, 1000);

    let place = scheduler.run(where_am_i()).await.unwrap();
    let node = farm.folder(&node_of(&place.worker));
    assert!(place.program.starts_with(node.join("store")), "{place:?}");
    assert!(place.folder.starts_with(node.join("work")), "{place:?}");
    // Without what is only for debuggers, which is behind all else; its header does not name it.
    let sent = std::fs::read(&place.program).unwrap();
    let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert!(
        sent.len() < whole.len() / 2,
        "{} of {}",
        sent.len(),
        whole.len()
    );
    assert!(sent[64..] == whole[64..sent.len()]);
    scheduler.close().await.unwrap();
    farm.close().await;
}

/// The processes that this one has started, each with a guard, and that wait to become workers.
#[cfg(target_os = "linux")]
fn spares() -> BTreeSet<u32> {
    let children = |pid: u32| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        let tasks = tasks.into_iter().flatten().flatten();
        let lists =
            tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let pids = lists.flat_map(|list| {
            let pids = list.split_whitespace().map(|pid| pid.parse().unwrap());
            pids.collect::<Vec<u32>>()
        });
        pids.collect::<Vec<_>>()
    };
    let waits = |pid: &u32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains("--coros-confined-worker")
    };
    let guards = children(std::process::id()).into_iter();
    guards.flat_map(children).filter(waits).collect()
}

/// Waits until one waits that is none of these.
#[cfg(target_os = "linux")]
async fn spare_besides(others: &[u32]) -> u32 {
    loop {
        let spares = spares();
        if let Some(pid) = spares.iter().find(|pid| !others.contains(pid)) {
            return *pid;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One process waits to become the next worker, is another one's when it does, and gone with the daemon.
#[cfg(target_os = "linux")]
async fn the_next_worker_is_there_before_it_is_wanted() {
    let farm = Farm::of([1]).await;
    let spare = spare_besides(&[]).await;
    let scheduler = farm.scheduler().await;
    let first = scheduler.run(where_am_i()).await.unwrap();
    assert_eq!(first.pid, spare);
    let next = spare_besides(&[spare]).await;
    // One that has ended meanwhile is of no use, and keeps nobody waiting.
    signal(next, Signal::SIGKILL);
    ended(next).await;
    signal(spare, Signal::SIGKILL);
    let second = scheduler.run(where_am_i()).await.unwrap();
    assert!(second.pid != spare && second.pid != next);
    let last = spare_besides(&[spare, next, second.pid]).await;
    scheduler.close().await.unwrap();
    farm.close().await;
    assert!(!is_running(last));
    assert_eq!(spares(), BTreeSet::new());
}

async fn a_node_gets_the_program_that_it_can_run() {
    let farm = Farm::of([1]).await;
    let node = farm.client().await;
    gets_the_program_that_it_can_run(&farm, || Scheduler::cluster(&node)).await;
    farm.close().await;
}

/// What is in a folder, with the number of the file.
fn entries(folder: &Path) -> BTreeMap<String, u64> {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, entry.metadata().unwrap().ino())
        })
        .collect()
}

async fn a_program_is_sent_once() {
    let farm = Farm::of([1]).await;
    let store = farm.folder("farm-1").join("store");
    let mut before = None;
    for _ in 0..2 {
        // Both at once, and again later.
        let (a, b) = tokio::join!(farm.scheduler(), farm.scheduler());
        for scheduler in [&a, &b] {
            scheduler.run(nothing()).await.unwrap();
            scheduler.close().await.unwrap();
        }
        let now = entries(&store);
        assert_eq!(now.keys().filter(|name| name.len() == 64).count(), 1);
        assert_eq!(&now, before.get_or_insert_with(|| now.clone()));
    }
    farm.close().await;
}

async fn everyone_can_message_everyone() {
    let farm = Farm::of([1, 1]).await;
    let scheduler = farm.scheduler().await;
    let (to, mut heard) = told::<Hello>();
    let jobs = [(); 2].map(|()| scheduler.submit(sociable(to.clone())));
    let mut met = Vec::new();
    while met.len() < 2 {
        match heard.recv().await.unwrap() {
            Hello::From(address, name) => met.push((address, name)),
            Hello::Heard(..) => panic!("nobody has greeted"),
        }
    }
    let [(a, first), (b, second)] = met.try_into().unwrap();
    assert_ne!(node_of(&first), node_of(&second));
    a.send(Greeting::Greet(b.clone())).unwrap();
    b.send(Greeting::Greet(a.clone())).unwrap();
    let mut greeted = BTreeSet::new();
    for _ in 0..2 {
        let Some(Hello::Heard(by, from)) = heard.recv().await else {
            panic!("somebody comes late")
        };
        greeted.insert((by, from));
    }
    let both = [(first.clone(), second.clone()), (second, first)];
    assert_eq!(greeted, BTreeSet::from(both));
    for job in jobs {
        job.await.unwrap();
    }
    scheduler.close().await.unwrap();
    farm.close().await;
}

async fn nothing_of_a_computation_stays() {
    let farm = Farm::of([1]).await;
    let work = farm.folder("farm-1").join("work");
    let scheduler = farm.scheduler().await;
    let left = scheduler.run(leaves_a_file()).await.unwrap();
    assert!(left.exists() && left.starts_with(&work));
    scheduler.close().await.unwrap();
    idle(&farm.daemons[0]).await;
    assert_eq!(std::fs::read_dir(&work).unwrap().count(), 0);
    farm.close().await;
}

async fn a_worker_knows_nothing_of_its_daemon() {
    let farm = Farm::of([1]).await;
    let scheduler = farm.scheduler().await;
    let place = scheduler.run(where_am_i()).await.unwrap();
    let names: BTreeSet<_> = place.environment.keys().map(String::as_str).collect();
    let may = [
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "RUST_BACKTRACE",
    ];
    assert!(names.is_subset(&may.into()), "{names:?}");
    assert_eq!(Path::new(&place.environment["HOME"]), place.folder);
    scheduler.close().await.unwrap();
    farm.close().await;
}

/// It has to answer while they compute.
#[cfg(target_os = "linux")]
async fn workers_stand_back_for_their_daemon() {
    let farm = Farm::of([1]).await;
    let scheduler = farm.scheduler().await;
    let place = scheduler.run(where_am_i()).await.unwrap();
    assert_eq!(place.nice, (nice() + 5).min(19));
    scheduler.close().await.unwrap();
    farm.close().await;
}

async fn what_workers_write_comes_in_order() {
    let farm = Farm::of([1]).await;
    let (to, mut lines) = mpsc::unbounded_channel();
    let scheduler = Scheduler::cluster(&farm.client().await)
        .log("off")
        .stderr(move |worker, line| drop(to.send((worker.to_owned(), line.to_owned()))));
    let scheduler = scheduler.start().await.unwrap();
    for n in 0..100 {
        scheduler.run(says(format!("line {n}"))).await.unwrap();
    }
    scheduler.close().await.unwrap();
    for n in 0..100 {
        let (worker, line) = lines.recv().await.unwrap();
        assert_eq!(line, format!("line {n}"));
        assert_eq!(node_of(&worker), "farm-1");
    }
    farm.close().await;
}

/// Writes to standard error until so many bytes are written.
#[coros::remote]
fn floods(bytes: usize) {
    use std::io::Write;
    let line = [&[b'x'; 999][..], b"\n"].concat();
    for _ in 0..bytes / line.len() {
        std::io::stderr().write_all(&line).unwrap();
    }
}

/// A terminal that takes nothing holds up who writes, and nothing else.
async fn lines_that_nobody_takes_hold_up_their_worker_alone() {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    let farm = Farm::of([2]).await;
    for scheduler in [
        Scheduler::cluster(&farm.client().await),
        Scheduler::local().workers(2),
    ] {
        let (open, is_open) = std::sync::mpsc::channel::<()>();
        let is_open = std::sync::Mutex::new(is_open);
        let lines = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&lines);
        let scheduler = scheduler.log("off").stderr(move |_, _| {
            // Until it is open; then at once.
            let _ = is_open.lock().unwrap().recv();
            counted.fetch_add(1, Relaxed);
        });
        let scheduler = scheduler.start().await.unwrap();
        workers(&mut scheduler.events(), 2).await;
        let mut flood = scheduler.submit(floods(20_000_000));
        for n in 0..100 {
            assert_eq!(scheduler.run(square(n)).await, Ok(n * n));
        }
        let ends = tokio::time::timeout(Duration::from_secs(2), &mut flood);
        assert!(ends.await.is_err(), "somebody has kept 20 MB of lines");
        drop(open);
        flood.await.unwrap();
        while lines.load(Relaxed) < 20_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        scheduler.close().await.unwrap();
        assert_eq!(lines.load(Relaxed), 20_000);
    }
    farm.close().await;
}

/// Also when they are printed slowly.
async fn what_a_worker_wrote_is_told_before_its_end() {
    let farm = Farm::of([1]).await;
    for scheduler in [
        Scheduler::cluster(&farm.client().await),
        Scheduler::local().workers(1),
    ] {
        let (to, mut told) = mpsc::unbounded_channel();
        let lost = to.clone();
        let scheduler = scheduler
            .log("off")
            .retries(0)
            .stderr(move |_, line| {
                std::thread::sleep(Duration::from_millis(5));
                let _ = to.send(line.to_owned());
            })
            .on_event(move |event| {
                if matches!(event, Event::WorkerLost { .. }) {
                    let _ = lost.send("lost".into());
                }
            });
        let scheduler = scheduler.start().await.unwrap();
        let lines: Vec<_> = (0..10).map(|n| format!("line {n}")).collect();
        let call = says_and_exits(lines.join("\n"));
        scheduler.run(call).await.unwrap_err();
        for expected in lines.iter().map(String::as_str).chain(["lost"]) {
            assert_eq!(told.recv().await.as_deref(), Some(expected));
        }
        scheduler.close().await.unwrap();
    }
    farm.close().await;
}

/// A folder with files, and a scheduler with which they travel.
fn with_files(scheduler: SchedulerBuilder, folder: &Path) -> SchedulerBuilder {
    std::fs::create_dir_all(folder.join("words/more")).unwrap();
    for name in ["single", "words/en", "words/more/de"] {
        std::fs::write(folder.join(name), name).unwrap();
    }
    scheduler
        .depends(folder.join("words"))
        .depends_as(folder.join("single"), "in/other")
        .env("GREETING", "hello")
        .args(["one", "two"])
}

async fn files_and_environment_travel() {
    let farm = Farm::of([1]).await;
    let folder = tempfile::tempdir().unwrap();
    let names = [
        "in/other",
        "words/en",
        "words/more/de",
        "words/none",
        "single",
        "in",
    ];
    let names = names.map(str::to_owned).to_vec();
    for scheduler in [
        Scheduler::cluster(&farm.client().await),
        Scheduler::local().workers(1),
    ] {
        let scheduler = with_files(quiet(scheduler), folder.path());
        let scheduler = scheduler.start().await.unwrap();
        let call = finds(names.clone(), "GREETING".into());
        let (files, variable, arguments) = scheduler.run(call).await.unwrap();
        let some = |text: &str| Some(text.to_owned());
        let [other, en, de] = ["single", "words/en", "words/more/de"].map(some);
        assert_eq!(files, [other, en, de, None, None, None]);
        assert_eq!(variable, some("hello"));
        assert_eq!(arguments, ["one", "two"]);
        scheduler.close().await.unwrap();
    }
    // As files of the working directory too, which are there for all workers.
    let scheduler = quiet(Scheduler::cluster(&farm.client().await));
    let scheduler = with_files(scheduler, folder.path()).start().await.unwrap();
    let (there, text, written) = scheduler
        .run(looks_around("words/en".into()))
        .await
        .unwrap();
    assert_eq!(there, ["in", "words"]);
    assert_eq!(text, "words/en");
    // To the superuser all is allowed, but for the copy of this one computation.
    assert!(
        written == "Err(PermissionDenied)" || nix::unistd::geteuid().is_root(),
        "{written}"
    );
    scheduler.close().await.unwrap();
    let scheduler = quiet(Scheduler::cluster(&farm.client().await));
    let scheduler = with_files(scheduler, folder.path()).start().await.unwrap();
    let (_, text, _) = scheduler
        .run(looks_around("words/en".into()))
        .await
        .unwrap();
    assert_eq!(text, "words/en", "it is as it was sent");
    scheduler.close().await.unwrap();
    farm.close().await;
}

/// For workers of this machine as for nodes, so that what works here works there.
async fn what_cannot_travel_is_an_error_at_once() {
    let farm = Farm::of([1]).await;
    let node = farm.client().await;
    let folder = tempfile::tempdir().unwrap();
    #[cfg(unix)]
    let _bound = {
        let rights = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&folder.path().join("pipe"), rights).unwrap();
        std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap()
    };
    #[cfg(unix)]
    let neither = "cannot travel with the program: it is neither a file nor a folder";
    type Given = fn(SchedulerBuilder, &Path) -> SchedulerBuilder;
    let rows: &[(Given, &str)] = &[
        (|it, _| it.depends_as("Cargo.toml", "../up"), "\"..\""),
        (|it, _| it.depends_as("Cargo.toml", "/etc/x"), "absolute"),
        (
            |it, _| {
                it.depends_as("Cargo.toml", "a")
                    .depends_as("src/lib.rs", "a")
            },
            "would both be \"a\" there",
        ),
        (
            |it, _| it.depends("no such file"),
            "no such file cannot travel with the program",
        ),
        #[cfg(unix)]
        (|it, _| it.depends("/dev/null"), neither),
        #[cfg(unix)]
        (|it, folder| it.depends(folder.join("pipe")), neither),
        #[cfg(unix)]
        (|it, folder| it.depends(folder.join("socket")), neither),
        #[cfg(unix)]
        (|it, folder| it.depends(folder), neither),
        (|it, _| it.env("", "x"), "has no name"),
        (|it, _| it.env("A=B", "x"), "\"A=B\" of the workers has `=`"),
        (
            |it, _| it.env("NAME", "with\0nul"),
            "\"NAME\" of the workers has a byte 0",
        ),
    ];
    for (given, says) in rows {
        for scheduler in [Scheduler::local().workers(1), Scheduler::cluster(&node)] {
            let scheduler = given(quiet(scheduler), folder.path()).start();
            let error = scheduler.await.unwrap_err();
            let expected = matches!(error, StartError::Depends(_) | StartError::Given(_));
            let error = error.to_string();
            assert!(expected && error.contains(says), "{error}");
        }
    }
    farm.close().await;
}

async fn what_is_too_large_for_a_node_is_told() {
    let mut farm = Farm::new();
    let daemon = Daemon::builder(farm.builder("farm-1"), farm.folder("farm-1")).cache(1000);
    farm.daemons.push(daemon.start().await.unwrap());
    let scheduler = Scheduler::cluster(&farm.client().await).patience(Duration::from_secs(2));
    let error = quiet(scheduler).start().await.unwrap_err().to_string();
    assert!(
        error.contains("farm-1") && error.contains("takes no more than 1000 at a time"),
        "{error}"
    );
    farm.close().await;
}

/// What workers run with is a copy, which takes as much of the disk again.
async fn copies_of_files_count_for_the_cache() {
    const FILE: u64 = 1 << 20;
    let farm = Farm::of([1]).await;
    let scheduler = farm.scheduler().await;
    let place = scheduler.run(where_am_i()).await.unwrap();
    let program = std::fs::metadata(&place.program).unwrap().len();
    scheduler.close().await.unwrap();
    farm.close().await;

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; FILE as usize]).unwrap();
    for (room, fits) in [(3 * FILE / 2, false), (2 * FILE, true)] {
        let mut farm = Farm::new();
        let daemon = Daemon::builder(farm.builder("farm-1"), farm.folder("farm-1"));
        let daemon = daemon.cache(program + room).slots(1);
        farm.daemons.push(daemon.start().await.unwrap());
        let scheduler = Scheduler::cluster(&farm.client().await).depends(file.path());
        let scheduler = quiet(scheduler.patience(Duration::from_secs(2)));
        match scheduler.start().await {
            Ok(scheduler) => {
                assert!(fits);
                scheduler.run(square(3)).await.unwrap();
                // Another one with the same file has a copy of its own, for which there is no room.
                let other = Scheduler::cluster(&farm.client().await).depends(file.path());
                let other = quiet(other.patience(Duration::from_secs(2)));
                other.start().await.unwrap_err();
                scheduler.close().await.unwrap();
                idle(&farm.daemons[0]).await;
                let other = Scheduler::cluster(&farm.client().await).depends(file.path());
                quiet(other).start().await.unwrap().close().await.unwrap();
            }
            Err(error) => {
                let error = error.to_string();
                assert!(
                    !fits && error.contains("workers cannot have copies"),
                    "{error}"
                );
            }
        }
        farm.close().await;
    }
}

async fn no_more_calls_run_than_there_are_slots() {
    let farm = Farm::of([2]).await;
    let [a, b] = [farm.scheduler().await, farm.scheduler().await];
    let (to, mut work) = told::<Work>();
    let jobs = (0..10).map(|n| [&a, &b][n % 2].submit(until_told(to.clone())));
    let jobs: Vec<_> = jobs.collect();
    let (mut running, mut ended, mut most) = (Vec::new(), 0, 0);
    let mut of = BTreeSet::new();
    while ended < 10 {
        match work.recv().await.unwrap() {
            Work::Begun(place, address) => {
                of.insert(place.folder.parent().unwrap().to_owned());
                running.push(address);
                most = running.len().max(most);
                assert!(running.len() <= 2, "more than there are slots");
            }
            Work::Ended(_) => ended += 1,
        }
        // As soon as both slots are taken one ends, and whoever waits begins.
        if running.len() == 2 || ended >= 8 {
            for address in running.drain(..1.min(running.len())) {
                address.send(()).unwrap();
            }
        }
    }
    assert_eq!((most, of.len()), (2, 2), "both run, one slot each");
    for job in jobs {
        job.await.unwrap();
    }
    for scheduler in [a, b] {
        scheduler.close().await.unwrap();
    }
    farm.close().await;
}

/// A node that holds its workers to this.
async fn holding(rules: impl FnOnce(DaemonBuilder) -> DaemonBuilder) -> (Farm, Scheduler) {
    let mut farm = Farm::new();
    let daemon = Daemon::builder(farm.builder("farm-1"), farm.folder("farm-1")).slots(1);
    farm.daemons.push(rules(daemon).start().await.unwrap());
    let scheduler = quiet(Scheduler::cluster(&farm.client().await).retries(0));
    let scheduler = scheduler.start().await.unwrap();
    (farm, scheduler)
}

/// Why a call that its worker does not survive is given up. The slot is free again.
async fn given_up<R: coros::Message + std::fmt::Debug>(
    rules: impl FnOnce(DaemonBuilder) -> DaemonBuilder,
    call: coros::Call<R>,
) -> String {
    let (farm, scheduler) = holding(rules).await;
    let error = scheduler.run(call).await.unwrap_err();
    let JobError::Abandoned { losses: 1, reason } = error else {
        panic!("{error:?}")
    };
    assert_eq!(scheduler.run(square(5)).await, Ok(25));
    scheduler.close().await.unwrap();
    farm.close().await;
    reason
}

#[cfg(target_os = "linux")]
async fn a_memory_hog_is_stopped_and_told() {
    let reason = given_up(|daemon| daemon.memory(256 << 20), hogs()).await;
    assert!(
        reason.contains("more than its memory of 256 MiB"),
        "{reason}"
    );
}

/// What all workers may have together one alone may have too, however many there may be.
#[cfg(target_os = "linux")]
async fn a_call_may_have_all_the_memory_of_a_node() {
    let (farm, scheduler) = holding(|daemon| daemon.slots(4).memory(512 << 20)).await;
    let call = takes(300 << 20).memory(400 << 20);
    assert_eq!(scheduler.run(call).await, Ok(300 << 20));
    scheduler.close().await.unwrap();
    farm.close().await;
}

#[cfg(unix)]
async fn a_worker_that_fills_the_disk_is_stopped_and_told() {
    let mut farm = Farm::new();
    let daemon = Daemon::builder(farm.builder("farm-1"), farm.folder("farm-1")).work(30 << 20);
    farm.daemons.push(daemon.slots(2).start().await.unwrap());
    let scheduler = farm.scheduler().await;
    let (to, mut work) = told::<Work>();
    // It has written nothing, and goes on.
    let other = scheduler.submit(until_told(to).retries(0));
    let Some(Work::Begun(_, address)) = work.recv().await else {
        panic!("it does not begin")
    };
    let JobError::Abandoned { reason, .. } = scheduler.run(litters().retries(0)).await.unwrap_err()
    else {
        panic!("it is given up")
    };
    assert!(
        reason.contains("killed by signal 9") && reason.contains("and may have 31457280"),
        "{reason}"
    );
    address.send(()).unwrap();
    other.await.unwrap();
    scheduler.close().await.unwrap();
    farm.close().await;
}

#[cfg(target_os = "linux")]
async fn a_runaway_writer_is_stopped_and_told() {
    let reason = given_up(|daemon| daemon.file_size(10 << 20), fills()).await;
    let told = "it wrote more than the file size limit of 10 MiB";
    assert!(reason.contains(told), "{reason}");
}

#[cfg(target_os = "linux")]
async fn a_crash_is_told() {
    let reason = given_up(|daemon| daemon, crashes()).await;
    assert!(reason.contains("killed by signal 11 (SIGSEGV)"), "{reason}");
}

/// The processes of a group that run.
#[cfg(target_os = "linux")]
fn group(leader: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|it| it.file_name().to_str()?.parse().ok());
    let leader = leader.cast_signed();
    let is_of_it = |pid: &u32| {
        let group = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid.cast_signed())));
        group.is_ok_and(|group| group.as_raw() == leader) && is_running(*pid)
    };
    pids.filter(is_of_it).collect()
}

/// How many processes a worker may have.
#[cfg(target_os = "linux")]
const MOST: usize = 100;

/// It never has more processes than it may if nobody has said how many, and all are gone when its time is over. Its
/// node is not taken for lost.
#[cfg(target_os = "linux")]
async fn a_fork_bomb_is_held_and_ended() {
    let (farm, scheduler) = holding(|daemon| daemon).await;
    let place = scheduler.run(where_am_i()).await.unwrap();
    let mut bomb = scheduler.submit(bombs().time_limit(Duration::from_secs(2)));
    let mut seen = Vec::new();
    let ended = loop {
        tokio::select! {
            ended = &mut bomb => break ended,
            () = tokio::time::sleep(Duration::from_millis(10)) => {
                seen.push(group(place.pid).len());
            }
        }
    };
    // When the system is slow, it has come to nothing before anybody looks.
    assert!(seen.iter().all(|n| *n <= 512), "{seen:?}");
    let again = scheduler.run(where_am_i()).await.unwrap();
    match ended {
        // It came to nothing, because it could start no more.
        Ok(_) => assert_eq!(again.pid, place.pid),
        Err(JobError::TimedOut(_)) => assert_ne!(again.pid, place.pid),
        Err(error) => panic!("{error}"),
    }
    scheduler.close().await.unwrap();
    assert_eq!(group(place.pid), [0; 0]);
    farm.close().await;
}

/// Also of those that go on for ever.
#[cfg(target_os = "linux")]
async fn as_many_processes_start_as_may() {
    let (farm, scheduler) = holding(|daemon| daemon.processes(MOST as u64)).await;
    let place = scheduler.run(where_am_i()).await.unwrap();
    let (started, why) = scheduler.run(hoards()).await.unwrap();
    assert!((MOST / 4..=MOST).contains(&started), "{started}: {why}");
    let here = group(place.pid).len();
    assert!((started..=MOST).contains(&here), "{here} of {started}");
    scheduler.close().await.unwrap();
    assert_eq!(group(place.pid), [0; 0]);
    farm.close().await;
}

/// The way from the working directory.
#[cfg(target_os = "linux")]
fn relative(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap();
    let up = here.components().skip(1).map(|_| "..");
    up.collect::<PathBuf>()
        .join(path.strip_prefix("/").unwrap())
}

#[cfg(target_os = "linux")]
async fn a_worker_has_its_own_folder_and_nothing_of_others() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(outside.path().join("data/keys")).unwrap();
    for name in ["secret", "data/file", "data/keys/key"] {
        std::fs::write(outside.path().join(name), "cluster").unwrap();
    }
    let data = outside.path().join("data");
    // As somebody may write it.
    let keys = relative(&data.join("keys"));
    let (farm, scheduler) = holding(|daemon| daemon.readable(data).hidden(keys)).await;
    let place = scheduler.run(where_am_i()).await.unwrap();
    let secret = outside.path().join("secret");
    let reads = vec![
        "/proc/self/status".into(),
        place.program.clone(),
        outside.path().join("data/file"),
        outside.path().join("data/keys/key"),
        secret.clone(),
        farm.folder("farm-1").join("store/coros-store.lock"),
    ];
    let writes = vec![
        place.folder.join("mine"),
        place.folder.join("../shared/ours"),
        outside.path().join("theirs"),
        place.folder.join("../../own"),
        place.program.clone(),
    ];
    let pid = i32::try_from(std::process::id()).unwrap();
    let tried = scheduler.run(tries(reads, writes, pid)).await.unwrap();
    let (reads, writes, signalled) = tried;
    assert_eq!(reads, [true, true, true, false, false, false]);
    assert_eq!(writes, [true, true, false, false, false]);
    assert!(!signalled, "it can signal its daemon");
    scheduler.close().await.unwrap();
    farm.close().await;
}

/// A variable can have a program load other code. The loader says so of each program that cannot, which
/// is the client's alone, and not the one that isolates it before.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
async fn what_a_client_sets_is_for_its_program_alone() {
    let farm = Farm::of([1]).await;
    let (to, mut lines) = mpsc::unbounded_channel();
    let scheduler = Scheduler::cluster(&farm.client().await)
        .log("off")
        .env("LD_PRELOAD", "./no-such-library.so")
        .stderr(move |_, line| drop(to.send(line.to_owned())));
    let scheduler = scheduler.start().await.unwrap();
    scheduler.run(nothing()).await.unwrap();
    scheduler.close().await.unwrap();
    drop(scheduler);
    let mut loads = 0;
    while let Some(line) = lines.recv().await {
        loads += usize::from(line.contains("no-such-library.so"));
    }
    assert_eq!(loads, 1);
    farm.close().await;
}

async fn exclusive_clients_run_in_turn() {
    let farm = Farm::of([2]).await;
    let alone = async || {
        let scheduler = Scheduler::cluster(&farm.client().await).exclusive();
        quiet(scheduler).start().await.unwrap()
    };
    let first = alone().await;
    let (to, mut work) = told::<Work>();
    let one = first.submit(until_told(to.clone()));
    let Some(Work::Begun(_, address)) = work.recv().await else {
        panic!("it has not begun")
    };
    let second = alone().await;
    let other = second.submit(until_told(to));
    let begins = tokio::time::timeout(Duration::from_millis(500), work.recv());
    assert!(begins.await.is_err(), "it is not alone");
    assert_eq!(farm.daemons[0].status().await.unwrap().clients.len(), 2);
    address.send(()).unwrap();
    one.await.unwrap();
    // It still has the node, though it has nothing to do.
    assert_eq!(first.run(square(2)).await, Ok(4));
    let ended = work.recv().await.unwrap();
    assert!(matches!(ended, Work::Ended(_)), "{ended:?}");
    assert!(work.try_recv().is_err(), "it is not alone");
    first.close().await.unwrap();
    let Some(Work::Begun(_, address)) = work.recv().await else {
        panic!("it does not begin")
    };
    address.send(()).unwrap();
    other.await.unwrap();
    second.close().await.unwrap();
    farm.close().await;
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

async fn nodes_are_used_as_the_client_wants() {
    let farm = Farm::of([2, 2]).await;
    let placement = Placement::builder()
        .rule(Rule::new().name("farm-2").exclude())
        .rule(Rule::new().workers(1))
        .build()
        .unwrap();
    let (to, mut events) = mpsc::unbounded_channel();
    let scheduler = Scheduler::cluster(&farm.client().await)
        .placement(placement)
        .on_event(move |event| drop(to.send(event.clone())));
    let scheduler = quiet(scheduler).start().await.unwrap();
    loop {
        match events.recv().await.unwrap() {
            Event::NodeNotUsed { name, reason, .. } => {
                assert_eq!((&*name, &*reason), ("farm-2", "rule 1 excludes it"));
                break;
            }
            Event::NodeFound { node, .. } => assert_eq!(node.name, "farm-1"),
            _ => {}
        }
    }
    // Who listens later hears of it first.
    let first = scheduler.events().next().await;
    assert!(matches!(first, Some(Event::NodeNotUsed { name, .. }) if &*name == "farm-2"));
    let mut places = scheduler.map((0..50).map(|_| where_am_i()));
    let mut pids = BTreeSet::new();
    while let Some(place) = places.next().await {
        pids.insert(place.unwrap().pid);
    }
    assert_eq!(pids.len(), 1);
    scheduler.close().await.unwrap();
    farm.close().await;
}

async fn calls_run_where_they_are_told_to() {
    let farm = Farm::of([1, 2]).await;
    let scheduler = farm.scheduler().await;
    let mut events = scheduler.events();
    let names = workers(&mut events, 3).await;
    let nodes = scheduler.nodes().await;
    let expected = ["farm-1", "farm-2"].map(Target::node);
    assert_eq!(BTreeSet::from_iter(nodes), BTreeSet::from(expected.clone()));
    for (n, target) in expected.iter().enumerate() {
        for _ in 0..10 * (n + 1) {
            let place = scheduler
                .run(where_am_i().at(target.clone()))
                .await
                .unwrap();
            assert_eq!(node_of(&place.worker), target.name());
        }
    }
    let each = scheduler.run_each_worker(|_| where_am_i()).await;
    let ran = each.iter().map(|(target, place)| {
        let place = place.as_ref().unwrap();
        assert_eq!(place.worker, target.name());
        Arc::from(target.name())
    });
    assert_eq!(ran.collect::<BTreeSet<Arc<str>>>(), names);
    let each = scheduler.run_each_node(|_| where_am_i()).await;
    let ran = each.iter().map(|(target, place)| {
        let place = place.as_ref().unwrap();
        assert_eq!(node_of(&place.worker), target.name());
        target.clone()
    });
    assert_eq!(ran.collect::<BTreeSet<_>>(), BTreeSet::from(expected));

    // Where there is nobody is an error at once.
    let error = scheduler.run(square(1).at(Target::node("farm-9"))).await;
    let says = "there is no node farm-9; there are: farm-1, farm-2";
    let mut sorted = error.unwrap_err();
    if let JobError::NoTarget { there, .. } = &mut sorted {
        there.sort();
    }
    assert_eq!(sorted.to_string(), says);
    let error = scheduler
        .run(square(1).at(Target::worker("w99@farm-1")))
        .await;
    assert!(matches!(error, Err(JobError::NoTarget { .. })), "{error:?}");
    scheduler.close().await.unwrap();
    farm.close().await;
}

async fn nodes_and_workers_can_be_told_what_to_do() {
    let farm = Farm::of([1, 1]).await;
    for scheduler in [
        Scheduler::cluster(&farm.client().await),
        Scheduler::local().workers(2),
    ] {
        let scheduler = quiet(scheduler).start().await.unwrap();
        let mut events = scheduler.events();
        workers(&mut events, 2).await;
        let before = scheduler.run(where_am_i()).await.unwrap();
        let worker = Target::worker(before.worker.as_str());
        scheduler.restart(worker.clone()).await.unwrap();
        loop {
            match events.next().await.unwrap() {
                Event::WorkerClosed { pid, .. } => assert_eq!(pid, before.pid),
                Event::WorkerReady { pid, .. } => {
                    assert_ne!(pid, before.pid);
                    break;
                }
                _ => {}
            }
        }
        let error = scheduler.restart(worker).await.unwrap_err();
        assert!(matches!(error, JobError::NoTarget { .. }), "{error}");

        let node = scheduler.nodes().await.swap_remove(0);
        let error = scheduler.restart(node.clone()).await.unwrap_err();
        let why = format!("{node} cannot be restarted: only a worker can");
        assert_eq!(error.to_string(), why);
        let worker = scheduler.workers().await.swap_remove(0);
        for (done, error) in [
            ("suspended", scheduler.suspend(worker.clone()).await),
            ("resumed", scheduler.resume(worker.clone()).await),
            ("closed", scheduler.close_node(worker.clone()).await),
        ] {
            let why = format!("{worker} cannot be {done}: only a node can");
            assert_eq!(error.unwrap_err().to_string(), why);
        }
        if node.name() == "local" {
            let error = scheduler.close_node(node.clone()).await.unwrap_err();
            assert_eq!(error.to_string(), "node local is closed with its scheduler");
        }
        scheduler.suspend(node.clone()).await.unwrap();
        let (to, mut work) = told::<Work>();
        let job = scheduler.submit(until_told(to).at(node.clone()));
        let waits = tokio::time::timeout(Duration::from_millis(300), work.recv());
        assert!(waits.await.is_err(), "it runs where it may not");
        scheduler.resume(node).await.unwrap();
        let Some(Work::Begun(_, address)) = work.recv().await else {
            panic!("it does not begin")
        };
        address.send(()).unwrap();
        job.await.unwrap();
        scheduler.close().await.unwrap();
    }
    farm.close().await;
}

async fn what_waits_for_a_node_that_goes_ends() {
    let farm = Farm::of([1, 1]).await;
    let scheduler = farm.scheduler().await;
    workers(&mut scheduler.events(), 2).await;
    let target = Target::node("farm-1");
    let (to, mut work) = told::<Work>();
    let running = scheduler.submit(until_told(to).at(target.clone()));
    let Some(Work::Begun(_, _address)) = work.recv().await else {
        panic!("it has not begun")
    };
    let waiting = scheduler.submit(square(2).at(target.clone()));
    farm.daemons[0].close().await;
    let gone = JobError::TargetLost(target);
    assert_eq!(waiting.await, Err(gone.clone()));
    assert_eq!(running.await, Err(gone));
    assert_eq!(scheduler.run(square(3)).await, Ok(9));
    scheduler.close().await.unwrap();
    farm.close().await;
}

/// What the user's function decides may change while calls run.
async fn a_node_may_be_used_no_longer_and_again() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let farm = Farm::of([1]).await;
    let busy = Arc::new(AtomicBool::new(false));
    let is_busy = Arc::clone(&busy);
    let decide = move |_: &NodeView, decision| match is_busy.load(Ordering::Relaxed) {
        true => Decision::exclude("it is busy"),
        false => decision,
    };
    let placement = Placement::builder().allocate(decide).build().unwrap();
    let scheduler = Scheduler::cluster(&farm.client().await).placement(placement);
    let scheduler = quiet(scheduler).start().await.unwrap();
    let mut events = scheduler.events();
    let before = scheduler.run(where_am_i()).await.unwrap();
    busy.store(true, Ordering::Relaxed);
    let mut told = None;
    loop {
        match events.next().await.unwrap() {
            Event::NodeNotUsed { reason, .. } => told = Some(reason),
            Event::WorkerClosed { pid, .. } => {
                assert_eq!(pid, before.pid);
                break;
            }
            _ => {}
        }
    }
    assert_eq!(told.as_deref(), Some("it is busy"));
    while farm.daemons[0].status().await.unwrap().lent > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let job = scheduler.submit(where_am_i());
    busy.store(false, Ordering::Relaxed);
    assert_ne!(job.await.unwrap().pid, before.pid);
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

async fn a_node_that_is_drained_ends_what_it_runs_and_no_more() {
    let farm = Farm::of([1, 1]).await;
    let scheduler = farm.scheduler().await;
    let mut events = scheduler.events();
    workers(&mut events, 2).await;
    let (to, mut work) = told::<Work>();
    let jobs = [(); 2].map(|()| scheduler.submit(until_told(to.clone())));
    let mut running = BTreeMap::new();
    while running.len() < 2 {
        if let Work::Begun(place, address) = work.recv().await.unwrap() {
            running.insert(node_of(&place.worker), address);
        }
    }
    let mut draining = Box::pin(farm.daemons[0].drain());
    // What comes now runs on the other one, as soon as that is free.
    let more = scheduler.submit(where_am_i());
    tokio::select! {
        biased;
        _ = &mut draining => panic!("something runs there"),
        () = tokio::time::sleep(Duration::from_millis(200)) => {}
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

    pub(super) async fn a_killed_daemon_takes_its_workers_along_and_the_work_goes_on() {
        let farm = Farm::new();
        let [one, other] = ["farm-1", "farm-2"].map(|name| Process::start(&farm, name, 1));
        let scheduler = scheduler(&farm, &[&one, &other]).await;
        let mut events = scheduler.events();
        workers(&mut events, 2).await;
        let (to, mut work) = told::<Work>();
        let jobs = [(); 2].map(|()| scheduler.submit(until_told(to.clone())));
        let mut running = BTreeMap::new();
        while running.len() < 2 {
            if let Work::Begun(place, address) = work.recv().await.unwrap() {
                running.insert(node_of(&place.worker), (place, address));
            }
        }
        let killed = Instant::now();
        one.signal(Signal::SIGKILL);
        let reason = loop {
            if let Event::WorkerLost { name, reason, .. } = events.next().await.unwrap() {
                assert_eq!(node_of(&name), "farm-1");
                break reason;
            }
        };
        let took = killed.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}: {reason}");
        ended(running["farm-1"].0.pid).await;
        // It runs again on the other one as soon as that is free.
        running["farm-2"].1.send(()).unwrap();
        loop {
            if let Work::Begun(place, address) = work.recv().await.unwrap() {
                assert_eq!(node_of(&place.worker), "farm-2");
                address.send(()).unwrap();
                break;
            }
        }
        for job in jobs {
            assert_eq!(node_of(&job.await.unwrap()), "farm-2");
        }
        scheduler.close().await.unwrap();
    }

    pub(super) async fn a_killed_daemon_takes_along_what_has_left_its_group() {
        let farm = Farm::new();
        let one = Process::start(&farm, "farm-1", 1);
        let scheduler = scheduler(&farm, &[&one]).await;
        let left = scheduler.run(leave_behind()).await.unwrap();
        assert!(is_running(left));
        one.signal(Signal::SIGKILL);
        ended(left).await;
        scheduler.close().await.unwrap();
    }

    pub(super) async fn a_daemon_that_is_back_is_used_again() {
        let farm = Farm::new();
        let one = Process::start(&farm, "farm-1", 1);
        let scheduler = scheduler(&farm, &[&one]).await;
        let before = scheduler.run(where_am_i()).await.unwrap();
        one.signal(Signal::SIGKILL);
        ended(before.pid).await;
        // It waits meanwhile.
        let job = scheduler.submit(where_am_i());
        let endpoint = one.endpoint;
        drop(one);
        let _again = Process::listening(&farm, "farm-1", 1, endpoint);
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
        let endpoint = one.endpoint;
        drop(one);
        let before = identity(&part);
        let _again = Process::listening(&farm, "farm-1", 1, endpoint);
        let scheduler = starting.await.unwrap().unwrap();
        let place = scheduler.run(where_am_i()).await.unwrap();
        // It has become the program.
        assert_eq!(identity(&place.program), before);
        scheduler.close().await.unwrap();
    }

    pub(super) async fn a_node_that_dies_while_it_has_nothing_to_do_is_noticed() {
        let farm = Farm::new();
        let one = Process::start(&farm, "farm-1", 1);
        let scheduler = scheduler(&farm, &[&one]).await;
        let mut events = scheduler.events();
        workers(&mut events, 1).await;
        let killed = Instant::now();
        one.signal(Signal::SIGKILL);
        while !matches!(events.next().await.unwrap(), Event::NodeLost { .. }) {}
        let took = killed.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        scheduler.close().await.unwrap();
    }

    pub(super) async fn a_killed_worker_is_known_at_once() {
        let farm = Farm::of([1]).await;
        let scheduler = farm.scheduler().await;
        let mut events = scheduler.events();
        let place = scheduler.run(where_am_i()).await.unwrap();
        let killed = Instant::now();
        signal(place.pid, Signal::SIGKILL);
        let reason = loop {
            if let Event::WorkerLost { reason, pid, .. } = events.next().await.unwrap() {
                assert_eq!(pid, place.pid);
                break reason;
            }
        };
        let took = killed.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(reason, "killed by signal 9 (SIGKILL)");
        let again = scheduler.run(where_am_i()).await.unwrap();
        assert_ne!(again.pid, place.pid);
        scheduler.close().await.unwrap();
        farm.close().await;
    }
}

fn main() {
    worker::enter();
    let arguments: Vec<_> = std::env::args().collect();
    #[cfg(target_os = "linux")]
    use processes::*;
    #[cfg(target_os = "linux")]
    if arguments.get(1).map(String::as_str) == Some(ARGUMENT) {
        lend(&arguments[2..]);
    }
    let mut trials = trials![
        a_program_runs_where_it_has_never_been,
        a_node_gets_the_program_that_it_can_run,
        #[cfg(target_os = "linux")]
        the_next_worker_is_there_before_it_is_wanted,
        a_program_is_sent_once,
        everyone_can_message_everyone,
        nothing_of_a_computation_stays,
        a_worker_knows_nothing_of_its_daemon,
        #[cfg(target_os = "linux")]
        workers_stand_back_for_their_daemon,
        what_workers_write_comes_in_order,
        lines_that_nobody_takes_hold_up_their_worker_alone,
        what_a_worker_wrote_is_told_before_its_end,
        files_and_environment_travel,
        what_cannot_travel_is_an_error_at_once,
        what_is_too_large_for_a_node_is_told,
        copies_of_files_count_for_the_cache,
        no_more_calls_run_than_there_are_slots,
        #[cfg(target_os = "linux")]
        a_memory_hog_is_stopped_and_told,
        #[cfg(target_os = "linux")]
        a_call_may_have_all_the_memory_of_a_node,
        #[cfg(target_os = "linux")]
        a_runaway_writer_is_stopped_and_told,
        #[cfg(unix)]
        a_worker_that_fills_the_disk_is_stopped_and_told,
        #[cfg(target_os = "linux")]
        a_crash_is_told,
        #[cfg(target_os = "linux")]
        a_worker_has_its_own_folder_and_nothing_of_others,
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        what_a_client_sets_is_for_its_program_alone,
        exclusive_clients_run_in_turn,
        a_call_that_kills_its_worker_is_given_up,
        nodes_are_used_as_the_client_wants,
        calls_run_where_they_are_told_to,
        nodes_and_workers_can_be_told_what_to_do,
        what_waits_for_a_node_that_goes_ends,
        a_node_may_be_used_no_longer_and_again,
        without_a_node_nothing_hangs,
        a_node_that_is_drained_ends_what_it_runs_and_no_more,
        #[cfg(target_os = "linux")]
        a_killed_daemon_takes_its_workers_along_and_the_work_goes_on,
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
    #[cfg(target_os = "linux")]
    trials.extend([
        trial_that_needs(
            "cgroup: processes",
            "a_fork_bomb_is_held_and_ended",
            a_fork_bomb_is_held_and_ended,
        ),
        trial_that_needs(
            "cgroup: processes",
            "as_many_processes_start_as_may",
            as_many_processes_start_as_may,
        ),
    ]);
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
