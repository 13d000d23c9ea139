//! Sessions come and go, and nothing is left of them.

mod common;

use std::time::Duration;

use common::kept::Kept;
use common::meddler::{Harm, Meddler, Of};
use common::*;
use coros_core::{Address, Context, Reply};
use coros_net::{Node, Secret};
use serde::{Deserialize, Serialize};

const SESSIONS: usize = 1000;
/// Allocators and the runtime have had what they keep by then.
const WARM: usize = 300;

#[derive(Serialize, Deserialize)]
struct Question(Address<u32>, Reply<()>);

/// Answers, and leaves nothing: neither of what it was told of nor of what it watches.
fn answering() -> Address<Question> {
    let coro = coros_core::spawn(async |mut me: Context<Question>| {
        while let Some(Question(address, reply)) = me.receive().await {
            let _ = address.send(7);
            address.on_exit(drop);
            reply.send(());
        }
    });
    coro.address()
}

/// A session that ends in one of several ways. What the visitor lends dies with it.
async fn visit(n: usize, farm: &Node, secret: &Secret, to: &Address<Question>) {
    let other = Secret::random();
    let refused = n % 5 == 4;
    let secret = if refused { &other } else { secret };
    // One that is cut is not to go on over another link.
    let desk = builder("desk", secret).grace(Duration::ZERO);
    let desk = desk.no_listen().build().await;
    let desk = desk.expect("it starts");
    // Some of them are cut in the middle, after the greetings, without a word.
    let harm = match n % 5 {
        3 => Harm::Cut(2000 + n),
        _ => Harm::None,
    };
    let cable = Meddler::between(endpoint(farm), Of::Dialler, harm).await;
    let linked = soon(desk.connect(cable.endpoint)).await;
    assert_eq!(linked.is_err(), refused, "{n}: {linked:?}");
    if linked.is_ok() {
        let there = sent(farm, &desk, to);
        let (mine, _received) = collector::<u32>();
        let mut gone = Box::pin(there.exit());
        while polled(&mut gone).await.is_pending() {
            let question = |reply| Question(mine.clone(), reply);
            let asked = there.ask_timeout(LIMIT, question).await;
            // Until it is cut, if it is: the next question may make another session.
            if asked.is_err() || harm == Harm::None {
                break;
            }
        }
    }
    if n.is_multiple_of(2) {
        soon(desk.close()).await;
    }
    drop(desk);
    soon(cable.over()).await;
}

/// In bytes, where that can be found out.
fn memory() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|it| it.parse().ok());
    pages.unwrap_or(0_usize) * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_leave_nothing() {
    let secret = Secret::random();
    let farm = node("farm", &secret).await;
    let address = answering();
    visit(0, &farm, &secret, &address).await;
    let before = Kept::at_rest(&farm).await;
    let mut warm = 0;
    for n in 1..=SESSIONS {
        visit(n, &farm, &secret, &address).await;
        if n == WARM {
            before.again_by(&farm).await;
            warm = memory();
        }
    }
    before.again_by(&farm).await;
    let more = memory().saturating_sub(warm);
    // Less than four KiB a session, which is a fraction of what each has had.
    let sessions = SESSIONS - WARM;
    assert!(
        more < sessions * 4096,
        "{more} bytes after {sessions} sessions"
    );
}
