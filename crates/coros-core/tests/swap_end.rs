//! Offers of a new function, and coroutines that end or survive with one in hand: whoever offers
//! is told what became of it, and whoever accepted what became of the state.
#![allow(clippy::unwrap_used)] // in what the tests call

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::on_both;
use coros_core::{Address, Context, Exit, SwapError, SwapOffer, spawn};
use futures_util::FutureExt as _;

async fn successor(mut me: Context<u32>) -> u32 {
    me.receive().await.unwrap_or_default()
}

#[test]
fn an_offer_in_hand_is_answered_by_a_panic() {
    on_both(|| async {
        let function = spawn(async |me: Context<u32>| -> u32 {
            let _offer = me.swap_offer().await;
            panic!("in the function");
        });
        let policy = spawn(async |mut me: Context<u32>| {
            me.swappable(|_offer| panic!("in the policy"));
            std::future::pending::<u32>().await
        });
        let keeper = spawn(async |mut me: Context<u32>| {
            let mut kept = Vec::new();
            me.swappable(move |offer| {
                kept.push(offer);
                panic!("in the keeper");
            });
            std::future::pending::<u32>().await
        });
        for (coro, text) in [
            (function, "in the function"),
            (policy, "in the policy"),
            (keeper, "in the keeper"),
        ] {
            let exit = Exit::Panicked(text.into());
            assert_eq!(
                coro.swap(successor).await,
                Err(SwapError::Ended(exit.clone()))
            );
            assert_eq!(coro.join().await, Err(exit));
        }
    });
}

#[test]
fn an_offer_in_hand_is_answered_by_the_end_that_others_demand() {
    on_both(|| async {
        let (taken, is_taken) = tokio::sync::oneshot::channel();
        let coro = spawn(async move |me: Context<u32>| -> u32 {
            let _offer = me.swap_offer().await;
            taken.send(()).unwrap();
            std::future::pending().await
        });
        let address = coro.address();
        let offered = tokio::spawn(async move { address.swap(successor).await });
        is_taken.await.unwrap();
        coro.terminate();
        assert_eq!(
            offered.await.unwrap(),
            Err(SwapError::Ended(Exit::Terminated))
        );
    });
}

#[test]
fn an_offer_that_outlives_its_coroutine_tells_of_the_end() {
    on_both(|| async {
        let uses: [fn(SwapOffer); 3] = [
            drop,
            |offer| offer.refuse("too late"),
            |offer| assert_eq!(offer.accept("state").now_or_never(), Some("state")),
        ];
        for use_it in uses {
            let (give, keep) = tokio::sync::oneshot::channel();
            let coro = spawn(async move |me: Context<u32>| {
                assert!(give.send(me.swap_offer().await).is_ok());
                7_u32
            });
            let address = coro.address();
            let offered = tokio::spawn(async move { address.swap(successor).await });
            let offer = keep.await.unwrap();
            assert_eq!(coro.join().await, Ok(7));
            use_it(offer);
            assert_eq!(
                offered.await.unwrap(),
                Err(SwapError::Ended(Exit::Finished))
            );
        }
    });
}

#[test]
fn a_panic_that_is_caught_leaves_the_offer_for_the_next_who_asks() {
    on_both(|| async {
        let coro = spawn(async |me: Context<u32>| {
            let panics = std::panic::AssertUnwindSafe(async {
                let _offer = me.swap_offer().await;
                panic!("caught");
            });
            let _: Box<dyn std::any::Any + Send> = panics.catch_unwind().await.unwrap_err();
            me.swap_offer().await.accept(0_u32).await
        });
        coro.swap(successor).await.unwrap();
        coro.send(5).unwrap();
        assert_eq!(coro.join().await, Ok(5));
    });
}

#[test]
fn a_panic_that_is_caught_leaves_the_offer_for_one_who_already_waits() {
    on_both(|| async {
        let coro = spawn(async |me: Context<u32>| {
            let offers = me.swap_offers();
            let offer = me.swap_offer().await;
            let mut waits = std::pin::pin!(offers.next());
            assert!(futures_util::poll!(&mut waits).is_pending());
            let panics = std::panic::AssertUnwindSafe(|| {
                let _offer = offer;
                panic!("caught");
            });
            let _: Box<dyn std::any::Any + Send> = std::panic::catch_unwind(panics).unwrap_err();
            waits.await.accept(0_u32).await
        });
        let limit = Duration::from_secs(5);
        coro.swap_timeout(limit, successor).await.unwrap();
        coro.send(5).unwrap();
        assert_eq!(coro.join().await, Ok(5));
    });
}

#[test]
fn one_that_ends_before_an_accepted_swap_is_due_tells_both_sides() {
    on_both(|| async {
        let state = Arc::new(());
        for panics in [false, true] {
            let handed_over = Arc::clone(&state);
            let coro = spawn(async move |me: Context<u32>| {
                drop(me.swap_offer().await.accept(handed_over));
                assert!(!panics, "after all");
                7_u32
            });
            let offered = coro.swap(successor).await;
            let joined = coro.join().await;
            let end = joined.clone().err().unwrap_or(Exit::Finished);
            assert_eq!(offered, Err(SwapError::Ended(end)));
            let expected = if panics {
                Err(Exit::Panicked("after all".into()))
            } else {
                Ok(7)
            };
            assert_eq!(joined, expected);
            assert_eq!(Arc::strong_count(&state), 1, "the state has been dropped");
        }
    });
}

#[test]
fn an_offer_withdrawn_while_it_is_in_hand_gives_the_state_back() {
    on_both(|| async {
        let (taken, is_taken) = tokio::sync::oneshot::channel();
        let (withdrawn, is_withdrawn) = tokio::sync::oneshot::channel::<()>();
        let coro = spawn(async move |me: Context<u32>| {
            let offer = me.swap_offer().await;
            taken.send(()).unwrap();
            is_withdrawn.await.unwrap();
            offer.accept(vec![7_u32]).await
        });
        let address: Address<u32> = coro.address();
        let offered = tokio::spawn(async move { address.swap(successor_of_list).await });
        is_taken.await.unwrap();
        offered.abort();
        assert!(offered.await.unwrap_err().is_cancelled());
        withdrawn.send(()).unwrap();
        assert_eq!(coro.join().await, Ok(vec![7]));
    });
}

async fn successor_of_list(_me: Context<u32>) -> Vec<u32> {
    Vec::new()
}

#[tokio::test(start_paused = true)]
async fn an_accepted_offer_that_comes_too_late_gives_the_state_back() {
    let limit = Duration::from_secs(1);
    let coro = spawn(async move |me: Context<u32>| {
        let offer = me.swap_offer().await;
        me.sleep(2 * limit).await;
        offer.accept(vec![7_u32]).await
    });
    assert_eq!(
        coro.swap_timeout(limit, successor_of_list).await,
        Err(SwapError::NotTaken(limit))
    );
    assert_eq!(coro.join().await, Ok(vec![7]));
}
