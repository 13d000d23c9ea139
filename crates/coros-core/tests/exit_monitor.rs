//! How coroutines end, and who is told.
#![allow(clippy::unwrap_used)] // in what the tests call

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::on_both;
use coros_core::{AskError, Context, Exit, Reply, build, spawn};

#[test]
fn every_way_to_end_is_told_to_join_exit_and_monitors() {
    on_both(|| async {
        async fn finish(_me: Context<()>) {}
        async fn fail(_me: Context<()>) -> Result<(), String> {
            Err("no luck".into())
        }
        async fn panics(_me: Context<()>) {
            panic!("at {}", 7);
        }
        async fn waits(_me: Context<()>) {
            std::future::pending::<()>().await;
        }
        let terminated = spawn(waits);
        terminated.terminate();
        let cases = [
            (spawn(finish), Exit::Finished),
            (build().spawn_fallible(fail), Exit::Failed("no luck".into())),
            (spawn(panics), Exit::Panicked("at 7".into())),
            (terminated, Exit::Terminated),
        ];
        for (coro, expected) in cases {
            let address = coro.address();
            let watched = address.clone();
            let watcher = spawn(async move |mut me: Context<Exit>| {
                me.monitor(&watched, |exit| exit);
                let first = me.receive().await.unwrap();
                // Set on one that has ended: fires at once.
                me.monitor(&watched, |exit| exit);
                let second = me.receive().await.unwrap();
                // Each fires once, and then nobody is left.
                assert_eq!(me.receive().await, None);
                (first, second)
            });
            assert_eq!(
                watcher.join().await.unwrap(),
                (expected.clone(), expected.clone())
            );
            assert_eq!(address.exit().await, expected);
            assert_eq!(
                coro.join().await.err(),
                (!expected.is_finished()).then_some(expected)
            );
        }
    });
}

#[test]
fn monitors_fire_once_each_and_can_be_cancelled() {
    on_both(|| async {
        let told = Arc::new(Mutex::new(Vec::new()));
        let watched = spawn(async |mut me: Context<()>| me.receive().await);
        let watcher = {
            let (watched, told) = (watched.address(), Arc::clone(&told));
            spawn(async move |mut me: Context<usize>| {
                let monitors: Vec<_> = (0..5).map(|n| me.monitor(&watched, move |_| n)).collect();
                for (n, monitor) in monitors.into_iter().enumerate() {
                    if n % 2 == 1 {
                        assert!(monitor.cancel());
                    }
                }
                watched.send(()).unwrap();
                drop(watched);
                while let Some(n) = me.receive().await {
                    told.lock().unwrap().push(n);
                }
            })
        };
        watcher.join().await.unwrap();
        watched.join().await.unwrap();
        assert_eq!(*told.lock().unwrap(), [0, 2, 4]);
    });
}

#[test]
fn a_monitor_reaches_a_full_mailbox() {
    on_both(|| async {
        let watched = spawn(async |_me: Context<()>| {});
        let address = watched.address();
        watched.join().await.unwrap();
        let watcher = build()
            .capacity(1)
            .spawn(async move |mut me: Context<&'static str>| {
                let own = me.address();
                own.send("first").unwrap();
                me.monitor(&address, |_| "ended");
                assert!(own.send("no room").is_err());
                let got = (me.receive().await, me.receive().await);
                // Both have paid: there is room for one again, not for two.
                own.send("third").unwrap();
                assert!(own.send("no room").is_err());
                got
            });
        assert_eq!(
            watcher.join().await.unwrap(),
            (Some("first"), Some("ended"))
        );
    });
}

#[test]
fn a_monitor_whose_message_cannot_be_made_does_not_hide_the_others() {
    on_both(|| async {
        let watched = spawn(async |mut me: Context<()>| me.receive().await);
        watched.on_exit(|_| panic!("a bad handler"));
        let address = watched.address();
        let waiting = tokio::spawn(async move { address.exit().await });
        tokio::task::yield_now().await;
        watched.send(()).unwrap();
        watched.join().await.unwrap();
        assert_eq!(waiting.await.unwrap(), Exit::Finished);
    });
}

#[test]
fn a_panic_while_the_function_is_dropped_is_told() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    on_both(|| async {
        let coro = spawn(async |_me: Context<()>| {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
        });
        let address = coro.address();
        tokio::task::yield_now().await;
        address.terminate();
        assert_eq!(address.exit().await, Exit::Panicked("in drop".into()));
    });
}

