//! Schedules that a seed determines, on a simulated network, held against what is promised.
//!
//! `COROS_SIM_SEED=17` runs the schedule of one seed, and prints what happened in it.

use std::fmt::Display;
use std::ops::Range;

use coros_net::sim::SimNetwork;
use tokio::time::Instant;

/// What a run leaves behind.
pub(crate) struct Outcome {
    pub(crate) wrong: Vec<String>,
    pub(crate) trace: Vec<String>,
}

impl Outcome {
    /// What was noted, each line with the time first, among what the network has seen.
    pub(crate) fn of(noted: Notes, network: &SimNetwork) -> Self {
        let Notes {
            mut trace, wrong, ..
        } = noted;
        trace.extend(network.events().iter().map(ToString::to_string));
        trace.sort_by(|a, b| a[..9].cmp(&b[..9]));
        Outcome { wrong, trace }
    }
}

/// What happens in a run, line by line, and what of it must not be.
pub(crate) struct Notes {
    began: Instant,
    trace: Vec<String>,
    wrong: Vec<String>,
}

impl Notes {
    pub(crate) fn new() -> Self {
        Notes {
            began: Instant::now(),
            trace: Vec::new(),
            wrong: Vec::new(),
        }
    }

    pub(crate) fn note(&mut self, what: impl Display) {
        let at = self.began.elapsed().as_secs_f64();
        self.trace.push(format!("{at:9.3}s {what}"));
    }

    pub(crate) fn wrong(&mut self, what: impl Display) {
        let what = what.to_string();
        self.note(format_args!("WRONG: {what}"));
        self.wrong.push(what);
    }
}

/// Runs something in virtual time.
pub(crate) fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.expect("a runtime").block_on(future)
}

/// Holds for these seeds, or for the one that was asked for.
pub(crate) fn holds_or_shows(run: fn(u64) -> Outcome, seeds: Range<u64>) {
    let Some(seed) = chosen() else {
        return holds_for(run, seeds);
    };
    let outcome = run(seed);
    println!("{}", outcome.trace.join("\n"));
    assert_eq!(outcome.wrong, [""; 0], "seed {seed}");
}

pub(crate) fn holds_for(run: fn(u64) -> Outcome, seeds: Range<u64>) {
    for seed in seeds {
        let outcome = run(seed);
        assert!(
            outcome.wrong.is_empty(),
            "seed {seed} (COROS_SIM_SEED={seed} shows what happened):\n{}",
            outcome.wrong.join("\n")
        );
    }
}

fn chosen() -> Option<u64> {
    let text = std::env::var("COROS_SIM_SEED").ok()?;
    let seed = text.parse();
    Some(seed.unwrap_or_else(|_| panic!("COROS_SIM_SEED={text:?} is no number")))
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
