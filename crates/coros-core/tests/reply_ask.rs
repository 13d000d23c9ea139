//! Questions and answers between coroutines of one process.
#![allow(clippy::unwrap_used)] // in what the tests call

mod common;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use common::on_both;
use coros_core::{Context, Coro, Reply, spawn};

struct Question(u32, Reply<Arc<u32>>);

/// Answers with what it was asked, and keeps nothing of it.
fn echo() -> Coro<Question, ()> {
    spawn(async |mut me: Context<Question>| {
        while let Some(Question(n, reply)) = me.receive().await {
            reply.send(Arc::new(n));
        }
    })
}

#[test]
fn an_answer_that_nobody_waits_for_is_dropped() {
    on_both(|| async {
        let (kept, mut replies) = tokio::sync::mpsc::unbounded_channel();
        let keeps = spawn(async move |mut me: Context<Question>| {
            while let Some(Question(_, reply)) = me.receive().await {
                kept.send(reply).unwrap();
            }
        });
        let answer = Arc::new(7);
        for polls in 0..3 {
            let reply = {
                let mut asked = pin!(keeps.ask(|reply| Question(0, reply)));
                // Sent by the first poll.
                assert!(poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx).is_pending())).await);
                let reply = replies.recv().await.unwrap();
                assert!(!reply.is_closed());
                for _ in 0..polls {
                    // By other tasks than the one that asked.
                    let cx = &mut TaskContext::from_waker(Waker::noop());
                    assert!(asked.as_mut().poll(cx).is_pending());
                }
                reply
            };
            assert!(reply.is_closed());
            reply.send(Arc::clone(&answer));
            assert_eq!(Arc::strong_count(&answer), 1);
        }
        // Answered, and not taken.
        let mut asked = Box::pin(keeps.ask(|reply| Question(0, reply)));
        assert!(poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx).is_pending())).await);
        replies.recv().await.unwrap().send(Arc::clone(&answer));
        assert_eq!(Arc::strong_count(&answer), 2);
        drop(asked);
        assert_eq!(Arc::strong_count(&answer), 1);
    });
}

#[test]
fn a_question_that_is_polled_by_another_task_wakes_that_one() {
    on_both(|| async {
        let (kept, mut replies) = tokio::sync::mpsc::unbounded_channel();
        let keeps = spawn(async move |mut me: Context<Question>| {
            while let Some(Question(_, reply)) = me.receive().await {
                kept.send(reply).unwrap();
            }
        });
        let address = keeps.address();
        let mut asked = Box::pin(async move { address.ask(|reply| Question(0, reply)).await });
        assert!(poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx).is_pending())).await);
        let moved = tokio::spawn(asked);
        replies.recv().await.unwrap().send(Arc::new(3));
        assert_eq!(moved.await.unwrap(), Ok(Arc::new(3)));
    });
}

#[test]
fn every_question_of_many_askers_gets_its_own_answer_or_is_given_up() {
    on_both(|| async {
        let echo = echo();
        let askers: Vec<_> = (0..8_u32)
            .map(|asker| {
                let echo = echo.address();
                spawn(async move |_me: Context<()>| {
                    let mut answered = 0;
                    for n in 0..1_000 {
                        let n = asker * 1_000 + n;
                        let asked = echo.ask(|reply| Question(n, reply));
                        if n % 3 == 0 {
                            // Given up, before or after the answer.
                            tokio::select! {
                                biased;
                                answer = asked => assert_eq!(answer, Ok(Arc::new(n))),
                                () = tokio::task::yield_now() => {}
                            }
                        } else {
                            assert_eq!(asked.await, Ok(Arc::new(n)));
                            answered += 1;
                        }
                    }
                    answered
                })
            })
            .collect();
        for asker in askers {
            assert!(matches!(asker.join().await, Ok(666 | 667)));
        }
        // An answer to nobody has harmed nobody.
        let last = echo.ask(|reply| Question(9, reply)).await;
        assert_eq!(last, Ok(Arc::new(9)));
    });
}
