//! Supervisors: who is started again, when, how often, and what happens when it is too often.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coros_core::{
    Address, ChildState, Context, Coro, Exit, Restart, Supervisor, SupervisorHandle, build, spawn,
};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// What the children of a test did, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, what: impl Into<String>) {
        self.0
            .lock()
            .expect("no test panics with it")
            .push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no test panics with it"))
    }
}

#[derive(Clone, Copy, Debug)]
enum Do {
    Finish,
    Fail,
    Panic,
}

/// A child that logs its start and its end, and does what it is told.
fn child(log: &Log, name: &'static str) -> impl Fn() -> Coro<Do, ()> + Send + use<> {
    let log = log.clone();
    move || {
        let log = log.clone();
        log.add(format!("+{name}"));
        build()
            .name(name)
            .spawn_fallible(async move |mut me: Context<Do>| {
                let mut stop = me.terminating();
                let told = tokio::select! {
                    told = me.receive() => told,
                    () = &mut stop => {
                        log.add(format!("-{name}"));
                        return Ok(());
                    }
                };
                match told {
                    Some(Do::Fail) => Err("told to fail"),
                    Some(Do::Panic) => panic!("told to panic"),
                    Some(Do::Finish) | None => Ok(()),
                }
            })
    }
}

async fn tell(supervisor: &SupervisorHandle, id: &str, what: Do) {
    let child: Address<Do> = supervisor.child(id).await.expect("it runs");
    child.send(what).expect("it runs");
    child.exit().await;
}

async fn state(supervisor: &SupervisorHandle, id: &str) -> Option<ChildState> {
    let children = supervisor.children().await.expect("it runs");
    children
        .into_iter()
        .find(|it| *it.id == *id)
        .map(|it| it.state)
}

fn three(supervisor: Supervisor, log: &Log) -> SupervisorHandle {
    ["a", "b", "c"]
        .into_iter()
        .fold(supervisor, |supervisor, name| {
            supervisor.child(name, Restart::Permanent, child(log, name))
        })
        .start()
}

#[tokio::test(start_paused = true)]
async fn each_strategy_starts_the_right_children_again() {
    for (supervisor, expected) in [
        (Supervisor::one_for_one(), vec!["+b"]),
        (
            Supervisor::one_for_all(),
            vec!["-c", "-a", "+a", "+b", "+c"],
        ),
        (Supervisor::rest_for_one(), vec!["-c", "+b", "+c"]),
    ] {
        let log = Log::default();
        let supervisor = three(supervisor, &log);
        supervisor.children().await.unwrap();
        assert_eq!(log.take(), ["+a", "+b", "+c"]);
        tell(&supervisor, "b", Do::Panic).await;
        tokio::time::sleep(SECOND).await;
        assert_eq!(log.take(), expected);
        let children = supervisor.children().await.unwrap();
        assert!(children.iter().all(|it| it.state == ChildState::Running));
        let b = children.iter().find(|it| &*it.id == "b").unwrap();
        assert_eq!(
            (b.restarts, &b.last_exit),
            (1, &Some(Exit::Panicked("told to panic".into())))
        );
        assert_eq!(supervisor.stop().await, Exit::Finished);
        assert_eq!(log.take(), ["-c", "-b", "-a"], "stopped in reverse");
    }
}

