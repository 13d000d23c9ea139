//! This executable as a service, or as a client, in another process: to be stopped or killed.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use coros::cluster::service::{Service, ServiceEvent};
use coros::net::{Node, Secret};
use coros::{Context, Scheduler};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::farm::*;
use super::service::{Begun, computes, next};
use super::signal;
use super::work::leaves_much;

/// What this executable is when it is a service: where its folder and its secret are, and its peers.
const SERVICE: &str = "--as-service";
/// And when it is a client.
pub(crate) const CLIENT: &str = "--as-client";

/// And when it is one whose calls return much, all at once: when they are let through a gate.
pub(crate) const GREEDY_CLIENT: &str = "--as-greedy-client";
pub(crate) const GATE: &str = "gate";

/// Becomes what this process is, if it is one of those, and does not return then.
pub(crate) fn enter() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [what, folder, secret, peers @ ..] = words.as_slice()
        && [SERVICE, CLIENT, GREEDY_CLIENT].contains(&what.as_str())
    {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            match what.as_str() {
                SERVICE => be_a_service(Path::new(folder), secret, peers).await,
                CLIENT => be_a_client(Path::new(folder), secret, peers).await,
                _ => be_a_greedy_client(Path::new(folder), secret, peers).await,
            }
        });
    }
}

fn node(name: &str, secret: &str, peers: &[String]) -> coros::net::Builder {
    let secret = Secret::load(secret).unwrap();
    let builder = Node::builder().name(name).secret(secret);
    peers.iter().fold(builder, coros::net::Builder::peer)
}

async fn be_a_service(folder: &Path, secret: &str, peers: &[String]) {
    let service = Service::builder(node("scheduler", secret, peers), folder);
    let service = service.on_event(|event| match event {
        ServiceEvent::ClientCame { .. } => println!("came"),
        ServiceEvent::ProgramReceived { .. } => println!("received"),
        _ => {}
    });
    let _service = service.start().await.unwrap();
    println!("here");
    std::future::pending::<()>().await;
}

/// Leaves much at a node, with links to its folder.
async fn be_a_client(folder: &Path, secret: &str, peers: &[String]) {
    let node = node("desk", secret, peers).build().await.unwrap();
    let scheduler = quiet(Scheduler::at(&node)).start().await.unwrap();
    scheduler.run(leaves_much(folder.into())).await.unwrap();
    let (to, mut begun) = told::<Begun>();
    let _job = scheduler.submit(computes("mine".into(), to));
    println!("{}", next(&mut begun).await.pid);
    std::future::pending::<()>().await;
}

/// How many calls a greedy client makes.
pub(crate) const GREEDY: usize = 40;

/// Goes to the gate, and gives much when it is let go.
#[coros::remote]
async fn much(_me: Context<()>, gate: SocketAddr, bytes: usize) -> String {
    let mut gate = TcpStream::connect(gate).await.unwrap();
    gate.read_to_end(&mut Vec::new()).await.unwrap();
    "x".repeat(bytes)
}

/// Where the gate is, its folder says.
async fn be_a_greedy_client(folder: &Path, secret: &str, peers: &[String]) {
    let gate = std::fs::read_to_string(folder.join(GATE)).unwrap();
    let gate = gate.parse().unwrap();
    let node = node("desk", secret, peers).build().await.unwrap();
    let scheduler = quiet(Scheduler::at(&node)).start().await.unwrap();
    let bytes = 8 << 20;
    let submit = |_| scheduler.submit(much(gate, bytes).io());
    let jobs: Vec<_> = (0..GREEDY).map(submit).collect();
    for job in jobs {
        assert_eq!(job.await.unwrap().len(), bytes);
    }
    println!("all");
    scheduler.close().await.unwrap();
    node.close().await;
}

/// This executable as another process, which says a word first.
pub(crate) async fn process(
    farm: &Farm,
    what: &str,
    folder: &str,
    peers: &[String],
) -> (Child, Words) {
    let secret = farm.folder("secret");
    if !secret.exists() {
        farm.secret.save(&secret).unwrap();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(what).arg(farm.folder(folder)).arg(secret);
    command
        .args(peers)
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let words = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, words)
}

pub(crate) type Words = tokio::io::Lines<BufReader<tokio::process::ChildStdout>>;

pub(crate) async fn word(words: &mut Words) -> String {
    words.next_line().await.unwrap().unwrap()
}

/// A service in another process, once it can be found.
pub(crate) async fn service_process(farm: &Farm) -> (Child, Words) {
    let endpoint = |daemon: &coros::cluster::daemon::Daemon| endpoint(daemon.node()).to_string();
    let peers: Vec<_> = farm.daemons.iter().map(endpoint).collect();
    let (service, mut words) = process(farm, SERVICE, "service", &peers).await;
    assert_eq!(word(&mut words).await, "here");
    (service, words)
}

pub(crate) async fn kill(mut child: Child) {
    signal(child.id().unwrap(), Signal::SIGKILL);
    child.wait().await.unwrap();
}
