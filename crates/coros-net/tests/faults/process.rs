//! Sites as whoever tests them has them: processes that are told what to do, and what they said.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use coros_net::Secret;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::log::{Line, now};

/// Nothing that a site does takes longer, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What all sites of a scene have in common.
pub(crate) struct Setup {
    folder: TempDir,
    pub(crate) silence: Duration,
    pub(crate) grace: Duration,
    pub(crate) handshake: Duration,
}

impl Setup {
    pub(crate) fn new(silence: Duration, grace: Duration) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        Secret::load_or_create(folder.path().join("secret")).expect("a secret can be made");
        Setup {
            folder,
            silence,
            grace,
            handshake: Duration::from_secs(1),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// No wait on a peer that has gone is longer, by what is promised: a dial, then silence for the way there
    /// and the way back, each just before its limit, and the grace period.
    pub(crate) fn bound(&self) -> Duration {
        self.handshake + 2 * self.silence.mul_f64(1.1) + self.grace
    }

    /// A site on this machine.
    pub(crate) fn site(&self, name: &str) -> Site {
        self.site_by(&[], name, "127.0.0.1:0", None)
    }

    /// A site that another program starts.
    pub(crate) fn site_by(
        &self,
        prefix: &[&str],
        name: &str,
        listen: &str,
        folder: Option<&Path>,
    ) -> Site {
        let own = std::env::current_exe().expect("it runs");
        let own = own.to_str().expect("it has a plain name");
        let words: Vec<&str> = prefix.iter().copied().chain([own]).collect();
        let ms = |limit: Duration| limit.as_millis().to_string();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(["site", name, listen])
            .arg(self.path("secret"))
            .args([self.silence, self.grace, self.handshake].map(ms))
            .args(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("it can be started");
        let input = child.stdin.take().expect("it is a pipe");
        let mut output = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            while output.read_line(&mut text).is_ok_and(|read| read > 0) {
                if let Some(line) = Line::parse(&text) {
                    let _ = sender.send(line);
                }
                text.clear();
            }
        });
        let mut site = Site {
            name: name.to_owned(),
            child,
            input,
            lines,
            said: Vec::new(),
            book: String::new(),
            endpoint: String::new(),
            gone: false,
        };
        let ready = site.hears("ready");
        site.book = ready.word(1).to_owned();
        site.endpoint = ready.word(2).to_owned();
        site
    }

    /// Two sites that know each other.
    pub(crate) fn pair(&self) -> [Site; 2] {
        let mut pair = ["desk", "farm"].map(|name| self.site(name));
        introduce(&mut pair);
        pair
    }
}

/// Lets two sites know each other's addresses.
pub(crate) fn introduce([one, other]: &mut [Site; 2]) {
    one.tell(&format!("know {} {}", other.name, other.book));
    other.tell(&format!("know {} {}", one.name, one.book));
}

/// What a process has taken of the system.
pub(crate) struct InUse {
    pub(crate) kib: u64,
    pub(crate) descriptors: u64,
    /// The most memory that it ever had.
    pub(crate) peak: u64,
}

pub(crate) struct Site {
    pub(crate) name: String,
    child: Child,
    input: ChildStdin,
    lines: Receiver<Line>,
    pub(crate) said: Vec<Line>,
    book: String,
    pub(crate) endpoint: String,
    /// It was killed, or went away by itself: what it said last may have been about to be said.
    pub(crate) gone: bool,
}

impl Site {
    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.input, "{command}").expect("it lives");
    }

    /// Waits for it to say something, by the first word.
    pub(crate) fn hears(&mut self, what: &str) -> Line {
        self.hears_where(what, |line| line.what() == what)
    }

    pub(crate) fn hears_where(&mut self, what: &str, is: impl Fn(&Line) -> bool) -> Line {
        let until = Instant::now() + LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                let last = self.said.iter().rev().take(20);
                let last: Vec<_> = last.map(|line| line.words.join(" ")).collect();
                panic!("{} did not say {what:?}; last {last:#?}", self.name);
            };
            self.said.push(line.clone());
            if is(&line) {
                return line;
            }
        }
    }

    /// Waits until so many more of its letters have been confirmed, if it talks.
    pub(crate) fn gets_through(&mut self, times: usize) {
        let after = now();
        for _ in 0..times {
            self.hears_where("through", |line| {
                line.what() == "through"
                    && line.word(1).ends_with(":deliver")
                    && line.number(3) > after
            });
        }
    }

    /// Ends what it does, and takes all that it has said.
    pub(crate) fn quiet(&mut self) {
        if !self.gone {
            self.tell("quiet");
            self.hears("quiet");
        }
    }

    /// After it has gone: what it had said.
    fn listen_to_the_end(&mut self) {
        while let Ok(line) = self.lines.recv_timeout(LIMIT) {
            self.said.push(line);
        }
    }

    /// A path as the site sees it, which may have mounts of its own.
    pub(crate) fn sees(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
        root.join(path.strip_prefix("/").expect("it is absolute"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("it is our child");
    }

    /// `kill -9`. When that was.
    pub(crate) fn kill(&mut self) -> u64 {
        let at = now();
        self.signal(Signal::SIGKILL);
        self.end();
        at
    }

    /// Ends by itself, as it is told. When that was.
    pub(crate) fn obeys_and_ends(&mut self, command: &str) -> u64 {
        let at = now();
        self.tell(command);
        self.end();
        at
    }

    /// Waits until the process is gone.
    pub(crate) fn end(&mut self) {
        self.child.wait().expect("it is our child");
        self.gone = true;
        self.listen_to_the_end();
    }

    /// Lets it stand still for a while. When it went on.
    pub(crate) fn stop_for(&self, time: Duration) -> u64 {
        self.signal(Signal::SIGSTOP);
        std::thread::sleep(time);
        let at = now();
        self.signal(Signal::SIGCONT);
        at
    }

    pub(crate) fn memory(&mut self) -> InUse {
        self.tell("memory");
        let line = self.hears("memory");
        InUse {
            kib: line.number(1),
            descriptors: line.number(2),
            peak: line.number(3),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
