//! What a node holds its workers to: so much memory, so many processes, their own folder.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::farm::*;
use common::work::*;
use common::*;
use coros::cluster::daemon::DaemonBuilder;
use coros::cluster::{Event, worker};
use coros::{JobError, Scheduler};
use libtest_mimic::Arguments;
#[cfg(target_os = "linux")]
use nix::sys::signal::Signal;

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

/// Starts processes that start processes, for ever.
#[coros::remote]
fn bombs() {
    let script = "f() { f | f & wait; }; while :; do f; done";
    loop {
        let sh = std::process::Command::new("sh")
            .args(["-c", script])
            .output();
        drop(sh);
    }
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

/// Writes to a file that has no name, by a process that goes on.
#[coros::remote]
fn hides() {
    let script = "exec 9>f; rm f; head -c 60000000 /dev/zero >&9; exec sleep 1000";
    let sh = std::process::Command::new("sh")
        .arg("-c")
        .arg(script)
        .status();
    drop(sh);
}

/// Makes folders inside of each other, as many as it takes.
#[cfg(unix)]
#[coros::remote]
fn digs() {
    for _ in 0..1000 {
        std::fs::create_dir("d").unwrap();
        std::env::set_current_dir("d").unwrap();
    }
    std::thread::park();
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

/// A node that holds its workers to this.
async fn holding(rules: impl FnOnce(DaemonBuilder) -> DaemonBuilder) -> (Farm, Scheduler) {
    let mut farm = Farm::new();
    let daemon = farm.daemon("farm-1").slots(1);
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
    let daemon = farm.daemon("farm-1").work(30 << 20);
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
async fn a_file_without_a_name_counts_as_well() {
    let reason = given_up(|daemon| daemon.work(30 << 20), hides()).await;
    assert!(reason.contains("and may have 31457280"), "{reason}");
}

/// It is told, and removed.
#[cfg(unix)]
async fn a_folder_too_deep_to_be_measured_ends_its_worker() {
    let reason = given_up(|daemon| daemon, digs()).await;
    assert!(reason.contains("deeper than this node looks"), "{reason}");
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
    let mut events = scheduler.events();
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
    assert!(matches!(ended, Err(JobError::TimedOut(_))), "{ended:?}");
    let lost = |event: &Event| match event {
        Event::WorkerLost { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    let why = until(&mut events, lost).await;
    assert!(
        why.ends_with("computed on: it tried to start more than 512 processes"),
        "{why}"
    );
    let again = scheduler.run(where_am_i()).await.unwrap();
    assert_ne!(again.pid, place.pid);
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

/// A worker with no more than the least still does what it is for.
#[cfg(target_os = "linux")]
async fn the_least_that_is_not_refused_is_enough() {
    let (farm, scheduler) = holding(|daemon| daemon.processes(5)).await;
    for n in 0..100 {
        assert_eq!(scheduler.run(square(n)).await, Ok(n * n));
    }
    scheduler.close().await.unwrap();
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

/// What this process has open, and the session that it is in.
#[cfg(target_os = "linux")]
#[coros::remote]
fn has() -> (Vec<PathBuf>, i32) {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open = open.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    let session = nix::unistd::getsid(None).unwrap();
    (open.collect(), session.as_raw())
}

/// Neither what it was started with, nor its terminal.
#[cfg(target_os = "linux")]
async fn a_worker_has_nothing_that_its_node_has_open() {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("open");
    let file = std::fs::File::create(&path).unwrap();
    // As a shell leaves it to what it starts.
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let (farm, scheduler) = holding(|daemon| daemon).await;
    let (open, session) = scheduler.run(has()).await.unwrap();
    assert!(open.len() > 3 && !open.contains(&path), "{open:?}");
    let out = std::fs::read_link("/proc/self/fd/1").unwrap();
    assert!(!open.contains(&out), "{open:?}");
    assert_ne!(session, nix::unistd::getsid(None).unwrap().as_raw());
    scheduler.close().await.unwrap();
    farm.close().await;
}

fn main() {
    worker::enter();
    let mut trials = trials![
        #[cfg(target_os = "linux")]
        workers_stand_back_for_their_daemon,
        #[cfg(target_os = "linux")]
        a_memory_hog_is_stopped_and_told,
        #[cfg(target_os = "linux")]
        a_call_may_have_all_the_memory_of_a_node,
        #[cfg(target_os = "linux")]
        a_runaway_writer_is_stopped_and_told,
        #[cfg(unix)]
        a_worker_that_fills_the_disk_is_stopped_and_told,
        #[cfg(target_os = "linux")]
        a_file_without_a_name_counts_as_well,
        #[cfg(unix)]
        a_folder_too_deep_to_be_measured_ends_its_worker,
        #[cfg(target_os = "linux")]
        a_crash_is_told,
        #[cfg(target_os = "linux")]
        a_worker_has_its_own_folder_and_nothing_of_others,
        #[cfg(target_os = "linux")]
        a_worker_has_nothing_that_its_node_has_open,
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
        trial_that_needs(
            "cgroup: processes",
            "the_least_that_is_not_refused_is_enough",
            the_least_that_is_not_refused_is_enough,
        ),
    ]);
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
