//! Ten thousand strangers at a node's door at the same time, in a process of their own, and whether friends
//! notice.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::cases;
use crate::check::Outcome;
use crate::process::{Setup, introduce};
use crate::strangers::stranger;

const STRANGERS: usize = 10_000;
/// Whoever is shown out comes back after this.
const BACK: Duration = Duration::from_secs(5);

/// `ENDPOINT SOURCES`: holds the connections, says `crowded` when each has been there, and stays until
/// standard input ends.
pub(crate) fn run(args: &[String]) {
    let [to, sources] = args else {
        panic!("{args:?}");
    };
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("it can be asked");
    let wanted = STRANGERS as u64 + 100;
    setrlimit(Resource::RLIMIT_NOFILE, wanted.min(most), most).expect("it may be raised so far");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let (to, sources) = (to.parse().unwrap(), sources.parse().unwrap());
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    runtime.unwrap().block_on(crowd(to, sources));
}

async fn crowd(to: SocketAddr, sources: usize) {
    let (been, mut all) = mpsc::channel(STRANGERS);
    for n in 0..STRANGERS {
        let been = been.clone();
        tokio::spawn(async move {
            loop {
                match connected(n % sources, to).await {
                    Ok(tcp) => {
                        let _ = been.try_send(());
                        stranger(n, tcp).await;
                    }
                    // The door is not answered fast enough: that is a way of being there, too.
                    Err(_) => drop(been.try_send(())),
                }
                sleep(BACK).await;
            }
        });
        if n % 50 == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    }
    for _ in 0..STRANGERS {
        all.recv().await.expect("they stay");
    }
    println!("crowded");
    std::future::pending::<()>().await;
}

/// All of 127.0.0.0/8 is this machine, and each address a source of its own.
async fn connected(source: usize, to: SocketAddr) -> std::io::Result<TcpStream> {
    let [_, _, high, low] = (source as u32 + 1).to_be_bytes();
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 1, high, low], 0).into())?;
    socket.connect(to).await
}

/// The process of the crowd.
struct Crowd(Child);

impl Crowd {
    fn gathers(at: &str, sources: usize) -> Self {
        let own = std::env::current_exe().expect("it runs");
        let child = Command::new(own)
            .args(["crowd", at, &sources.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        Crowd(child.expect("it can be started"))
    }

    /// Waits until each of them has been there.
    fn is_there(&mut self) {
        let output = self.0.stdout.as_mut().expect("it is a pipe");
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        assert!(read.is_ok() && line == "crowded\n", "{line:?}");
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Why there can be no such crowd here.
pub(crate) fn missing() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("only on Linux all of 127.0.0.0/8 is this machine".to_owned());
    }
    let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, most)| most);
    let too_few = most < STRANGERS as u64 + 100;
    too_few.then(|| format!("a process may have {most} descriptors here, and it takes 10,100"))
}

/// Two talk, and a third comes and talks, while the crowd is there.
pub(crate) fn besieged(sources: usize) -> Outcome {
    let patience = Duration::from_secs(20);
    let mut setup = Setup::new(patience, Duration::ZERO);
    // The door has much to do: where the machine has too, a second is not enough for a handshake,
    // and whoever comes late would try in vain again and again.
    setup.handshake = patience;
    let mut pair = setup.pair();
    cases::talking(&mut pair);
    let before = pair[1].memory();
    let mut crowd = Crowd::gathers(&pair[1].endpoint, sources);
    crowd.is_there();
    let [desk, farm] = pair;
    let mut late = [setup.site("late"), farm];
    introduce(&mut late);
    late[0].tell("talk farm");
    late[0].gets_through(20);
    late[0].quiet();
    let [late, farm] = late;
    let mut pair = [desk, farm];
    let after = pair[1].memory();
    let mut outcome = cases::nothing_lost(cases::checked(&mut pair, &setup, &["desk", "farm"]));
    drop(late);
    outcome.note = format!(
        "{} and then {} MiB, {} and then {} descriptors",
        before.kib >> 10,
        after.kib >> 10,
        before.descriptors,
        after.descriptors
    );
    // There are 256 places for strangers.
    if after.descriptors > before.descriptors + 256 + 32 {
        outcome.wrong(format_args!("{} descriptors", after.descriptors));
    }
    if after.kib > before.kib + (64 << 10) {
        outcome.wrong(format_args!("{} KiB, after {}", after.kib, before.kib));
    }
    outcome
}
