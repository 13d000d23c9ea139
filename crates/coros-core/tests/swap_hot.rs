//! Hot swap.
#![allow(clippy::unwrap_used)] // in what the tests call

mod common;

use std::time::Duration;

use common::on_both;
use coros_core::{Context, Exit, SwapError, spawn};

/// Receives until nobody is left; accepts any function at any suspension point.
async fn old(mut me: Context<u32>) -> Vec<String> {
    me.swappable(|offer| drop(offer.accept(vec!["state of old".to_owned()])));
    let mut got = Vec::new();
    while let Some(n) = me.receive().await {
        got.push(format!("old {n}"));
    }
    got
}

async fn new(mut me: Context<u32>) -> Vec<String> {
    assert_eq!(
        me.take_state::<u64>(),
        None,
        "of another type: left where it is"
    );
    let mut got: Vec<String> = me.take_state().unwrap();
    assert_eq!(me.take_state::<Vec<String>>(), None, "taken");
    while let Some(n) = me.receive().await {
        got.push(format!("new {n}"));
    }
    got
}

#[test]
fn queued_messages_go_to_the_new_function_in_order() {
    on_both(|| async {
        let coro = spawn(async |mut me: Context<u32>| {
            // Holds 0 and 1 back in a selective receive, has 2 and more in the queue.
            assert_eq!(me.receive_where(|n| *n == 9).await, Some(9));
            let offer = me.swap_offer().await;
            assert!(offer.function().ends_with("::new"), "{}", offer.function());
            offer.accept(vec!["handed over".to_owned()]).await
        });
        for n in [0, 1, 9, 2] {
            coro.send(n).unwrap();
        }
        coro.swap(new).await.unwrap();
        coro.send(3).unwrap();
        let expected = ["handed over", "new 0", "new 1", "new 2", "new 3"];
        assert_eq!(coro.join().await.unwrap(), expected);
    });
}

