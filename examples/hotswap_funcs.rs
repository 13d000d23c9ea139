//! The functions that `hotswap` swaps: two versions of a server, and one that must not run.

use std::fmt;

use coros::{Context, Reply};

/// What the server receives, whatever its version.
pub(crate) enum Request {
    Add(u64),
    Totals(Reply<Totals>),
}

/// The server's state, which the versions hand over to each other.
#[derive(Clone, Default)]
pub(crate) struct Totals {
    pub(crate) count: u64,
    pub(crate) sum: u64,
    /// Of the numbers that came since somebody has added up squares.
    squares: Option<u128>,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} numbers, their sum is {}", self.count, self.sum)?;
        match self.squares {
            Some(squares) => write!(f, ", the squares of the latest add up to {squares}"),
            None => Ok(()),
        }
    }
}

/// The first version. Between two messages it looks whether there is a newer one.
pub(crate) async fn sum(mut me: Context<Request>) -> u64 {
    let mut totals = Totals::default();
    let offers = me.swap_offers();
    loop {
        tokio::select! {
            biased;
            offer = offers.next() => {
                if offer.function().ends_with("::forget_everything") {
                    let n = totals.count;
                    let s = if n == 1 { "" } else { "s" };
                    offer.refuse(format_args!("{n} number{s} would be lost"));
                } else {
                    // Returns only if the offer was withdrawn meanwhile.
                    totals = offer.accept(totals).await;
                }
            }
            request = me.receive() => match request {
                Some(Request::Add(n)) => {
                    totals.count += 1;
                    totals.sum += n;
                }
                Some(Request::Totals(reply)) => reply.send(totals.clone()),
                None => return totals.count,
            },
        }
    }
}

/// The second version takes over where the first one stopped, and adds up squares as well.
pub(crate) async fn sum_and_squares(mut me: Context<Request>) -> u64 {
    let mut totals: Totals = me.take_state().unwrap_or_default();
    let mut squares = 0;
    while let Some(request) = me.receive().await {
        match request {
            Request::Add(n) => {
                totals.count += 1;
                totals.sum += n;
                squares += u128::from(n) * u128::from(n);
                totals.squares = Some(squares);
            }
            Request::Totals(reply) => reply.send(totals.clone()),
        }
    }
    totals.count
}

/// No server: the first version refuses it.
pub(crate) async fn forget_everything(mut me: Context<Request>) -> u64 {
    while me.receive().await.is_some() {}
    0
}