#[test]
fn a_runtime_that_is_dropped_ends_its_coroutines() {
    for flavor in ["current", "multi"] {
        let runtime = match flavor {
            "current" => tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build(),
            _ => tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build(),
        }
        .unwrap();
        let alive = Arc::new(());
        let told = Arc::new(Mutex::new(None));
        let (polled, unpolled) = {
            let _in = runtime.enter();
            let hold = Arc::clone(&alive);
            let polled = spawn(async move |mut me: Context<()>| {
                let _hold = hold;
                me.receive().await
            });
            let hold = Arc::clone(&alive);
            let unpolled = build()
                .name("unpolled")
                .spawn(async move |mut me: Context<()>| {
                    let _hold = hold;
                    me.receive().await
                });
            (polled, unpolled)
        };
        let tell = Arc::clone(&told);
        polled.on_exit(move |exit| *tell.lock().unwrap() = Some(exit));
        runtime.block_on(async { tokio::task::yield_now().await });
        drop(runtime);
        assert_eq!(*told.lock().unwrap(), Some(Exit::Terminated), "{flavor}");
        assert_eq!(
            Arc::strong_count(&alive),
            1,
            "{flavor}: every future was dropped"
        );
        assert!(polled.is_closed() && unpolled.is_closed());
        assert!(polled.send(()).is_err());
        // Waiting for them from another runtime ends.
        let other = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        other.block_on(async {
            let limit = Duration::from_secs(10);
            assert_eq!(
                tokio::time::timeout(limit, polled.exit()).await,
                Ok(Exit::Terminated)
            );
            assert_eq!(
                tokio::time::timeout(limit, unpolled.join()).await,
                Ok(Err(Exit::Terminated))
            );
        });
    }
}

#[test]
fn a_question_without_an_answer_ends() {
    struct Ask(Reply<u32>);
    on_both(|| async {
        let drops = spawn(async |mut me: Context<Ask>| {
            drop(me.receive().await);
            me.receive().await.unwrap().0.send(2);
            panic!("before the third");
        });
        assert_eq!(drops.ask(Ask).await, Err(AskError::NoReply));
        assert_eq!(drops.ask(Ask).await, Ok(2));
        let third = drops.ask(Ask).await;
        assert!(
            matches!(third, Err(AskError::NoReply | AskError::Closed)),
            "{third:?}"
        );
        drops.exit().await;
        assert_eq!(drops.ask(Ask).await, Err(AskError::Closed));
        let silent = build().capacity(1).spawn(async |me: Context<Ask>| {
            std::future::pending::<()>().await;
            drop(me);
        });
        let limit = Duration::from_millis(5);
        assert_eq!(
            silent.ask_timeout(limit, Ask).await,
            Err(AskError::TimedOut(limit))
        );
        assert_eq!(silent.ask(Ask).await, Err(AskError::Full));
        silent.terminate();
    });
}

#[test]
fn every_one_of_many_watchers_is_told() {
    on_both(|| async {
        let coro = spawn(async |mut me: Context<()>| me.receive().await);
        let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        for _ in 0..100_000 {
            let told = Arc::clone(&told);
            coro.on_exit(move |_| {
                told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            });
        }
        let address = coro.address();
        coro.send(()).unwrap();
        address.exit().await;
        coro.join().await.unwrap();
        assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), 100_000);
    });
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("in drop");
        }
    }
}

#[test]
fn a_policy_that_panics_when_dropped_hides_no_end() {
    on_both(|| async {
        let coro = spawn(async |mut me: Context<()>| {
            let bomb = Bomb;
            me.swappable(move |_| {
                let _ = &bomb;
            });
        });
        let address = coro.address();
        assert_eq!(address.exit().await, Exit::Finished);
        assert_eq!(coro.join().await, Ok(()));
    });
}

#[test]
fn a_message_that_panics_when_dropped_keeps_nobody_waiting() {
    on_both(|| async {
        let coro = build().capacity(1).spawn(async |me: Context<Bomb>| {
            std::future::pending::<()>().await;
            drop(me);
        });
        coro.send(Bomb).unwrap();
        let mut waiting = Box::pin(coro.deliver(Bomb));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        coro.terminate();
        std::mem::forget(waiting.await.unwrap_err());
        assert_eq!(coro.exit().await, Exit::Panicked("in drop".into()));
    });
}

#[test]
fn monitors_of_coroutines_that_have_ended_are_let_go() {
    on_both(|| async {
        let server = spawn(async |mut me: Context<()>| while me.receive().await.is_some() {});
        let kept = Arc::new(());
        for _ in 0..2_000 {
            let (server, kept) = (server.address(), Arc::clone(&kept));
            let client = spawn(async move |me: Context<Exit>| {
                me.monitor(&server, move |exit| {
                    let _ = &kept;
                    exit
                });
            });
            client.join().await.unwrap();
        }
        assert!(
            Arc::strong_count(&kept) < 200,
            "{} monitors",
            Arc::strong_count(&kept)
        );
    });
}

#[test]
fn a_monitor_that_is_kept_does_not_keep_its_target_open() {
    on_both(|| async {
        let target = spawn(async |mut me: Context<()>| me.receive().await);
        let watcher = spawn(async move |mut me: Context<Exit>| {
            let monitor = me.monitor(&target, |exit| exit);
            drop(target);
            let exit = me.receive().await;
            assert!(!monitor.cancel());
            exit
        });
        assert_eq!(watcher.join().await, Ok(Some(Exit::Finished)));
    });
}
