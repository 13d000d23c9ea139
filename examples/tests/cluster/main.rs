//! The examples whose functions run elsewhere, as processes: on this machine, and on nodes that lend slots.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails should fail at the line that is wrong, in helpers too"
)]

#[path = "../examples/program.rs"]
#[allow(dead_code, reason = "the other tests do more with programs")]
mod program;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use coros::cluster::daemon::Daemon;
use coros::cluster::worker;
use coros::net::{Node, Secret};
use libtest_mimic::{Arguments, Trial};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use program::{Output, Program};

/// Nodes called `farm-1`, `farm-2`, … in this process, and their user.
struct Farm {
    folder: TempDir,
    peers: Vec<String>,
    daemons: Vec<Daemon>,
    runtime: Runtime,
}

impl Farm {
    fn of<const N: usize>(slots: [usize; N]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = Secret::random();
        secret.save(folder.path().join("secret")).unwrap();
        let mut farm = Farm {
            folder,
            peers: Vec::new(),
            daemons: Vec::new(),
            runtime: Runtime::new().unwrap(),
        };
        for (n, slots) in slots.into_iter().enumerate() {
            let name = format!("farm-{}", n + 1);
            let node = Node::builder().name(&name).secret(secret.clone());
            let daemon = Daemon::builder(node, farm.path(&name)).slots(slots);
            let daemon = farm.runtime.block_on(daemon.start()).unwrap();
            let at = daemon.node().listening_on().unwrap();
            farm.peers.extend(["--peer".to_owned(), at.to_string()]);
            farm.daemons.push(daemon);
        }
        farm
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, name: &str, args: &[&str]) -> Program {
        let peers = self.peers.iter().map(String::as_str);
        let args: Vec<_> = peers.chain(args.iter().copied()).collect();
        let secret: &Path = &self.path("secret");
        Program::start_with(name, &args, &[(Secret::VARIABLE, secret)])
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        self.runtime.block_on(async {
            for daemon in &self.daemons {
                daemon.close().await;
            }
        });
    }
}

/// What is done with an example on this machine, and then on nodes.
fn here_and_there<const N: usize>(slots: [usize; N], check: impl Fn(&Starts<'_>)) {
    check(&Starts(None));
    check(&Starts(Some(&Farm::of(slots))));
}

struct Starts<'a>(Option<&'a Farm>);

impl Starts<'_> {
    fn start(&self, name: &str, args: &[&str]) -> Program {
        match self.0 {
            Some(farm) => farm.start(name, args),
            None => Program::start(name, args),
        }
    }

    fn run(&self, name: &str, args: &[&str]) -> Output {
        self.start(name, args).wait()
    }

    /// The node that a worker is on.
    #[track_caller]
    fn node_of(&self, worker: &str) -> String {
        assert!(worker.starts_with('w'), "{worker} is no worker");
        let node = worker.split_once('@').map(|(_, node)| node.to_owned());
        assert_eq!(node.is_some(), self.0.is_some(), "{worker}");
        node.unwrap_or_else(|| "local".to_owned())
    }
}

/// Each line in two, the part after `separator` being the name of a worker.
#[track_caller]
fn by_worker<'a>(lines: &'a [String], separator: &str) -> Vec<(&'a str, &'a str)> {
    let split = lines.iter().map(|line| line.split_once(separator));
    let split: Option<Vec<_>> = split.collect();
    split.unwrap_or_else(|| panic!("{lines:?}"))
}

fn discoro_client_travels_with_a_file_and_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (words, texts) = (path("words"), path("texts"));
    fs::write(&words, "sun\nrain\nhail\n").unwrap();
    fs::create_dir(&texts).unwrap();
    fs::write(path("texts/monday"), "rain and rain").unwrap();
    fs::write(path("texts/tuesday"), "sun, rain, sunshine").unwrap();
    here_and_there([1, 1], |starts| {
        let lines = starts.run("discoro_client", &[&words, &texts]).success();
        let found = by_worker(&lines, " times, says ");
        for (_, worker) in &found {
            starts.node_of(worker);
        }
        let found: Vec<_> = found.into_iter().map(|(found, _)| found).collect();
        assert_eq!(found, ["sun: 2", "rain: 3", "hail: 0"]);
    });
    let error = Starts(None).run("discoro_client", &["none", &texts]);
    let error = error.failure(1);
    assert!(error.contains("cannot read none"), "{error}");
}

