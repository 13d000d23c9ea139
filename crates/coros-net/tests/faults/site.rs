//! A node in a process of its own. It does what it is told on standard input, and says what happens on
//! standard output; see [`log`](crate::log).
//!
//! ```text
//! know NAME HEX       the addresses at another site, from its `ready HEX ENDPOINT`
//! talk NAME           letters, confirmed letters, questions and monitors to it, until
//! quiet               whatever waits may end; `quiet` when all has
//! wait NAME           a question and a confirmed letter that only the end of the session answers:
//!                     `waited` for both
//! flood NAME N        N senders to what is slow there
//! probe NAME LABEL N  N confirmed letters to what is quick there: `probe LABEL MICROS` for each
//! put NAME PATH       a file: `put BYTES-MOVED` or `unput WHY`
//! hold NAME PATH      a file, that waits at `half` of it for
//! go
//! memory              `memory KIB DESCRIPTORS PEAK-KIB`
//! close | exit        with goodbye, or without
//! ```

use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use coros_core::{Address, Context, Exit, Reply};
use coros_net::{Folder, Node, Progress, Secret, SendFile};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::flood;
use crate::log::{now, say};

/// How long after `quiet` something may still wait before it counts as stuck.
const STUCK: Duration = Duration::from_secs(20);
const PACE: Duration = Duration::from_millis(2);
/// After something failed.
const AGAIN: Duration = Duration::from_millis(20);

#[derive(Serialize, Deserialize)]
pub(crate) enum Letter {
    Numbered(String, u64),
    Question(Reply<()>),
    Freight(Vec<u8>),
}

/// What can be reached at a site.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Book {
    pub(crate) sink: Address<Letter>,
    pub(crate) slow: Address<Letter>,
    pub(crate) quick: Address<Letter>,
    pub(crate) stuck: Address<Letter>,
    pub(crate) node: coros_net::Location,
}

/// `NAME LISTEN SECRET-FILE SILENCE-MS GRACE-MS HANDSHAKE-MS [FOLDER]`
pub(crate) fn run(args: &[String]) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime
        .expect("threads can be started")
        .block_on(Site::live(args));
    // Not what waits for standard input.
    process::exit(0);
}

struct Site {
    name: String,
    node: Node,
    others: HashMap<String, Book>,
    quiet: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Dropped, it lets a file go on that is held.
    held: Option<std::sync::mpsc::Sender<()>>,
}

impl Site {
    async fn live(args: &[String]) {
        let [name, listen, secret, silence, grace, handshake, folder @ ..] = args else {
            panic!("{args:?}");
        };
        let ms = |text: &str| Duration::from_millis(text.parse().expect("milliseconds"));
        let mut builder = Node::builder()
            .name(name)
            .listen(listen.parse().expect("an endpoint"))
            .secret(Secret::load(secret).expect("it was written"))
            .silence(ms(silence))
            .grace(ms(grace))
            .handshake_limit(ms(handshake));
        if let [folder] = folder {
            builder = builder.files(Folder::new(folder));
        }
        let node = builder.build().await.expect("it starts");
        node.on_peer_event(|event| say(format_args!("peer {event:?}")));
        let book = Book {
            sink: sink(),
            slow: flood::slow(),
            quick: flood::quick(),
            stuck: stuck(),
            node: node.location(),
        };
        let at = node.listening_on().expect("it listens");
        say(format_args!(
            "ready {} {at}",
            hex(&node.encode(&book).unwrap())
        ));
        let mut site = Site {
            name: name.clone(),
            node,
            others: HashMap::new(),
            quiet: watch::Sender::new(false),
            tasks: JoinSet::new(),
            held: None,
        };
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            site.obey(&line).await;
        }
    }

    async fn obey(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["know", name, hex] => {
                let book = self.node.decode(&unhex(hex)).expect("an address book");
                self.others.insert(name.to_owned(), book);
            }
            ["talk", name] => self.talk(name),
            ["quiet"] => self.be_quiet().await,
            ["wait", name] => {
                let stuck = self.others[name].stuck.clone();
                self.tasks.spawn(wait(stuck));
            }
            ["flood", name, senders] => {
                let to = self.others[name].slow.clone();
                flood::flood(&mut self.tasks, &to, senders.parse().unwrap(), &self.quiet);
            }
            ["probe", name, label, count] => {
                flood::probe(&self.others[name].quick, label, count.parse().unwrap()).await;
            }
            ["put", name, path] => self.put(name, path, SendFile::new()),
            ["hold", name, path] => {
                let (go, gone) = std::sync::mpsc::channel();
                self.held = Some(go);
                self.put(name, path, SendFile::new().progress(at_half(gone)));
            }
            ["go"] => drop(self.held.take()),
            ["memory"] => {
                let (memory, descriptors, peak) = (memory(), descriptors(), peak());
                say(format_args!("memory {memory} {descriptors} {peak}"));
            }
            ["close"] => {
                self.node.close().await;
                say("closed");
                process::exit(0);
            }
            ["exit"] => process::exit(0),
            _ => panic!("{line:?}"),
        }
    }

    fn put(&mut self, name: &str, path: &str, options: SendFile) {
        let (node, to) = (self.node.clone(), self.others[name].node.clone());
        let path = PathBuf::from(path);
        self.tasks.spawn(async move {
            match node.send_file(&to, &path, options).await {
                Ok(sent) => say(format_args!("put {}", sent.moved)),
                Err(error) => say(format_args!("unput {error}")),
            }
        });
    }

    fn talk(&mut self, name: &str) {
        self.quiet.send_replace(false);
        let to = self.others[name].sink.clone();
        let from = &self.name;
        let quiet = || self.quiet.subscribe();
        self.tasks
            .spawn(send(format!("{from}>{name}:send"), to.clone(), quiet()));
        let (sink, pair) = (to.clone(), format!("{from}>{name}:deliver"));
        let deliver = {
            let pair = pair.clone();
            move |n| {
                let (sink, letter) = (sink.clone(), Letter::Numbered(pair.clone(), n));
                async move { sink.deliver(letter).await }
            }
        };
        self.tasks.spawn(confirmed(pair, deliver, quiet()));
        let (sink, pair) = (to.clone(), format!("{from}>{name}:ask"));
        let ask = move |_| {
            let sink = sink.clone();
            async move { sink.ask(Letter::Question).await }
        };
        self.tasks.spawn(confirmed(pair, ask, quiet()));
        self.tasks.spawn(watch(to, quiet()));
    }

    async fn be_quiet(&mut self) {
        self.quiet.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                say(format_args!("panicked {error}"));
            }
        }
        say("quiet");
    }
}

