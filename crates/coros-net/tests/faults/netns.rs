//! Faults of the network between two machines: two network namespaces with a cable between them.
//!
//! A namespace has no name and is kept by a process that ends when its input does. So nothing is
//! left of it however the test ends, and no other can be meant by mistake.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::cases::{self, BUSY, Case};
use crate::check::{Outcome, exit_after};
use crate::log::{between, now};
use crate::process::{Setup, Site, introduce};

const MS: Duration = Duration::from_millis(1);
/// Where the two are.
const PLACES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

pub(crate) fn cases() -> Vec<Case> {
    let plain = no_namespaces();
    let filter = plain.clone().or_else(no_filter);
    let netem = plain.clone().or_else(no_netem);
    let case = |name, fault, missing: &Option<String>, run| {
        Case::new(name, fault, run).unless(missing.clone())
    };
    let plain_grace = plain.clone().or_else(cases::no_grace);
    let filter_grace = filter.clone().or_else(cases::no_grace);
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
            &plain_grace,
            || undisturbed(&cases::forgiving(), |cable| cable.out_for(3000 * MS)),
        ),
        case(
            "cable_out_for_long",
            "cable out 3 s, longer than all limits",
            &plain,
            || broken(Cable::pull, Cable::put_back),
        ),
        case(
            "one_way_within_grace",
            "one-way loss 3 s, shorter than grace",
            &filter_grace,
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

/// Why this process cannot have mounts of its own, if it cannot.
pub(crate) fn no_mounts() -> Option<String> {
    why_not("mount a small disk", &["unshare", "--mount", "true"])
}

fn no_namespaces() -> Option<String> {
    why_not(
        "make network namespaces with a cable",
        &["unshare", "--net", "ip", "link", "add", "type", "veth"],
    )
}

fn no_filter() -> Option<String> {
    let add = ["unshare", "--net", "nft", "add", "table", "inet", "t"];
    why_not("filter what comes", &add)
}

fn no_netem() -> Option<String> {
    let words = "unshare --net tc qdisc add dev lo root netem delay 1ms";
    why_not("delay frames", &words.split(' ').collect::<Vec<_>>())
}

/// Why something cannot be done here, if the attempt fails.
fn why_not(what: &str, words: &[&str]) -> Option<String> {
    let tried = Command::new(words[0]).args(&words[1..]).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            Some(format!("cannot {what} here: {}", why.trim()))
        }
        Err(error) => Some(format!("cannot {what} here: {}: {error}", words[0])),
    }
}

/// A network namespace.
struct Machine(Child);

impl Machine {
    fn new() -> Self {
        let mut keeper = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was tried before");
        // When it answers it is inside.
        let input = keeper.stdin.as_mut().expect("it is a pipe");
        writeln!(input, "hello").expect("it lives");
        let mut answer = String::new();
        let output = keeper.stdout.take().expect("it is a pipe");
        BufReader::new(output)
            .read_line(&mut answer)
            .expect("it answers");
        Machine(keeper)
    }

    fn namespace(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.0.id())
    }

    /// Runs a command there.
    fn run(&self, command: &str) {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(self.namespace());
        let output = nsenter.args(command.split(' ')).output().expect("nsenter");
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {why}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two machines, and what is between them.
pub(crate) struct Cable {
    machines: [Machine; 2],
}

impl Cable {
    pub(crate) fn lay() -> Self {
        let machines = [(); 2].map(|()| Machine::new());
        let peer = machines[1].0.id();
        machines[0].run(&format!(
            "ip link add eth0 type veth peer name eth0 netns {peer}"
        ));
        for (machine, place) in machines.iter().zip(PLACES) {
            machine.run(&format!("ip address add {place}/24 dev eth0"));
            machine.run("ip link set lo up");
            machine.run("ip link set eth0 up");
            // Without a router all else, also what is for many, goes the same way.
            machine.run("ip route add default dev eth0");
        }
        Cable { machines }
    }

    /// A site on each of the machines.
    fn pair(&self, setup: &Setup) -> [Site; 2] {
        let mut pair = [("desk", 0), ("farm", 1)].map(|(name, at)| {
            let namespace = self.machines[at].namespace();
            let listen = format!("{}:0", PLACES[at]);
            setup.site_by(&["nsenter", &namespace], name, &listen, None)
        });
        introduce(&mut pair);
        pair
    }

    fn pull(&self) {
        self.machines[0].run("ip link set eth0 down");
    }

    fn put_back(&self) {
        self.machines[0].run("ip link set eth0 up");
        // It went away with the link.
        self.machines[0].run("ip route replace default dev eth0");
    }

    fn out_for(&self, time: Duration) {
        self.pull();
        sleep(time);
        self.put_back();
    }

    /// The second machine gets nothing of what the first one says.
    fn deafen(&self) {
        self.filter(&[1], "drop");
    }

    /// What becomes of what comes to these machines.
    fn filter(&self, machines: &[usize], fate: &str) {
        for at in machines {
            let machine = &self.machines[*at];
            machine.run("nft add table ip faults");
            machine.run("nft add chain ip faults in { type filter hook input priority 0 ; }");
            machine.run(&format!("nft add rule ip faults in iifname eth0 {fate}"));
        }
    }

    fn netem(&self, fate: &str) {
        for machine in &self.machines {
            machine.run(&format!("tc qdisc add dev eth0 root netem {fate}"));
        }
    }

    /// Takes away what [`netem`](Cable::netem) has set.
    fn ease(&self) {
        for machine in &self.machines {
            machine.run("tc qdisc del dev eth0 root");
        }
    }

    /// Takes away what [`filter`](Cable::filter) has set.
    fn heal(&self) {
        for machine in &self.machines {
            machine.run("nft flush ruleset");
        }
    }
}

/// Something that must cost nothing.
fn undisturbed(setup: &Setup, fault: impl FnOnce(&Cable)) -> Outcome {
    let cable = Cable::lay();
    let mut pair = cable.pair(setup);
    cases::talking(&mut pair);
    fault(&cable);
    cases::nothing_lost(cases::checked(&mut pair, setup, &["desk", "farm"]))
}

/// Something that slows down and loses nothing.
fn slowed(fault: impl FnOnce(&Cable), end: fn(&Cable)) -> Outcome {
    // TCP tries again at ever longer intervals, so there are times without any sign of life.
    let setup = Setup::new(60_000 * MS, Duration::ZERO);
    let cable = Cable::lay();
    let mut pair = cable.pair(&setup);
    cases::talking(&mut pair);
    fault(&cable);
    for site in &mut pair {
        site.gets_through(3);
    }
    end(&cable);
    cases::nothing_lost(cases::checked(&mut pair, &setup, &["desk", "farm"]))
}

/// Something that outlasts all limits: both sides know in time, and find each other again.
fn broken(fault: fn(&Cable), end: fn(&Cable)) -> Outcome {
    let setup = Setup::new(300 * MS, 500 * MS);
    let cable = Cable::lay();
    let mut pair = cable.pair(&setup);
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