fn discoro_results_gives_them_in_order_and_as_they_come() {
    here_and_there([1, 1], |starts| {
        let args = ["3", "--step", "10000"];
        let lines = starts.run("discoro_results", &args).success();
        let in_order = [
            "3245 primes up to 30000",
            "2262 primes up to 20000",
            "1229 primes up to 10000",
        ];
        assert_eq!(lines[0], "in the order of the calls:");
        assert_eq!(lines[1..4], in_order);
        assert_eq!(lines[4], "as they come:");
        let came = by_worker(&lines[5..], ", by ");
        for (_, worker) in &came {
            starts.node_of(worker);
        }
        let came: BTreeSet<_> = came.into_iter().map(|(came, _)| came).collect();
        assert_eq!((came, lines.len()), (in_order.into(), 8));
    });
}

fn discoro_objects_have_addresses_in_them() {
    here_and_there([1], |starts| {
        let lines = starts.run("discoro_objects", &["tea", "bread"]).success();
        let (bills, receipts): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|line| line.contains("costs"));
        assert_eq!(bills, ["tea costs 130 cents", "bread costs 150 cents"]);
        let receipts = by_worker(&receipts, ", signed by ");
        assert_eq!(receipts[0].0, "receipt 1: tea for 130 cents");
        assert_eq!(receipts[1].0, "receipt 2: bread for 150 cents");
        assert_eq!(receipts.len(), 2);
        starts.node_of(receipts[0].1);
    });
}

fn discoro_files_travel_out_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (one, other, back) = (path("one"), path("other"), path("back"));
    fs::create_dir(&back).unwrap();
    here_and_there([1, 1], |starts| {
        let content = match starts.0 {
            Some(_) => "3\n1\n2\n",
            None => "b\na\n",
        };
        fs::write(&one, content).unwrap();
        fs::write(&other, "").unwrap();
        let lines = starts.run("discoro_files", &[&back, &one, &other]);
        let lines: BTreeSet<_> = lines.success().into_iter().collect();
        let n = content.lines().count();
        let expected = [
            format!("one.sorted has come: {} bytes", content.len()),
            format!("one: {n} lines are sorted"),
            "other.sorted has come: 0 bytes".to_owned(),
            "other: 0 lines are sorted".to_owned(),
        ];
        assert_eq!(lines, expected.into());
        let sorted = fs::read_to_string(path("back/one.sorted")).unwrap();
        assert_eq!(sorted, ["a\nb\n", "1\n2\n3\n"][usize::from(n == 3)]);
    });
}

fn discoro_command_has_its_pipes_here() {
    here_and_there([1], |starts| {
        // Each line is answered before the next one is there.
        let args = ["grep", "--line-buffered", "-v", "x"];
        let mut program = starts.start("discoro_command", &args);
        for line in ["one", "two"] {
            program.say("x");
            program.say(line);
            assert_eq!(program.line(), line);
        }
        assert_eq!(program.wait().success(), [""; 0]);
        let args = ["sh", "-c", "echo no >&2; printf half; exit 3"];
        let output = starts.run("discoro_command", &args);
        assert_eq!(output.lines, ["half"]);
        let error = output.failure(1);
        assert!(error.starts_with("no\n"), "{error}");
        assert!(error.contains("ended with exit status 3"), "{error}");
        // One that ends while there is more to read.
        let mut program = starts.start("discoro_command", &["head", "-n", "1"]);
        program.say("first");
        assert_eq!(program.wait_open().success(), ["first"]);
    });
}

/// What three sensors give, in the order of their names and of time.
fn averages(lines: Vec<String>) {
    let mut expected = Vec::new();
    for sensor in 1..=3 {
        for n in [100, 200, 300] {
            expected.push(format!(
                "sensor {sensor}: {n} readings, the last 100 average {sensor}4.50"
            ));
        }
    }
    let mut sorted = lines;
    sorted.sort();
    assert_eq!(sorted, expected);
}

const MEASURING: [&str; 5] = ["3", "--readings", "300", "--window", "100"];

