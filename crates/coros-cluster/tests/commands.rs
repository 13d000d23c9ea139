//! Programs that know nothing of coros, in real workers.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::time::Duration;

use common::farm::Farm;
use common::*;
use coros::cluster::command::{Command, Input, Status, Told};
use coros::cluster::{Event, worker};
use coros::{Address, Context, JobError, Scheduler};
use libtest_mimic::Arguments;
use tokio::sync::mpsc;

const SUCCESS: Status = Status {
    code: Some(0),
    signal: None,
};

async fn one_worker() -> Scheduler {
    let scheduler = Scheduler::local().workers(1).stderr(|_, _| {});
    scheduler.start().await.unwrap()
}

fn sh(script: &str) -> Command {
    Command::new("sh").arg("-c").arg(script)
}

/// Takes one message at a time: what is not asked for waits at the worker.
fn told() -> (Address<Told>, mpsc::Receiver<Told>) {
    let (sender, receiver) = mpsc::channel(1);
    let coro = coros::build()
        .capacity(1)
        .spawn(async move |mut me: Context<Told>| {
            while let Some(message) = me.receive().await {
                sender.send(message).await.unwrap();
            }
        });
    (coro.address(), receiver)
}

async fn all_that_a_command_writes_comes_back() {
    let scheduler = one_worker().await;
    let command = sh("cat; echo \"$WORD\" >&2; exit 3")
        .stdin("one\ntwo\n")
        .env("WORD", "three");
    let output = scheduler.run(command.output()).await.unwrap();
    assert_eq!(output.stdout, b"one\ntwo\n");
    assert_eq!(output.stderr, b"three\n");
    assert_eq!(output.status.code, Some(3));
    assert!(!output.status.success());
    // Nothing is read unless something is given.
    let output = scheduler.run(Command::new("cat").output()).await.unwrap();
    assert_eq!((output.status, output.stdout), (SUCCESS, Vec::new()));
    let killed = scheduler.run(sh("kill -9 $$").output()).await.unwrap();
    assert_eq!(killed.status.to_string(), "killed by signal 9 (SIGKILL)");
    scheduler.close().await.unwrap();
}

async fn one_that_cannot_be_run_is_named() {
    let scheduler = one_worker().await;
    let call = Command::new("no-such-program").output();
    let Err(JobError::Failed(why)) = scheduler.run(call).await else {
        panic!("it ran")
    };
    assert!(why.starts_with("cannot run no-such-program: "), "{why}");
    scheduler.close().await.unwrap();
}

async fn what_a_command_writes_is_told_as_it_does() {
    let scheduler = one_worker().await;
    let (to, mut tells) = told();
    let job = scheduler.submit(
        sh("while read line; do echo \"<$line>\"; done")
            .stdin_goes_on()
            .run(to),
    );
    let Some(Told::Began {
        stdin: Some(stdin), ..
    }) = tells.recv().await
    else {
        panic!("it does not begin")
    };
    // Each line is answered before the next one is written.
    for word in ["one", "two", "three"] {
        stdin.send(Input::Data(format!("{word}\n").into())).unwrap();
        let Some(Told::Stdout(answer)) = tells.recv().await else {
            panic!("no answer")
        };
        assert_eq!(answer, format!("<{word}>\n").as_bytes());
    }
    stdin.send(Input::End).unwrap();
    assert_eq!(job.await, Ok(SUCCESS));
    scheduler.close().await.unwrap();
}

/// Less and more than fits into pipes and links, and the receiver takes its time: also for longer than what
/// a command has written is read after its end.
async fn nothing_is_lost_when_the_receiver_is_slow() {
    let scheduler = one_worker().await;
    for total in [1000, 50_000, 1_100_000, 1_200_000, 64 << 20] {
        let (to, mut tells) = told();
        let job = scheduler.submit(sh(&format!("head -c {total} /dev/zero")).run(to));
        let Some(Told::Began { stdin: None, .. }) = tells.recv().await else {
            panic!("it does not begin")
        };
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut received = 0;
        while received < total {
            let Some(Told::Stdout(bytes)) = tells.recv().await else {
                panic!("{received} of {total} bytes came")
            };
            assert!(bytes.iter().all(|byte| *byte == 0));
            received += bytes.len();
        }
        assert_eq!(received, total);
        assert_eq!(job.await, Ok(SUCCESS));
    }
    scheduler.close().await.unwrap();
}

