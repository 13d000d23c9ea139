//! A reply that is sent on: whoever has it answers, or leaves the question without an answer.
#![allow(clippy::unwrap_used)] // in what the tests call

mod common;

use common::on_both;
use coros_core::{Address, AskError, Context, Coro, Reply, spawn};

struct Question(u32, Reply<u32>);

/// Knows nothing and asks another.
fn front(back: Address<Question>) -> Coro<Question, ()> {
    spawn(async move |mut me: Context<Question>| {
        while let Some(question) = me.receive().await {
            let _ = back.send(question);
        }
    })
}

#[test]
fn the_last_of_a_row_answers() {
    on_both(|| async {
        let back = spawn(async |mut me: Context<Question>| {
            while let Some(Question(n, reply)) = me.receive().await {
                reply.send(2 * n);
            }
        });
        let middle = front(back.address());
        let front = front(middle.address());
        for n in 0..100 {
            assert_eq!(front.ask(|reply| Question(n, reply)).await, Ok(2 * n));
        }
    });
}

#[test]
fn whoever_asks_is_told_when_the_last_of_a_row_does_not_answer() {
    on_both(|| async {
        // It drops the first question, is ended with the second in its mailbox, and gets no third.
        let back = spawn(async |mut me: Context<Question>| {
            drop(me.receive().await);
            std::future::pending::<()>().await;
        });
        let front = front(back.address());
        let ask = || front.ask(|reply| Question(1, reply));
        assert_eq!(ask().await, Err(AskError::NoReply));
        let mut second = Box::pin(ask());
        assert!(futures_util::poll!(&mut second).is_pending());
        back.terminate();
        assert_eq!(second.await, Err(AskError::NoReply));
        back.exit().await;
        assert_eq!(ask().await, Err(AskError::NoReply));
        assert!(!front.is_closed());
    });
}