fn discoro_analytics_shows_averages_of_what_comes_by_messages() {
    here_and_there([1, 1], |starts| {
        averages(starts.run("discoro_analytics", &MEASURING).success());
    });
    let error = Starts(None).run("discoro_analytics", &["--window", "0"]);
    let error = error.failure(2);
    assert!(error.contains("'0' for '--window"), "{error}");
}

fn discoro_analytics_channel_shows_what_comes_by_a_channel() {
    here_and_there([1, 1], |starts| {
        let lines = starts.run("discoro_analytics_channel", &MEASURING);
        let mut lines = lines.success();
        // The fourth of ten is 38.5 at most, and one is 39.
        let high = lines.iter().position(|line| line.contains("above"));
        let high = lines.remove(high.unwrap());
        assert_eq!(high, "30 readings were above 38.5");
        averages(lines);
    });
}

fn discoro_events_gives_each_worker_one_call_at_a_time() {
    here_and_there([1, 1], |starts| {
        let lines = starts.run("discoro_events", &["4"]).success();
        let (ready, done): (Vec<_>, Vec<_>) = lines
            .into_iter()
            .partition(|line| line.ends_with(" is ready"));
        let ready = ready.iter().filter_map(|line| line.split(' ').next());
        let ready: BTreeSet<_> = ready.collect();
        let done = done.iter().map(|line| {
            let (worker, found) = line.split_once(": ").unwrap();
            starts.node_of(worker);
            assert!(ready.contains(worker), "{worker} is not ready");
            found
        });
        let mut done: Vec<_> = done.collect();
        done.sort_unstable();
        let expected = [
            "17984 primes up to 200000",
            "25997 primes up to 300000",
            "33860 primes up to 400000",
            "9592 primes up to 100000",
        ];
        assert_eq!(done, expected);
    });
}

#[cfg(target_os = "linux")]
fn discoro_events_gives_to_others_what_a_lost_worker_had() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    let program = Program::start("discoro_events", ["30"]);
    // It works on the first of its calls, the longest.
    let ready = program.line();
    let pid = ready.strip_suffix(") is ready").unwrap();
    let (_, pid) = pid.rsplit_once(" (pid ").unwrap();
    kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
    let lines = program.wait().success();
    let found = lines.iter().filter_map(|line| {
        let (_, n) = line.rsplit_once(" primes up to ")?;
        n.parse::<u32>().ok()
    });
    let mut found: Vec<_> = found.collect();
    found.sort_unstable();
    let expected: Vec<_> = (1..=30).map(|n| n * 100_000).collect();
    assert_eq!(found, expected);
}

fn discoro_blocking_answers_while_it_computes() {
    here_and_there([1], |starts| {
        let lines = starts.run("discoro_blocking", &["3", "--every", "30"]);
        let lines = lines.success();
        let number = |line: &str, prefix, separator| -> u64 {
            let rest = line.strip_prefix(prefix).and_then(|rest: &str| {
                let (number, _) = rest.split_once(separator)?;
                number.parse().ok()
            });
            rest.unwrap_or_else(|| panic!("{line}"))
        };
        let mut tried: Vec<_> = lines[..3]
            .iter()
            .map(|line| number(line, "", " numbers so far"))
            .collect();
        tried.push(number(&lines[3], "of ", " numbers"));
        let grows = tried[..3].is_sorted_by(|a, b| a < b);
        assert!(grows && tried[3] >= tried[2], "{tried:?}");
    });
}

fn discoro_node_setup_makes_one_table_for_each_node() {
    here_and_there([1, 2], |starts| {
        let args = ["1", "10", "1229", "--up-to", "10000"];
        let lines = starts.run("discoro_node_setup", &args).success();
        let made = "a table of 1229 primes was made on node ";
        let (tables, primes): (Vec<_>, Vec<_>) =
            lines.iter().partition(|line| line.starts_with(made));
        assert_eq!(
            primes,
            ["prime 1 is 2", "prime 10 is 29", "prime 1229 is 9973"]
        );
        let nodes: Vec<_> = tables.iter().map(|line| &line[made.len()..]).collect();
        let names: BTreeSet<_> = nodes.iter().copied().collect();
        assert_eq!(names.len(), nodes.len(), "{nodes:?}");
        let may = match starts.0 {
            Some(_) => ["farm-1", "farm-2"].into(),
            None => BTreeSet::from(["local"]),
        };
        assert!(!names.is_empty() && names.is_subset(&may), "{names:?}");
    });
    let error = Starts(None).run("discoro_node_setup", &["0"]).failure(1);
    assert!(
        error.contains("the primes 1 to 78498, and not 0"),
        "{error}"
    );
}

