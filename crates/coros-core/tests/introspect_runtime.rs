//! Looking at coroutines, and whole programs. Counts are of the process, so these tests are one.
#![allow(clippy::unwrap_used)] // in what the tests call

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::until;
use coros_core::runtime::{Ended, run};
use coros_core::{Context, CoroState, build, coroutines, live, spawn};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn counts_lists_and_whole_programs() {
    named_coroutines_are_listed();
    one_that_is_known_to_have_ended_is_not_listed();
    a_program_ends_with_its_last_coroutine_and_cleans_up();
}

fn named_coroutines_are_listed() {
    runtime().block_on(async {
        assert_eq!(live(), 0);
        let anonymous = spawn(async |mut me: Context<u32>| me.receive().await);
        let named = build()
            .name("worker")
            .capacity(8)
            .spawn(async |mut me: Context<u32>| {
                assert_eq!(me.receive_where(|n| *n == 3).await, Some(3));
                std::future::pending::<()>().await;
            });
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let daemon = build()
            .name("logger")
            .daemon()
            .spawn(async move |me: Context<()>| {
                let stop = me.terminating();
                ready.send(()).unwrap();
                stop.await;
                me.sleep(Duration::from_secs(60)).await;
            });
        for n in 0..5 {
            named.send(n).unwrap();
        }
        // 0, 1 and 2 are held back by the selective receive, 4 waits: wherever they are, they
        // are counted.
        until(|| coroutines().iter().any(|coro| coro.mailbox == 4)).await;
        named.suspend();
        // One that has not asked to be told would be dropped at once.
        is_ready.await.unwrap();
        daemon.terminate();
        until(|| {
            coroutines()
                .iter()
                .any(|coro| coro.state == CoroState::Terminating)
        })
        .await;
        let list = coroutines();
        assert_eq!(list.len(), 2, "{list:?}");
        assert_eq!(
            (&*list[0].name, list[0].mailbox, list[0].capacity),
            ("worker", 4, Some(8))
        );
        assert_eq!(
            (list[0].state, list[0].daemon),
            (CoroState::Suspended, false)
        );
        assert_eq!(
            (&*list[1].name, list[1].daemon, list[1].capacity),
            ("logger", true, None)
        );
        assert_eq!(list[0].id, named.id());
        assert_eq!(live(), 3);
        assert_eq!(named.to_string(), format!("worker#{}", named.id()));
        anonymous.send(0).unwrap();
        anonymous.join().await.unwrap();
        assert_eq!(live(), 2);
    });
    // The runtime was dropped with the other two in it.
    assert_eq!((live(), coroutines().len()), (0, 0));
}

fn one_that_is_known_to_have_ended_is_not_listed() {
    runtime().block_on(async {
        for _ in 0..2_000 {
            let coro = build().name("short").spawn(async |_: Context<()>| {});
            coro.exit().await;
            assert!(coroutines().is_empty());
        }
    });
}

fn a_program_ends_with_its_last_coroutine_and_cleans_up() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let (done, cleaned) = (Arc::clone(&log), Arc::clone(&log));
    let (main_runs, main_returned) = tokio::sync::oneshot::channel::<()>();
    let outcome = run(runtime(), async move {
        let _dropped_at_the_end = main_runs;
        spawn(async move |_me: Context<()>| {
            let _ = main_returned.await;
            for _ in 0..10_000 {
                tokio::task::yield_now().await;
            }
            done.lock().unwrap().push("done");
        });
        // Daemons are not waited for; one that asked for it cleans up.
        build()
            .daemon()
            .spawn(async |_me: Context<()>| std::future::pending::<()>().await);
        let (asked, has_asked) = tokio::sync::oneshot::channel();
        build().daemon().spawn(async move |me: Context<()>| {
            let stop = me.terminating();
            asked.send(()).unwrap();
            stop.await;
            tokio::task::yield_now().await;
            cleaned.lock().unwrap().push("cleaned");
        });
        has_asked.await.unwrap();
        "main"
    });
    assert_eq!(outcome, (Some("main"), Ended::ByItself));
    assert_eq!(*log.lock().unwrap(), ["done", "cleaned"]);
    assert_eq!(live(), 0);
}
