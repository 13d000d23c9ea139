//! Many senders to one who is slow, and whether another on the same link notices.

use std::time::Duration;

use coros_core::{Address, Context};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::log::{between, now, say};
use crate::site::{Letter, soon};

/// What each letter of the flood weighs.
pub(crate) const FREIGHT: usize = 1024;

/// Each so many of the senders never waits for its turn.
const PUSHY: usize = 50;

/// Takes a letter now and then.
pub(crate) fn slow() -> Address<Letter> {
    let coro = coros_core::build()
        .capacity(16)
        .spawn(async |mut me: Context<Letter>| {
            while me.receive().await.is_some() {
                sleep(Duration::from_millis(10)).await;
            }
        });
    coro.address()
}

/// Takes all there is.
pub(crate) fn quick() -> Address<Letter> {
    coros_core::spawn(async |mut me: Context<Letter>| while me.receive().await.is_some() {})
        .address()
}

/// Lets so many tasks send as fast as they can, until all is to be quiet.
pub(crate) fn flood(
    tasks: &mut JoinSet<()>,
    to: &Address<Letter>,
    senders: usize,
    quiet: &watch::Sender<bool>,
) {
    quiet.send_replace(false);
    for n in 0..senders {
        let (to, mut quiet) = (to.clone(), quiet.subscribe());
        tasks.spawn(async move {
            let sending = async {
                loop {
                    // Most who are told that there is no room wait until there is. Some try
                    // again and again: they fill whatever has no bound.
                    let freight = Letter::Freight(vec![7; FREIGHT]);
                    match to.send(freight) {
                        Ok(()) => {}
                        Err(_) if n % PUSHY == 0 => sleep(Duration::from_millis(2)).await,
                        Err(error) => drop(to.deliver(error.into_message()).await),
                    }
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                () = sending => {}
                _ = quiet.wait_for(|quiet| *quiet) => {}
            }
        });
    }
}

/// Delivers letters one after the other, and says how long each took.
pub(crate) async fn probe(to: &Address<Letter>, label: &str, count: usize) {
    for _ in 0..count {
        let began = now();
        let delivered = soon(to.deliver(Letter::Freight(Vec::new()))).await;
        match delivered {
            Some(Ok(())) => {
                let took = between(began, now()).as_micros();
                say(format_args!("probe {label} {took}"));
            }
            Some(Err(error)) => say(format_args!("failed probe {label} {began} {error}")),
            None => say(format_args!("stuck probe {label} {began}")),
        }
        sleep(Duration::from_millis(2)).await;
    }
    say(format_args!("probed {label}"));
}