/// Says when half of a file is on its way, and lets no more of it go before there is nobody left who
/// could say so.
fn at_half(go: std::sync::mpsc::Receiver<()>) -> impl FnMut(Progress) + Send + 'static {
    let mut go = Some(go);
    move |at| {
        if at.done * 2 > at.total
            && let Some(go) = go.take()
        {
            say("half");
            let _ = tokio::task::block_in_place(|| go.recv_timeout(STUCK));
        }
    }
}

/// Has room for one letter, and takes none.
fn stuck() -> Address<Letter> {
    let coro = coros_core::build()
        .capacity(1)
        .spawn(async |_me: Context<Letter>| std::future::pending::<()>().await);
    coro.address()
}

/// Waits for what does not come, until neither can come any more.
async fn wait(stuck: Address<Letter>) {
    let ask = stuck.ask::<()>(Letter::Question);
    let deliver = stuck.deliver(Letter::Freight(Vec::new()));
    let (asked, delivered) = tokio::join!(ask, deliver);
    if asked.is_err() && delivered.is_err() {
        say("waited");
    }
}

/// Says what letters come.
fn sink() -> Address<Letter> {
    let coro = coros_core::spawn(async |mut me: Context<Letter>| {
        while let Some(letter) = me.receive().await {
            match letter {
                Letter::Numbered(pair, n) => say(format_args!("got {pair} {n}")),
                Letter::Question(reply) => reply.send(()),
                Letter::Freight(_) => {}
            }
        }
    });
    coro.address()
}

/// Whether to go on: false when it is to be quiet.
fn goes_on(quiet: &watch::Receiver<bool>) -> bool {
    !*quiet.borrow()
}

/// Letters that nobody confirms.
async fn send(pair: String, to: Address<Letter>, quiet: watch::Receiver<bool>) {
    for n in 1.. {
        if !goes_on(&quiet) {
            return;
        }
        match to.send(Letter::Numbered(pair.clone(), n)) {
            Ok(()) => say(format_args!("sent {pair} {n}")),
            Err(error) => {
                say(format_args!("unsent {pair} {n} {error}"));
                sleep(AGAIN).await;
            }
        }
        sleep(PACE).await;
    }
}

/// What is confirmed or answered, one after the other.
async fn confirmed<E: Display, F: Future<Output = Result<(), E>>>(
    pair: String,
    begin: impl Fn(u64) -> F,
    quiet: watch::Receiver<bool>,
) {
    for n in 1.. {
        if !goes_on(&quiet) {
            return;
        }
        let began = now();
        match ended(begin(n), quiet.clone()).await {
            None => return say(format_args!("stuck {pair} {n} {began}")),
            Some(Ok(())) => say(format_args!("through {pair} {n} {began}")),
            Some(Err(error)) => {
                say(format_args!("failed {pair} {n} {began} {error}"));
                sleep(AGAIN).await;
            }
        }
        sleep(PACE).await;
    }
}

/// One monitor after the other, each as soon as the last has fired.
async fn watch(to: Address<Letter>, mut quiet: watch::Receiver<bool>) {
    let (over, ended) = tokio::sync::oneshot::channel::<()>();
    let watcher = coros_core::spawn(async move |mut me: Context<(u64, Exit)>| {
        let mut monitors = Vec::new();
        for k in 1_u64.. {
            say(format_args!("watch {k}"));
            monitors.push(me.monitor(&to, move |exit| (k, exit)));
            while let Some((fired, exit)) = me.receive().await {
                say(format_args!("exited {fired} {exit}"));
                if fired == k {
                    break;
                }
            }
            sleep(AGAIN).await;
        }
        drop(over);
    });
    tokio::select! {
        _ = quiet.wait_for(|quiet| *quiet) => {}
        _ = ended => say("panicked a watcher"),
    }
    watcher.terminate();
}

/// What came of something that may go on for a while after all is quiet, and not for ever.
async fn ended<T>(future: impl Future<Output = T>, mut quiet: watch::Receiver<bool>) -> Option<T> {
    let enough = async {
        let _ = quiet.wait_for(|quiet| *quiet).await;
        sleep(STUCK).await;
    };
    tokio::select! {
        ended = future => Some(ended),
        () = enough => None,
    }
}

/// The resident memory of this process, in KiB.
pub(crate) fn memory() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages
        .split(' ')
        .nth(1)
        .and_then(|it| it.parse::<u64>().ok());
    pages.unwrap_or(0) * 4
}

/// The most memory that this process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    number.unwrap_or(0)
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
    digits.map(|pair| byte(pair).unwrap()).collect()
}

/// Nothing that a site does on command takes longer.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
    timeout(STUCK, future).await.ok()
}