fn discoro_worker_setup_has_a_table_in_each_worker() {
    here_and_there([1, 2], |starts| {
        let args = ["1", "10", "1229", "--up-to", "10000"];
        let lines = starts.run("discoro_worker_setup", &args).success();
        assert_eq!(
            lines[..3],
            ["prime 1 is 2", "prime 10 is 29", "prime 1229 is 9973"]
        );
        let (total, workers) = lines[3..].split_last().unwrap();
        assert_eq!(total, "3 in all");
        let mut names = BTreeSet::new();
        for (worker, _) in by_worker(workers, " has looked up ") {
            starts.node_of(worker);
            assert!(names.insert(worker), "{worker} comes twice");
        }
    });
    let error = Starts(None).run("discoro_worker_setup", &["0"]);
    let error = error.failure(1);
    assert!(
        error.contains("the primes 1 to 78498, and not 0"),
        "{error}"
    );
}

fn discoro_terminate_goes_on_from_what_is_saved() {
    here_and_there([1], |starts| {
        let lines = starts.run("discoro_terminate", &["100"]).success();
        assert_eq!(
            lines,
            [
                "the first is cancelled",
                "saved: 50 numbers, their sum is 1275",
                "the scheduler closes",
                "saved: 100 numbers, their sum is 5050",
            ]
        );
    });
}

fn discoro_agents_talk_from_worker_to_worker() {
    here_and_there([1, 1], |starts| {
        let lines = starts.run("discoro_agents", &["3", "--rounds", "2"]);
        let lines = lines.success();
        let had = by_worker(&lines, " in ");
        let agents: Vec<_> = had.iter().map(|(agent, _)| *agent).collect();
        let once = ["agent 1", "agent 2", "agent 3"];
        assert_eq!(agents, [once, once].concat());
        let workers: BTreeSet<_> = had.iter().map(|(_, worker)| *worker).collect();
        assert_eq!(workers.len(), 2, "{had:?}");
        let nodes: BTreeSet<_> = workers.iter().map(|it| starts.node_of(it)).collect();
        assert_eq!(nodes.len(), if starts.0.is_some() { 2 } else { 1 });
    });
}

fn who_has_another_secret_runs_nothing() {
    let farm = Farm::of([1]);
    let peers: Vec<_> = farm.peers.iter().map(String::as_str).collect();
    let stranger = Starts(None);
    let error = stranger.run("discoro_results", &peers).failure(1);
    assert!(
        error.contains("does `coros node` run there?") && error.contains("secret"),
        "{error}"
    );
}

macro_rules! trials {
    ($($(#[$cfg:meta])? $name:ident),* $(,)?) => {
        vec![$($(#[$cfg])? Trial::test(stringify!($name), || {
            $name();
            Ok(())
        })),*]
    };
}

fn main() {
    // The nodes are this process, and what confines their workers is this program.
    worker::enter();
    let trials = trials![
        discoro_client_travels_with_a_file_and_a_folder,
        discoro_results_gives_them_in_order_and_as_they_come,
        discoro_objects_have_addresses_in_them,
        discoro_files_travel_out_and_back,
        discoro_command_has_its_pipes_here,
        discoro_analytics_shows_averages_of_what_comes_by_messages,
        discoro_analytics_channel_shows_what_comes_by_a_channel,
        discoro_events_gives_each_worker_one_call_at_a_time,
        #[cfg(target_os = "linux")]
        discoro_events_gives_to_others_what_a_lost_worker_had,
        discoro_blocking_answers_while_it_computes,
        discoro_node_setup_makes_one_table_for_each_node,
        discoro_worker_setup_has_a_table_in_each_worker,
        discoro_terminate_goes_on_from_what_is_saved,
        discoro_agents_talk_from_worker_to_worker,
        who_has_another_secret_runs_nothing,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
