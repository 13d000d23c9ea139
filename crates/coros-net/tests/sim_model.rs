//! Nodes on a simulated network, with random traffic and random faults, held against what is
//! promised:
//!
//! - letters of one node to another arrive in order, each at most once, and never at a later life;
//! - what was confirmed has arrived; what nothing disturbed for longer than the grace period has
//!   all arrived, and no wait across it ended for a link that broke;
//! - each monitor fires, once, and says that a coroutine has finished only if it has;
//! - nothing waits for longer than the bound for a peer that it hears nothing from, nor for ever;
//! - what a node is told of its peers is one story of each;
//! - what nodes keep has its bounds, and nothing is left of what is over;
//! - when all is well again everybody reaches everybody, and who is there is known.
//!
//! A seed also says what kind of nodes they are: members or not, with much to say or little, with slow
//! receivers, and where they say that they listen, which may be wrong or nowhere. What goes to one
//! that cannot be dialled is held to less, until it has been heard from: see
//! [`Place`](model::nature::Place).
//!
//! `COROS_SIM_SEED=17` runs the schedule of one seed, and prints what happened in it.

mod common;
mod model;

use common::seeds::{holds_for, holds_or_shows};
use model::schedule::run;

// Two hundred seeds, in four tests so that they use as many cores.

#[test]
fn what_is_promised_holds() {
    holds_or_shows(run, 0..50);
}

#[test]
fn and_for_the_second_fifty_seeds() {
    holds_for(run, 50..100);
}

#[test]
fn and_for_the_third_fifty_seeds() {
    holds_for(run, 100..150);
}

#[test]
fn and_for_the_last_fifty_seeds() {
    holds_for(run, 150..200);
}

#[test]
fn a_seed_determines_all_that_happens() {
    for seed in 0..10 {
        let [first, second] = [(); 2].map(|()| run(seed).trace);
        let differs = first.iter().zip(&second).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.len(), second.len(), "seed {seed}");
        assert!(first.len() > 100, "seed {seed}: something happens");
    }
    assert_ne!(run(0).trace, run(1).trace);
}
