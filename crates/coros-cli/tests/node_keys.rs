//! What gets a node into its network, which programs of others that run there cannot read, wherever it is.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;
#[path = "../../coros-net/tests/common/trial.rs"]
#[allow(dead_code, reason = "what is missing here is known otherwise")]
mod trial;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use coros::Scheduler;
use coros::cluster::daemon::Daemon;
use coros::cluster::worker;
use coros::net::{Authority, Builder, Node, Secret};

use self::common::{Farm, path_text};

/// Which of these files a worker can read.
#[coros::remote]
fn reads(files: Vec<PathBuf>) -> Vec<bool> {
    let reads = |path: &PathBuf| fs::read(path).is_ok();
    files.iter().map(reads).collect()
}

/// Starts a node that lets workers read a folder, and has a client that gets in so see what they can.
async fn check(farm: &Farm, args: &[&str], secret: Option<&str>, client: Builder, key: &str) {
    let data = farm.folder("data");
    fs::write(data.join("file"), "for everybody").unwrap();
    let (dir, readable) = (path_text(&farm.folder("farm")), path_text(&data));
    let usual = [
        "node",
        "--name",
        "farm",
        "--dir",
        &dir,
        "--listen",
        "127.0.0.1:0",
        "--readable",
        &readable,
    ];
    let mut node = farm.start_with(&[&usual, args].concat(), |command| match secret {
        Some(path) => command.env(Secret::VARIABLE, path),
        None => command,
    });
    let line = node.wait_for(|line| line.starts_with("try, "));
    let at = line.rsplit(' ').next().unwrap();
    let client = client.peer(at).build().await.unwrap();
    let scheduler = Scheduler::cluster(&client).stderr(|_, _| {});
    let scheduler = scheduler.start().await.unwrap();
    let files = ["file", key].map(|name| data.join(name)).to_vec();
    assert!(files.iter().all(|file| file.exists()));
    assert_eq!(scheduler.run(reads(files)).await, Ok(vec![true, false]));
    scheduler.close().await.unwrap();
}

async fn certificates_are_hidden() {
    let farm = Farm::new();
    let keys = farm.folder("data/keys");
    let hour = Duration::from_secs(3600);
    let authority = Authority::generate("farm", 2 * hour).unwrap();
    let certificate = |name| authority.certify(name, hour).unwrap();
    fs::create_dir(farm.folder("data")).unwrap();
    certificate("farm").save(&keys).unwrap();
    let desk = Node::builder().certificate(certificate("desk"));
    let args = ["--certificate", &path_text(&keys)];
    check(&farm, &args, None, desk, "keys/node.key").await;
}

async fn a_secret_file_is_hidden() {
    let farm = Farm::new();
    fs::create_dir(farm.folder("data")).unwrap();
    let path = farm.folder("data/secret");
    let secret = Secret::random();
    secret.save(&path).unwrap();
    let desk = Node::builder().name("desk").secret(secret);
    check(&farm, &[], Some(&path_text(&path)), desk, "secret").await;
}

fn main() {
    worker::enter();
    let checks = Daemon::check();
    let missing = checks
        .iter()
        .find(|check| check.name == "landlock: files" && !check.available)
        .map(|check| format!("landlock: {}", check.detail));
    let trials = vec![
        trial::trial("certificates_are_hidden", missing.as_deref(), || {
            run(certificates_are_hidden())
        }),
        trial::trial("a_secret_file_is_hidden", missing.as_deref(), || {
            run(a_secret_file_is_hidden())
        }),
    ];
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials).exit();
}

fn run(test: impl Future<Output = ()>) -> Result<(), libtest_mimic::Failed> {
    let runtime = tokio::runtime::Runtime::new()?;
    let ended = runtime.block_on(async { tokio::time::timeout(common::LIMIT, test).await });
    ended.map_err(|_| "it hangs".into())
}
