//! The faults on one machine, and what is to come of each.

use std::time::Duration;

use coros_net::wire;
use libtest_mimic::{Failed, Trial};

use crate::check::{Outcome, exit_after};
use crate::crowd;
use crate::files;
use crate::flood;
use crate::log::{between, now};
use crate::netns;
use crate::process::{Setup, Site};
use crate::trial::trial;

const MS: Duration = Duration::from_millis(1);

/// What a machine that does other things too may add to each bound.
pub(crate) const BUSY: Duration = Duration::from_secs(2);

/// How soon it is known that a process has gone: some milliseconds, a tenth of a second with what is
/// promised, and turns of a scheduler that has others to serve.
const AT_ONCE: Duration = Duration::from_millis(300);

/// A fault that can be run.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// As people call it.
    pub(crate) fault: &'static str,
    /// Why it cannot be run here, if it cannot.
    pub(crate) missing: Option<String>,
    /// Runs for a minute and more: not as a test.
    pub(crate) is_long: bool,
    pub(crate) run: fn() -> Outcome,
}

impl Case {
    pub(crate) fn new(name: &'static str, fault: &'static str, run: fn() -> Outcome) -> Self {
        Case {
            name,
            fault,
            missing: None,
            is_long: false,
            run,
        }
    }

    fn long(self) -> Self {
        Case {
            is_long: true,
            ..self
        }
    }

    pub(crate) fn unless(self, missing: Option<String>) -> Self {
        Case { missing, ..self }
    }

    pub(crate) fn into_trial(self) -> Trial {
        let long = "takes more than a minute: `cargo xtask faults --long`".to_owned();
        let why = self.missing.or(self.is_long.then_some(long));
        let test = move || {
            let outcome = (self.run)();
            println!("{outcome:#?}");
            if outcome.wrong.is_empty() {
                Ok(())
            } else {
                Err(Failed::from(outcome.wrong.join("\n")))
            }
        };
        trial(self.name, why.as_deref(), test)
    }
}

pub(crate) fn all() -> Vec<Case> {
    let case = Case::new;
    let in_grace = "SIGSTOP 3 s, shorter than grace";
    let for_long = "SIGSTOP 3 s, longer than all limits";
    let by_turns = "SIGSTOP of both, again and again";
    let few = "10,000 strangers from 3 addresses";
    let many = "10,000 strangers from as many";
    let minute = "SIGSTOP 60 s, default limits";
    let mut cases = vec![
        case("none", "none, for comparison", none),
        case("killed", "kill -9", killed),
        case("exits", "exit without close", exits),
        case("closes", "close", closes),
        case(
            "stopped_briefly",
            "SIGSTOP 1 s, shorter than silence",
            stopped_briefly,
        ),
        case("stopped_within_grace", in_grace, stopped_within_grace),
        case("stopped_for_long", for_long, stopped_for_long),
        case("stopped_again_and_again", by_turns, stopped_again_and_again),
        case(
            "slow_receiver",
            "slow receiver, 1,000 senders",
            slow_receiver,
        ),
        case("crowd_of_few", few, || crowd::besieged(3)).unless(crowd::missing()),
        case("crowd_of_many", many, || crowd::besieged(10_000)).unless(crowd::missing()),
        case("stopped_for_a_minute", minute, stopped_for_a_minute).long(),
    ];
    cases.extend(files::cases());
    cases.extend(netns::cases());
    cases
}

/// Limits that are over soon.
fn impatient() -> Setup {
    Setup::new(300 * MS, 500 * MS)
}

/// Two sites that talk to each other, and have got through.
pub(crate) fn talking(pair: &mut [Site; 2]) {
    pair[0].tell("talk farm");
    pair[1].tell("talk desk");
    for site in pair {
        site.gets_through(20);
    }
}

/// Lets them get through again, ends it, and checks all that was said.
pub(crate) fn checked(pair: &mut [Site; 2], setup: &Setup, patient: &[&str]) -> Outcome {
    for site in &mut *pair {
        site.gets_through(20);
    }
    for site in &mut *pair {
        site.quiet();
    }
    // What was sent without a word has the time to come.
    settle(pair);
    let mut outcome = Outcome::of(pair, patient);
    within(&mut outcome, setup);
    outcome
}

