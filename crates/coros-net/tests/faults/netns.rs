//! Faults of the network between two machines.

use std::thread::sleep;
use std::time::Duration;

use crate::cable::{Cable, PLACES, no_namespaces};
use crate::cases::{self, BUSY, Case};
use crate::check::{Outcome, exit_after};
use crate::log::{between, now};
use crate::process::{Setup, Site, introduce};
use crate::trial::why_not;

const MS: Duration = Duration::from_millis(1);

pub(crate) fn cases() -> Vec<Case> {
    let plain = no_namespaces();
    let filter = plain.clone().or_else(no_filter);
    let netem = plain.clone().or_else(no_netem);
    let case = |name, fault, missing: &Option<String>, run| {
        Case::new(name, fault, run).unless(missing.clone())
    };
    vec![
        case("two_machines", "none, between two machines", &plain, || {
            undisturbed(&patient(), |_| {})
        }),
        case(
            "cable_out_briefly",
            "cable out 1 s, shorter than silence",
            &plain,
            || undisturbed(&patient(), |cable| cable.out_for(1000 * MS)),
        ),
        case(
            "cable_out_within_grace",
            "cable out 3 s, shorter than grace",
            &plain,
            || undisturbed(&cases::forgiving(), |cable| cable.out_for(3000 * MS)),
        ),
        case(
            "cable_out_for_long",
            "cable out 3 s, longer than all limits",
            &plain,
            || broken(Cable::pull, Cable::put_back),
        ),
        // A greeting that was held up for seconds and comes when the link has been made again.
        case(
            "one_way_within_grace",
            "one-way loss 3 s, shorter than grace",
            &filter,
            || {
                undisturbed(&cases::forgiving(), |cable| {
                    cable.deafen();
                    sleep(3000 * MS);
                    cable.heal();
                })
            },
        ),
        case(
            "one_way_loss",
            "one-way loss 3 s, longer than all limits",
            &filter,
            || broken(Cable::deafen, Cable::heal),
        ),
        case("frames_lost", "30 % of frames lost (nft)", &filter, || {
            let fate = "numgen random mod 100 < 30 drop";
            slowed(|cable| cable.filter(&[0, 1], fate), Cable::heal)
        }),
        case(
            "frames_lost_by_netem",
            "30 % of frames lost (netem)",
            &netem,
            || slowed(|cable| cable.netem("loss 30%"), Cable::ease),
        ),
        case("latency", "50 ms of latency (netem)", &netem, || {
            slowed(|cable| cable.netem("delay 50ms"), Cable::ease)
        }),
    ]
}

/// Links that bear with much.
fn patient() -> Setup {
    Setup::new(20_000 * MS, Duration::ZERO)
}

fn no_filter() -> Option<String> {
    let add = ["unshare", "--net", "nft", "add", "table", "inet", "t"];
    why_not("filter what comes", &add)
}

fn no_netem() -> Option<String> {
    let words = "unshare --net tc qdisc add dev lo root netem delay 1ms";
    why_not("delay frames", &words.split(' ').collect::<Vec<_>>())
}

/// A site on each of the machines.
fn pair(cable: &Cable, setup: &Setup) -> [Site; 2] {
    let mut pair = [("desk", 0), ("farm", 1)].map(|(name, at)| {
        let prefix = cable.prefix(at);
        let listen = format!("{}:0", PLACES[at]);
        setup.site_by(&prefix.each_ref().map(String::as_str), name, &listen, None)
    });
    introduce(&mut pair);
    pair
}

/// Something that must cost nothing.
fn undisturbed(setup: &Setup, fault: impl FnOnce(&Cable)) -> Outcome {
    let cable = Cable::lay();
    let mut pair = pair(&cable, setup);
    cases::talking(&mut pair);
    fault(&cable);
    cases::nothing_lost(cases::checked(&mut pair, setup, &["desk", "farm"]))
}

/// Something that slows down and loses nothing.
fn slowed(fault: impl FnOnce(&Cable), end: fn(&Cable)) -> Outcome {
    // TCP tries again at ever longer intervals, so there are times without any sign of life.
    let setup = Setup::new(60_000 * MS, Duration::ZERO);
    let cable = Cable::lay();
    // But not so long that chance could make a run take minutes.
    cable.make_impatient();
    let mut pair = pair(&cable, &setup);
    cases::talking(&mut pair);
    fault(&cable);
    for site in &mut pair {
        site.gets_through(1);
    }
    end(&cable);
    cases::nothing_lost(cases::checked(&mut pair, &setup, &["desk", "farm"]))
}

/// Something that outlasts all limits: both sides know in time, and find each other again.
fn broken(fault: fn(&Cable), end: fn(&Cable)) -> Outcome {
    let setup = Setup::new(300 * MS, 500 * MS);
    let cable = Cable::lay();
    let mut pair = pair(&cable, &setup);
    cases::talking(&mut pair);
    let at = now();
    fault(&cable);
    sleep(3000 * MS);
    end(&cable);
    let back = now();
    let mut outcome = cases::checked(&mut pair, &setup, &["desk", "farm"]);
    let bound = setup.silence.mul_f64(1.1) + setup.grace;
    for site in &pair {
        match exit_after(site, at) {
            Some(line) if line.at < back => {
                let known = between(at, line.at);
                outcome.known = outcome.known.max(Some(known));
                if known > bound + BUSY {
                    outcome.wrong(format_args!(
                        "{} knew after {known:?}, the bound is {bound:?}",
                        site.name
                    ));
                }
            }
            other => outcome.wrong(format_args!(
                "the monitor of {} did not fire in time: {other:?}",
                site.name
            )),
        }
    }
    outcome
}