#[tokio::test]
async fn policies_differ_by_how_a_child_ended() {
    let log = Log::default();
    let supervisor = Supervisor::one_for_one().intensity(100, SECOND).start();
    for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
        for what in [Do::Finish, Do::Fail, Do::Panic] {
            let id = format!("{restart:?} {what:?}");
            supervisor
                .start_child(&*id, restart, child(&log, "x"))
                .await
                .unwrap();
            tell(&supervisor, &id, what).await;
            let expected = match (restart, what) {
                (Restart::Temporary, _) => None,
                (Restart::Transient, Do::Finish) => Some(ChildState::Stopped),
                _ => Some(ChildState::Running),
            };
            assert_eq!(state(&supervisor, &id).await, expected, "{id}");
        }
    }
    supervisor.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_failure_too_many_ends_the_supervisor_and_all_children() {
    let log = Log::default();
    let supervisor = three(Supervisor::one_for_one().intensity(2, 10 * SECOND), &log);
    for _ in 0..2 {
        tell(&supervisor, "a", Do::Fail).await;
    }
    tokio::time::sleep(10 * SECOND).await;
    for _ in 0..2 {
        tell(&supervisor, "b", Do::Fail).await;
    }
    assert_eq!(
        state(&supervisor, "b").await,
        Some(ChildState::Running),
        "two in a period"
    );
    log.take();
    tell(&supervisor, "b", Do::Fail).await;
    let exit = supervisor.exit().await;
    let Exit::Failed(why) = &exit else {
        panic!("it gave up, but {exit}");
    };
    assert_eq!(
        &**why,
        "child \"b\" failed: told to fail, after 2 restarts within 10s"
    );
    assert_eq!(log.take(), ["-c", "-a"]);
    assert!(supervisor.children().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_and_are_reset_after_a_calm_time() {
    let log = Log::default();
    let supervisor = Supervisor::one_for_one()
        .intensity(1000, SECOND)
        .backoff(SECOND, 5 * SECOND)
        .calm(60 * SECOND)
        .child("a", Restart::Permanent, child(&log, "a"))
        .start();
    let pause = async || {
        tell(&supervisor, "a", Do::Fail).await;
        let start = Instant::now();
        assert_eq!(state(&supervisor, "a").await, Some(ChildState::Starting));
        while state(&supervisor, "a").await != Some(ChildState::Running) {
            tokio::time::sleep(SECOND / 10).await;
        }
        start.elapsed().as_secs()
    };
    for seconds in [1, 2, 4, 5, 5] {
        assert_eq!(pause().await, seconds);
    }
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(pause().await, 1);
    // A restart that was asked for does not wait.
    tell(&supervisor, "a", Do::Fail).await;
    let start = Instant::now();
    supervisor.restart_child("a").await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    supervisor.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_panics_is_a_failure() {
    let starts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&starts);
    let broken = move || -> Coro<(), ()> {
        if count.fetch_add(1, Ordering::Relaxed) == 2 {
            return spawn(async |mut me: Context<()>| while me.receive().await.is_some() {});
        }
        panic!("no start")
    };
    let supervisor = Supervisor::one_for_one()
        .intensity(2, SECOND)
        .child("broken", Restart::Transient, broken)
        .start();
    assert!(
        supervisor.child::<()>("broken").await.is_ok(),
        "the third start succeeds"
    );
    assert_eq!(starts.load(Ordering::Relaxed), 3);
    supervisor.restart_child("broken").await.unwrap_err();
    let exit = supervisor.exit().await;
    assert!(
        matches!(&exit, Exit::Failed(why) if why.contains("panicked: no start")),
        "{exit}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_failures_of_many_children_on_many_threads() {
    let supervisor = Supervisor::one_for_one().intensity(1_000_000, SECOND);
    let log = Log::default();
    let names = ["0", "1", "2", "3", "4", "5", "6", "7"];
    let supervisor = names
        .into_iter()
        .fold(supervisor, |s, name| {
            s.child(name, Restart::Permanent, child(&log, name))
        })
        .start();
    let killers: Vec<_> = names
        .into_iter()
        .map(|name| {
            let supervisor = supervisor.clone();
            tokio::spawn(async move {
                for _ in 0..100 {
                    tell(&supervisor, name, Do::Panic).await;
                }
            })
        })
        .collect();
    for killer in killers {
        let killed = tokio::time::timeout(30 * SECOND, killer).await;
        killed.expect("it is started again each time").unwrap();
    }
    let children = supervisor.children().await.unwrap();
    assert!(children.iter().all(|it| it.restarts == 100));
    assert_eq!(supervisor.stop().await, Exit::Finished);
}
