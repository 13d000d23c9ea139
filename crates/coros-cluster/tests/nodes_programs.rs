//! How a program comes to nodes that have never seen it, with its files, and what it finds there: with real daemons, to
//! which this very test program travels.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::farm::*;
use common::service::*;
use common::work::*;
use common::*;
use coros::Scheduler;
use coros::cluster::daemon::DaemonEvent;
use coros::cluster::{Event, SchedulerBuilder, StartError, worker};
use libtest_mimic::Arguments;
#[cfg(target_os = "linux")]
use nix::sys::signal::Signal;

#[coros::remote]
fn nothing() {}

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

/// A copy of this program that says that it needs a glibc that there is not.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn of_the_future(folder: &Path) -> PathBuf {
    let mut program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let name = *b"GLIBC_2.";
    // Such names are at the beginning.
    for at in 0..program.len().min(1 << 20) - name.len() - 3 {
        let (it, version) = program[at..].split_at(name.len());
        if it == name && matches!(version, [b'0'..=b'9', b'0'..=b'9', 0, ..]) {
            program[at + name.len() - 2] = b'9';
        }
    }
    let path = folder.join("of-the-future");
    std::fs::write(&path, program).unwrap();
    path
}

/// That is in the file: it need not run for that.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
async fn a_program_for_a_newer_libc_is_refused_with_what_to_build() {
    let farm = Farm::of([1]).await;
    let program = of_the_future(farm.folders.path());
    let scheduler = Scheduler::cluster(&farm.client().await).program(&program);
    let scheduler = quiet(scheduler.patience(Duration::from_millis(1500)));
    let error = scheduler.start().await.unwrap_err().to_string();
    for part in ["the program needs glibc 9.", " has 2.", "-linux-musl"] {
        assert!(error.contains(part), "{error}");
    }
    farm.close().await;
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

async fn nothing_of_a_computation_stays() {
    let farm = Farm::of([1]).await;
    let (daemon, elsewhere) = (&farm.daemons[0], elsewhere());
    let work = farm.folder("farm-1").join("work");
    let scheduler = farm.scheduler().await;
    let call = leaves_much(elsewhere.path().into());
    let left = scheduler.run(call).await.unwrap();
    assert!(left.join("many/999").exists() && left.starts_with(&work));
    scheduler.close().await.unwrap();
    idle(daemon).await;
    assert_eq!(std::fs::read_dir(&work).unwrap().count(), 0);
    daemon.close().await;
    nothing_is_left(&farm.folder("farm-1"), elsewhere.path());
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

/// How many of these files are there, with their names in them.
#[coros::remote]
fn are_there(n: usize) -> usize {
    let is_there = |n: &usize| {
        let name = format!("words/{n}");
        std::fs::read_to_string(worker::file(&name).unwrap()).is_ok_and(|text| text == name)
    };
    (0..n).filter(is_there).count()
}

/// Directly and by way of a service, which has them before.
async fn many_small_files_travel_once() {
    const FILES: usize = 600;
    let mut farm = Farm::new();
    let (to, mut events) = tokio::sync::mpsc::unbounded_channel();
    let daemon = farm.daemon("farm-1").slots(1).on_event(passing(to));
    farm.daemons.push(daemon.start().await.unwrap());
    let service = farm.service().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let words = folder.path().join("words");
    std::fs::create_dir(&words).unwrap();
    for n in 0..FILES {
        std::fs::write(words.join(n.to_string()), format!("words/{n}")).unwrap();
    }
    let node = client(&farm, &service).await;
    for scheduler in [
        Scheduler::at(&node),
        Scheduler::cluster(&farm.client().await),
    ] {
        let scheduler = quiet(scheduler).depends(&words).start().await.unwrap();
        assert_eq!(scheduler.run(are_there(FILES)).await, Ok(FILES));
        scheduler.close().await.unwrap();
    }
    close(farm, service).await;
    let mut files = 0;
    while let Some(event) = events.recv().await {
        files += usize::from(matches!(event, DaemonEvent::FileReceived { .. }));
    }
    assert_eq!(files, FILES);
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
    let daemon = farm.daemon("farm-1").largest_file(1 << 20);
    farm.daemons.push(daemon.start().await.unwrap());
    let (to, mut events) = tokio::sync::mpsc::unbounded_channel();
    let scheduler = Scheduler::cluster(&farm.client().await).patience(Duration::from_secs(2));
    let scheduler = scheduler.on_event(move |event| drop(to.send(event.clone())));
    let error = quiet(scheduler).start().await.unwrap_err().to_string();
    let mut told = Vec::new();
    while let Some(event) = events.recv().await {
        assert!(!matches!(event, Event::NodeLost { .. }), "{event}");
        told.push(event.to_string());
    }
    let endpoint = endpoint(farm.daemons[0].node());
    let unfit = format!("node farm-1 ({endpoint}) is of no use: it cannot take the program: ");
    assert!(told.iter().any(|it| it.starts_with(&unfit)), "{told:#?}");
    assert!(
        error.contains("farm-1") && error.contains("takes no more than 1 MiB at a time"),
        "{error}"
    );
    farm.close().await;

    // Of what it brings, what it is.
    let mut farm = Farm::new();
    let daemon = farm.daemon("farm-1").largest_file(128 << 20);
    farm.daemons.push(daemon.start().await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let large = std::fs::File::create(data.join("lar\nge")).unwrap();
    large.set_len(129 << 20).unwrap();
    let scheduler = Scheduler::cluster(&farm.client().await).depends(&data);
    let scheduler = quiet(scheduler.patience(Duration::from_secs(2)));
    let error = scheduler.start().await.unwrap_err().to_string();
    let says = r"its file data/lar\nge has 129 MiB, and this node takes no more than 128 MiB";
    assert!(error.contains(says), "{error}");
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
        let daemon = farm.daemon("farm-1");
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

/// As long as it is of no use for the same reason; then that it is of use.
async fn a_node_that_is_tried_again_in_vain_is_told_of_once() {
    const FILE: u64 = 1 << 20;
    let mut farm = Farm::of([1]).await;
    let scheduler = farm.scheduler().await;
    let place = scheduler.run(where_am_i()).await.unwrap();
    let program = std::fs::metadata(&place.program).unwrap().len();
    scheduler.close().await.unwrap();
    // One has room for what workers of one client run with.
    let (to, mut clients) = tokio::sync::mpsc::unbounded_channel();
    let daemon = farm.daemon("farm-2").cache(program + 2 * FILE).slots(1);
    let daemon = daemon.on_event(passing(to)).start().await.unwrap();
    let only = farm.builder("first").peer(endpoint(daemon.node()));
    farm.daemons.push(daemon);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; FILE as usize]).unwrap();
    let first = Scheduler::cluster(&only.build().await.unwrap()).depends(file.path());
    let first = quiet(first).start().await.unwrap();
    assert_eq!(first.run(square(3)).await, Ok(9));

    let (to, mut events) = tokio::sync::mpsc::unbounded_channel();
    let second = Scheduler::cluster(&farm.client().await).depends(file.path());
    let second = second.on_event(move |event| drop(to.send(event.clone())));
    let second = quiet(second).start().await.unwrap();
    let mut tries = 0;
    while tries < 3 {
        let client = clients.recv().await.unwrap();
        let is_try =
            matches!(client, DaemonEvent::ClientCame { from, .. } if &*from.name == "desk");
        tries += usize::from(is_try);
    }
    let of_it = |event: Event| match event {
        Event::NodeFound { node } if node.name == "farm-2" => Some("found".to_owned()),
        Event::NodeReady { node } if node.name == "farm-2" => Some("ready".to_owned()),
        Event::NodeUnfit { node, reason } if node.name == "farm-2" => Some(reason),
        _ => None,
    };
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.extend(of_it(event));
    }
    assert!(told.len() == 2 && told[0] == "found", "{told:?}");
    assert!(told[1].contains("cannot have copies"), "{told:?}");
    // Whoever listens late hears of it.
    let late = until(&mut second.events(), |event| of_it(event.clone())).await;
    assert_eq!(late, told[1]);
    first.close().await.unwrap();
    loop {
        match of_it(events.recv().await.unwrap()).as_deref() {
            Some("ready") => break,
            again => assert!(again != Some("found") && again != Some(&told[1])),
        }
    }
    second.close().await.unwrap();
    farm.close().await;
}

fn main() {
    worker::enter();
    let trials = trials![
        a_program_runs_where_it_has_never_been,
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        a_program_for_a_newer_libc_is_refused_with_what_to_build,
        a_node_gets_the_program_that_it_can_run,
        #[cfg(target_os = "linux")]
        the_next_worker_is_there_before_it_is_wanted,
        a_program_is_sent_once,
        nothing_of_a_computation_stays,
        a_worker_knows_nothing_of_its_daemon,
        files_and_environment_travel,
        many_small_files_travel_once,
        what_cannot_travel_is_an_error_at_once,
        what_is_too_large_for_a_node_is_told,
        copies_of_files_count_for_the_cache,
        a_node_that_is_tried_again_in_vain_is_told_of_once,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
