//! What others ask of a coroutine while it is inside of a combinator, which polls its parts with
//! the coroutine's own waker (`select!`, `join!`) or with wakers of its own (`FuturesUnordered`).
#![allow(clippy::unwrap_used)] // in what the tests call

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{counted_waker, on_both, until};
use coros_core::{Context, Coro, CoroState, build, coroutines, spawn};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::oneshot;

/// Puts a part of a coroutine into a combinator, beside one that never ends.
type Combine = for<'a> fn(BoxFuture<'a, u32>) -> BoxFuture<'a, u32>;

fn in_select(part: BoxFuture<'_, u32>) -> BoxFuture<'_, u32> {
    async {
        tokio::select! {
            n = part => n,
            () = std::future::pending() => unreachable!(),
        }
    }
    .boxed()
}

fn in_join(part: BoxFuture<'_, u32>) -> BoxFuture<'_, u32> {
    async { tokio::join!(part, tokio::task::yield_now()).0 }.boxed()
}

fn in_unordered(part: BoxFuture<'_, u32>) -> BoxFuture<'_, u32> {
    async {
        let mut parts = FuturesUnordered::new();
        parts.push(std::future::pending().boxed());
        parts.push(part);
        parts.next().await.unwrap()
    }
    .boxed()
}

const ALL: [Combine; 3] = [in_select, in_join, in_unordered];

#[test]
fn a_coroutine_suspended_by_others_receives_nothing_until_it_is_resumed() {
    on_both(|| async {
        for combine in ALL {
            let received = Arc::new(AtomicUsize::new(0));
            let counting = Arc::clone(&received);
            let coro = spawn(async move |mut me: Context<u32>| {
                let mut sum = 0;
                for _ in 0..3 {
                    sum += combine(me.receive().map(Option::unwrap).boxed()).await;
                    counting.fetch_add(1, Ordering::SeqCst);
                }
                sum
            });
            coro.send(1).unwrap();
            until(|| received.load(Ordering::SeqCst) == 1).await;
            coro.suspend();
            // A receive that is parked already may still get one; it is then not polled.
            coro.send(20).unwrap();
            coro.send(300).unwrap();
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            assert_eq!(received.load(Ordering::SeqCst), 1);
            coro.resume();
            assert_eq!(coro.join().await, Ok(321));
        }
    });
}

#[test]
fn a_coroutine_suspends_itself_until_others_resume_it() {
    on_both(|| async {
        for combine in ALL {
            let steps = Arc::new(AtomicUsize::new(0));
            let counting = Arc::clone(&steps);
            let coro = build()
                .name("suspends itself")
                .spawn(async move |mut me: Context<u32>| {
                    for _ in 0..3 {
                        combine(me.suspend().map(|()| 1).boxed()).await;
                        counting.fetch_add(1, Ordering::SeqCst);
                    }
                });
            let is_suspended = || {
                let mut all = coroutines().into_iter();
                all.any(|it| it.id == coro.id() && it.state == CoroState::Suspended)
            };
            for round in 0..3 {
                until(is_suspended).await;
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                assert_eq!(steps.load(Ordering::SeqCst), round);
                coro.resume();
                until(|| steps.load(Ordering::SeqCst) == round + 1).await;
            }
            assert_eq!(coro.join().await, Ok(()));
        }
    });
}

/// Accepts offers inside of a combinator, and receives otherwise.
fn accepting(combine: Combine) -> Coro<u32, u32> {
    spawn(async move |mut me: Context<u32>| {
        let offers = me.swap_offers();
        let part = async { offers.next().await.accept(40_u32).await };
        let returned = combine(part.boxed()).await;
        returned + me.receive().await.unwrap()
    })
}

#[test]
fn a_swap_accepted_in_a_combinator_takes_place() {
    async fn successor(mut me: Context<u32>) -> u32 {
        me.take_state::<u32>().unwrap() * 10 + me.receive().await.unwrap()
    }
    on_both(|| async {
        for combine in ALL {
            let coro = accepting(combine);
            coro.send(2).unwrap();
            coro.swap(successor).await.unwrap();
            assert_eq!(coro.join().await, Ok(402));
        }
    });
}

#[test]
fn a_policy_is_asked_while_its_function_is_in_a_combinator() {
    async fn successor(mut me: Context<u32>) -> u32 {
        me.receive().await.unwrap()
    }
    on_both(|| async {
        for combine in ALL {
            let coro = spawn(async move |mut me: Context<u32>| {
                me.swappable(|offer| drop(offer.accept(())));
                combine(std::future::pending().boxed()).await
            });
            coro.swap(successor).await.unwrap();
            coro.send(3).unwrap();
            assert_eq!(coro.join().await, Ok(3));
        }
    });
}

/// Both parts wait with wakers of their own, and neither takes the other's place.
#[test]
fn a_receive_beside_an_accepted_offer_goes_on_when_that_is_withdrawn() {
    async fn successor(_me: Context<u32>) -> u32 {
        unreachable!("the offer is withdrawn")
    }
    on_both(|| async {
        let (take, taken) = oneshot::channel();
        let (withdraw, withdrawn) = oneshot::channel::<()>();
        let (give_back, given_back) = oneshot::channel();
        let coro = spawn(async move |mut me: Context<u32>| {
            let offers = me.swap_offers();
            let accept = async {
                let offer = offers.next().await;
                take.send(()).unwrap();
                // Otherwise the swap would take place.
                withdrawn.await.unwrap();
                offer.accept(40_u32).await
            };
            let mut parts = FuturesUnordered::new();
            parts.push(me.receive().map(Option::unwrap).boxed());
            parts.push(accept.boxed());
            let state = parts.next().await.unwrap();
            give_back.send(state).unwrap();
            state + parts.next().await.unwrap()
        });
        let mut offered = Box::pin(coro.swap(successor));
        assert!(futures_util::poll!(&mut offered).is_pending());
        taken.await.unwrap();
        drop(offered);
        withdraw.send(()).unwrap();
        assert_eq!(given_back.await, Ok(40));
        coro.send(2).unwrap();
        assert_eq!(coro.join().await, Ok(42));
    });
}

#[test]
fn one_that_has_ended_keeps_no_waker_of_a_combinator() {
    on_both(|| async {
        let (count, waker) = counted_waker();
        let coro = spawn(async move |mut me: Context<u32>| {
            let mut cx = std::task::Context::from_waker(&waker);
            assert!(me.receive().boxed().poll_unpin(&mut cx).is_pending());
        });
        let address = coro.address();
        coro.join().await.unwrap();
        assert_eq!(Arc::strong_count(&count), 1);
        assert!(address.is_closed());
    });
}