async fn what_is_left_behind_does_not_hold_it_up() {
    let scheduler = one_worker().await;
    let call = sh("echo begun; sleep 1000 & exit 0").output();
    let output = scheduler.run(call).await.unwrap();
    assert_eq!((output.status, &*output.stdout), (SUCCESS, &b"begun\n"[..]));
    scheduler.close().await.unwrap();
}

#[coros::remote]
fn own_pid() -> u32 {
    std::process::id()
}

/// It ends by itself, by an error, by being cancelled, with its worker.
#[cfg(target_os = "linux")]
async fn all_that_a_command_has_started_ends_with_it() {
    let scheduler = one_worker().await;
    let mut events = scheduler.events();
    let Some(Event::WorkerReady { pid: worker, .. }) = events.next().await else {
        panic!("it is ready")
    };
    let call = sh("sleep 1000 >/dev/null 2>&1 & echo $!").output();
    let output = scheduler.run(call).await.unwrap();
    ended(pid(&output.stdout)).await;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let call = sh("sleep 1000 >/dev/null 2>&1 & echo $! >\"$FILE\"; cat /dev/zero");
    let call = call.env("FILE", &file).output();
    scheduler.run(call).await.unwrap_err();
    ended(pid(&std::fs::read(&file).unwrap())).await;

    for kill in [false, true] {
        let (to, mut tells) = told();
        let script = "sleep 1000 >/dev/null 2>&1 & echo $!; wait";
        let job = scheduler.submit(sh(script).run(to));
        let Some(Told::Began { pid: leader, .. }) = tells.recv().await else {
            panic!("it does not begin")
        };
        let Some(Told::Stdout(text)) = tells.recv().await else {
            panic!("it says nothing")
        };
        let pids = [leader, pid(&text)];
        assert!(pids.map(is_running) == [true; 2]);
        if kill {
            signal(worker, nix::sys::signal::Signal::SIGKILL);
            for pid in pids {
                ended(pid).await;
            }
        }
        // Else it would run again.
        drop(job);
        for pid in pids {
            ended(pid).await;
        }
        // The worker goes on if it can.
        assert_eq!(scheduler.run(own_pid()).await.unwrap() == worker, !kill);
    }
    scheduler.close().await.unwrap();
}

/// Where a worker has its own folder and little else.
async fn a_command_runs_on_a_node() {
    let farm = Farm::of([1]).await;
    let scheduler = farm.scheduler().await;
    let call = sh("pwd; sleep 1000 >/dev/null 2>&1 & echo $!").output();
    let output = scheduler.run(call).await.unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let work = farm.folder("farm-1").join("work");
    assert!(text.starts_with(work.to_str().unwrap()), "{text}");
    #[cfg(target_os = "linux")]
    ended(pid(&output.stdout)).await;
    scheduler.close().await.unwrap();
    farm.close().await;
}

/// Though somebody still has its address.
async fn what_writes_to_a_command_ends_with_it() {
    let scheduler = one_worker().await;
    let (to, mut tells) = told();
    let job = scheduler.submit(sh("exit 0").stdin_goes_on().run(to));
    let Some(Told::Began {
        stdin: Some(stdin), ..
    }) = tells.recv().await
    else {
        panic!("it does not begin")
    };
    assert_eq!(job.await, Ok(SUCCESS));
    stdin.exit().await;
    scheduler.close().await.unwrap();
}

async fn too_much_for_a_result_is_an_error() {
    let scheduler = one_worker().await;
    let call = sh("head -c 8000000 /dev/zero").output();
    let Err(JobError::Failed(why)) = scheduler.run(call).await else {
        panic!("it came")
    };
    assert!(why.contains("more than 7 MiB to standard output"), "{why}");
    // What is just not too much comes.
    let call = sh("head -c 7000000 /dev/zero; head -c 7000000 /dev/zero >&2").output();
    let output = scheduler.run(call).await.unwrap();
    assert_eq!(
        (output.stdout.len(), output.stderr.len()),
        (7_000_000, 7_000_000)
    );
    scheduler.close().await.unwrap();
}

fn main() {
    worker::enter();
    let trials = trials![
        all_that_a_command_writes_comes_back,
        one_that_cannot_be_run_is_named,
        what_a_command_writes_is_told_as_it_does,
        nothing_is_lost_when_the_receiver_is_slow,
        what_is_left_behind_does_not_hold_it_up,
        #[cfg(target_os = "linux")]
        all_that_a_command_has_started_ends_with_it,
        a_command_runs_on_a_node,
        what_writes_to_a_command_ends_with_it,
        too_much_for_a_result_is_an_error,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
