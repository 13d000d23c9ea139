//! A channel whose subscribers are on several nodes of a simulated network, with random traffic and
//! random faults, held against what is promised:
//!
//! - what a sender sends comes to each subscriber in order, each message at most once, through the
//!   transform once, and not at all when that drops it;
//! - who has subscribed misses nothing while the network is gone for less than the grace period,
//!   also when more is under way than a link takes at once;
//! - a delivery says how many coroutines have the message, and waits for as many as it was told to;
//! - who ends is not counted any more, nor who was on a node that died, and nobody else notices;
//! - who was released has ended, who is still known to somebody has not, and nothing is left.
//!
//! `COROS_SIM_SEED=17` runs the schedule of one seed, and prints what happened in it.

mod channels;
mod common;

use channels::schedule::run;
use common::seeds::{holds_for, holds_or_shows};

#[test]
fn what_channels_promise_holds() {
    holds_or_shows(run, 0..8);
}

#[test]
fn and_for_eight_more_seeds() {
    holds_for(run, 8..16);
}

#[test]
fn and_for_the_last_eight_seeds() {
    holds_for(run, 16..24);
}