/// A question after everything else shows that all that was sent before has come.
fn settle(pair: &mut [Site; 2]) {
    for (to, site) in ["farm", "desk"].into_iter().zip(&mut *pair) {
        site.tell(&format!("probe {to} last 1"));
        site.hears("probed");
    }
    for site in pair {
        site.tell("memory");
        site.hears("memory");
    }
}

fn within(outcome: &mut Outcome, setup: &Setup) {
    let (longest, bound) = (outcome.longest, setup.bound());
    if longest > bound + BUSY {
        outcome.wrong(format_args!(
            "somebody waited {longest:?}, the bound is {bound:?}"
        ));
    }
}

pub(crate) fn nothing_lost(mut outcome: Outcome) -> Outcome {
    let (lost, fired) = (outcome.lost, outcome.fired);
    if lost > 0 {
        outcome.wrong(format_args!("{lost} letters are lost"));
    }
    if fired > 0 {
        outcome.wrong(format_args!("{fired} monitors fired"));
    }
    outcome
}

fn none() -> Outcome {
    let setup = Setup::new(20_000 * MS, Duration::ZERO);
    let mut pair = setup.pair();
    talking(&mut pair);
    nothing_lost(checked(&mut pair, &setup, &["desk", "farm"]))
}

/// One of the two goes away, and when that was; what the other makes of it.
fn gone(go: fn(&mut Site) -> u64, goes: usize, setup: &Setup) -> Outcome {
    let mut pair = setup.pair();
    talking(&mut pair);
    let name = pair[goes].name.clone();
    pair[1 - goes].tell(&format!("wait {name}"));
    // Behind these, both are there.
    pair[1 - goes].gets_through(20);
    let at = go(&mut pair[goes]);
    let stays = &mut pair[1 - goes];
    stays.hears("waited");
    stays.hears_where("exited", |line| line.what() == "exited" && line.at >= at);
    stays.hears_where("failed", |line| {
        line.what() == "failed" && line.number(3) >= at
    });
    stays.quiet();
    let stays = &pair[1 - goes];
    let mut outcome = Outcome::of(&pair, &[&stays.name]);
    let known = exit_after(stays, at).map(|line| between(at, line.at));
    outcome.known = known;
    if let Some(line) = stays.said.iter().find(|line| line.what() == "waited") {
        outcome.longest = outcome.longest.max(between(at, line.at));
    }
    within(&mut outcome, setup);
    outcome
}

/// A process that has gone has closed its connections: nobody waits until it has been silent for
/// long, nor for its return, whichever of the two it is.
fn known_at_once(go: fn(&mut Site) -> u64) -> Outcome {
    let setup = Setup::new(20_000 * MS, 20_000 * MS);
    let gone = |goes| {
        let mut outcome = gone(go, goes, &setup);
        match outcome.known {
            Some(known) if known < AT_ONCE => {}
            other => outcome.wrong(format_args!("known after {other:?}, not at once")),
        }
        let longest = outcome.longest;
        if longest >= AT_ONCE {
            outcome.wrong(format_args!(
                "somebody waited {longest:?}, not told at once"
            ));
        }
        outcome
    };
    gone(0).and(gone(1))
}

fn killed() -> Outcome {
    known_at_once(Site::kill)
}

fn exits() -> Outcome {
    known_at_once(|site| site.obeys_and_ends("exit"))
}

fn closes() -> Outcome {
    known_at_once(|site| site.obeys_and_ends("close"))
}

fn stopped_briefly() -> Outcome {
    let setup = Setup::new(20_000 * MS, Duration::ZERO);
    let mut pair = setup.pair();
    talking(&mut pair);
    pair[1].stop_for(1000 * MS);
    nothing_lost(checked(&mut pair, &setup, &["desk"]))
}

/// Links break, sessions do not.
pub(crate) fn forgiving() -> Setup {
    Setup::new(300 * MS, 20_000 * MS)
}

fn stopped_within_grace() -> Outcome {
    let setup = forgiving();
    let mut pair = setup.pair();
    talking(&mut pair);
    pair[1].stop_for(3000 * MS);
    nothing_lost(checked(&mut pair, &setup, &["desk"]))
}