#[test]
fn no_message_is_lost_or_handled_twice_while_functions_change() {
    on_both(|| async {
        async fn generation(mut me: Context<u32>) -> Vec<u32> {
            let mut got: Vec<u32> = me.take_state().unwrap_or_default();
            let offers = me.swap_offers();
            loop {
                tokio::select! {
                    message = me.receive() => match message {
                        Some(n) => got.push(n),
                        None => return got,
                    },
                    offer = offers.next() => got = offer.accept(got).await,
                }
            }
        }
        let coro = spawn(generation);
        let address = coro.address();
        let sender = tokio::spawn(async move {
            for n in 0..20_000 {
                address.send(n).unwrap();
                if n % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
        for _ in 0..50 {
            coro.swap(generation).await.unwrap();
        }
        sender.await.unwrap();
        assert_eq!(coro.join().await.unwrap(), (0..20_000).collect::<Vec<_>>());
    });
}

#[test]
fn a_policy_decides_at_any_suspension_point() {
    on_both(|| async {
        let sleeper = spawn(async |mut me: Context<u32>| {
            me.swappable(|offer| {
                if offer.function().contains("new") {
                    drop(offer.accept(Vec::<String>::new()));
                } else {
                    offer.refuse("not that one");
                }
            });
            me.sleep(Duration::from_secs(1_000)).await;
            Vec::<String>::new()
        });
        async fn other(_me: Context<u32>) -> Vec<String> {
            vec!["other".into()]
        }
        assert_eq!(
            sleeper.swap(other).await,
            Err(SwapError::Refused("not that one".into()))
        );
        sleeper.swap(new).await.unwrap();
        sleeper.send(5).unwrap();
        assert_eq!(sleeper.join().await.unwrap(), ["new 5"]);
    });
}

#[tokio::test(start_paused = true)]
async fn a_policy_goes_with_the_function_that_set_it() {
    async fn with_policy(mut me: Context<u32>) {
        me.swappable(|offer| drop(offer.accept(())));
        me.receive().await;
    }
    async fn without(mut me: Context<u32>) {
        me.receive().await;
    }
    let coro = spawn(with_policy);
    let limit = Duration::from_secs(1);
    coro.swap_timeout(limit, without).await.unwrap();
    assert_eq!(
        coro.swap_timeout(limit, without).await,
        Err(SwapError::NotTaken(limit))
    );
}

#[test]
fn an_offer_before_the_policy_is_decided_by_it() {
    on_both(|| async {
        let coro = spawn(old);
        // Not polled yet, on a current-thread runtime.
        coro.swap(new).await.unwrap();
        coro.send(1).unwrap();
        assert_eq!(coro.join().await.unwrap(), ["state of old", "new 1"]);
    });
}

#[tokio::test(start_paused = true)]
async fn a_second_offer_has_to_wait_and_one_that_nobody_takes_ends() {
    let coro = spawn(async |mut me: Context<u32>| {
        while me.receive().await.is_some() {}
        Vec::<String>::new()
    });
    let limit = Duration::from_secs(5);
    let mut first = Box::pin(coro.swap_timeout(limit, new));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert_eq!(coro.swap(new).await, Err(SwapError::Busy));
    assert_eq!(first.await, Err(SwapError::NotTaken(limit)));
    // It is withdrawn: another can be made, and given up.
    let mut second = Box::pin(coro.swap(new));
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(second);
    let limit = Duration::from_secs(1);
    assert_eq!(
        coro.swap_timeout(limit, new).await,
        Err(SwapError::NotTaken(limit))
    );
}

#[tokio::test(start_paused = true)]
async fn a_coroutine_that_never_receives_can_be_offered_in_vain() {
    let coro = spawn(async |me: Context<u32>| {
        me.sleep(Duration::from_secs(60)).await;
        Vec::<String>::new()
    });
    let limit = coros_core::swap::SWAP_TIME_LIMIT;
    assert_eq!(coro.swap(new).await, Err(SwapError::NotTaken(limit)));
    assert_eq!(coro.join().await.unwrap(), [""; 0]);
}

#[test]
fn a_coroutine_that_has_ended_or_ends_answers() {
    on_both(|| async {
        let ended = spawn(async |_me: Context<u32>| Vec::<String>::new());
        ended.exit().await;
        assert_eq!(ended.swap(new).await, Err(SwapError::Ended(Exit::Finished)));

        let ends = spawn(async |mut me: Context<u32>| {
            me.receive().await;
            Vec::<String>::new()
        });
        let mut offer = Box::pin(ends.swap(new));
        assert!(futures_util::poll!(&mut offer).is_pending());
        ends.send(0).unwrap();
        assert_eq!(offer.await, Err(SwapError::Ended(Exit::Finished)));
    });
}

#[test]
fn a_function_with_another_result_is_refused() {
    on_both(|| async {
        async fn number(_me: Context<u32>) -> u64 {
            1
        }
        let coro = spawn(old);
        let error = coro.swap(number).await.unwrap_err();
        assert!(
            matches!(&error, SwapError::WrongResult { offered, .. } if offered == "u64"),
            "{error}"
        );
        coro.send(1).unwrap();
        assert_eq!(coro.join().await.unwrap(), ["old 1"]);
    });
}

#[test]
fn a_context_that_was_moved_out_makes_a_swap_fail_loudly() {
    on_both(|| async {
        let (give, keep) = tokio::sync::oneshot::channel();
        let coro = spawn(async |mut me: Context<u32>| {
            me.swappable(|offer| drop(offer.accept(())));
            drop(give.send(me));
            std::future::pending::<Vec<String>>().await
        });
        let stolen = keep.await.unwrap();
        let error = coro.swap(new).await.unwrap_err();
        assert!(matches!(&error, SwapError::Ended(Exit::Failed(why)) if why.contains("Context")));
        drop(stolen);
        assert!(coro.is_closed());
    });
}

#[test]
fn a_panic_in_policy_or_new_function_ends_the_coroutine() {
    on_both(|| async {
        let policy = spawn(async |mut me: Context<u32>| {
            me.swappable(|_| panic!("in the policy"));
            std::future::pending::<Vec<String>>().await
        });
        let error = policy.swap(new).await.unwrap_err();
        assert!(
            matches!(error, SwapError::Refused(_) | SwapError::Ended(_)),
            "{error}"
        );
        assert_eq!(policy.exit().await, Exit::Panicked("in the policy".into()));

        let coro = spawn(old);
        let panics = |_me: Context<u32>| -> std::future::Ready<Vec<String>> { panic!("at once") };
        let error = coro.swap(panics).await.unwrap_err();
        assert_eq!(error, SwapError::Ended(Exit::Panicked("at once".into())));
        assert_eq!(coro.join().await, Err(Exit::Panicked("at once".into())));
    });
}

#[test]
fn an_offer_that_is_dropped_is_refused_and_a_suspended_coroutine_can_be_swapped() {
    on_both(|| async {
        let coro = spawn(async |me: Context<u32>| {
            drop(me.swap_offer().await);
            me.swap_offer().await.accept(Vec::<String>::new()).await
        });
        let refused = SwapError::Refused("the coroutine dropped the offer".into());
        assert_eq!(coro.swap(new).await, Err(refused));

        let policy = spawn(old);
        policy.suspend();
        let mut swap = Box::pin(policy.swap(new));
        // It has not run, so it has no policy: the offer waits until it is resumed.
        assert!(futures_util::poll!(&mut swap).is_pending());
        policy.resume();
        swap.await.unwrap();
        policy.send(1).unwrap();
        assert_eq!(policy.join().await.unwrap(), ["state of old", "new 1"]);

        coro.terminate();
    });
}