/// The farm stands still beyond all limits, and is back: those who wait for it are told in time.
fn stopped(setup: &Setup, time: Duration) -> Outcome {
    let mut pair = setup.pair();
    talking(&mut pair);
    let at = now();
    let back = pair[1].stop_for(time);
    let mut outcome = checked(&mut pair, setup, &["desk"]);
    let bound = setup.silence.mul_f64(1.1) + setup.grace;
    match exit_after(&pair[0], at) {
        Some(line) if line.at < back => {
            let known = between(at, line.at);
            outcome.known = Some(known);
            if known > bound + BUSY {
                outcome.wrong(format_args!(
                    "known after {known:?}, the bound is {bound:?}"
                ));
            }
        }
        other => outcome.wrong(format_args!("the monitor did not fire in time: {other:?}")),
    }
    outcome
}

fn stopped_for_long() -> Outcome {
    stopped(&impatient(), 3000 * MS)
}

fn stopped_for_a_minute() -> Outcome {
    stopped(&Setup::new(2000 * MS, 5000 * MS), 60_000 * MS)
}

/// Around the limits, where a break may or may not be one.
fn stopped_again_and_again() -> Outcome {
    let setup = impatient();
    let mut pair = setup.pair();
    talking(&mut pair);
    for (round, ms) in [150, 310, 340, 420, 800, 900].into_iter().enumerate() {
        pair[round % 2].stop_for(ms * MS);
        pair[0].gets_through(2);
        pair[1].gets_through(2);
    }
    // Everybody was stopped, so nobody's waits count; that none is stuck does.
    checked(&mut pair, &setup, &[])
}

/// What a flood may take of either process beside what it has anyway. For the one receiver: a window
/// each of what waits to be written, of what is not acknowledged, of what waits in the mailbox or for
/// room in it, and of what was taken out together. For each sender: its task, and its letter, which
/// it has encoded as well. All of it twice, since allocators give back late.
const fn flooded(senders: usize) -> u64 {
    const TASK: usize = 2048;
    2 * (4 * wire::WINDOW + senders * (2 * flood::FREIGHT + TASK)) as u64
}

fn slow_receiver() -> Outcome {
    const PROBES: usize = 100;
    const SENDERS: usize = 1000;
    let setup = Setup::new(20_000 * MS, Duration::ZERO);
    let mut pair = setup.pair();
    let [desk, farm] = &mut pair;
    let mut probe = |desk: &mut Site, label| {
        desk.tell(&format!("probe farm {label} {PROBES}"));
        desk.hears("probed");
        [desk.memory(), farm.memory()].map(|in_use| in_use.peak >> 10)
    };
    let before = probe(desk, "alone");
    desk.tell(&format!("flood farm {SENDERS}"));
    let memory = probe(desk, "beside");
    desk.quiet();
    let mut outcome = Outcome::of(&pair, &[]);
    let p99 = |label: &str| {
        let probes = pair[0].said.iter();
        let probes = probes.filter(|line| line.what() == "probe" && line.word(1) == label);
        let mut took: Vec<u64> = probes.map(|line| line.number(2)).collect();
        took.sort_unstable();
        let at = (took.len() * 99 / 100).min(took.len().saturating_sub(1));
        (
            took.len(),
            Duration::from_micros(took.get(at).copied().unwrap_or(0)),
        )
    };
    let [(_, alone), (through, beside)] = ["alone", "beside"].map(p99);
    outcome.letters = 2 * PROBES;
    outcome.longest = beside;
    outcome.note = format!(
        "p99 of another receiver {beside:.1?}, without the flood {alone:.1?}; \
         {} and {} MiB of memory, before it {} and {}",
        memory[0], memory[1], before[0], before[1]
    );
    // The flood as a whole takes minutes at the pace of its receiver.
    if beside > alone + Duration::from_secs(1) {
        outcome.wrong(format_args!(
            "p99 is {beside:?} beside the flood, {alone:?} without"
        ));
    }
    if through != PROBES {
        outcome.wrong(format_args!("{through} of {PROBES} got through"));
    }
    let bound = flooded(SENDERS) >> 20;
    if memory
        .iter()
        .zip(before)
        .any(|(mib, had)| *mib > had + bound)
    {
        outcome.wrong(format_args!(
            "{memory:?} MiB of memory, before {before:?}, the bound is {bound} more"
        ));
    }
    outcome
}
