//! Running `coros demo` as a process, with an end to every wait.
//!
//! Everything that a worker is waited for by is an event: a line of its log, or the end of standard
//! output, which it shares with its client, so that the end comes when the last of them is gone.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Nothing here takes so long unless it hangs.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A running `coros`; killed when it is dropped.
pub struct Demo {
    pid: u32,
    /// How it ended, once it has.
    status: Receiver<ExitStatus>,
    /// All of it, when everyone who could write to it has ended.
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    pub seen: Vec<String>,
    _config: TempDir,
}

/// A `coros` that has ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    /// The lines of standard error.
    pub stderr: Vec<String>,
}

/// `coros` with these arguments, not started yet: without a log, and without the configuration of
/// whoever runs the tests.
pub fn command(args: &[&str], config: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coros"));
    command
        .args(args)
        .env("XDG_CONFIG_HOME", config.path())
        .env_remove("COROS_LOG")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    command
}

impl Demo {
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, |command| command)
    }

    pub fn start_with(args: &[&str], set: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let config = tempfile::tempdir().expect("a folder for the configuration");
        let mut command = command(args, &config);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = set(&mut command).spawn().expect("coros starts");
        let pid = child.id();
        let out = child.stdout.take();
        let err = child.stderr.take().expect("piped");
        let (to_stdout, stdout) = channel();
        let (to_stderr, stderr) = channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            // None of one that prints elsewhere.
            let _ = out.map(|mut out| out.read_to_string(&mut text));
            let _ = to_stdout.send(text);
        });
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                let _ = to_stderr.send(line);
            }
        });
        Demo {
            pid,
            status: wait(child),
            stdout,
            stderr,
            seen: Vec::new(),
            _config: config,
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for a line on standard error.
    pub fn wait_for(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.stderr.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(error) => panic!("{error}; standard error so far: {:#?}", self.seen),
            }
        }
    }

    /// Likewise, for one that may have come already.
    pub fn has_said(&mut self, wanted: impl Fn(&str) -> bool) {
        if !self.seen.iter().any(|line| wanted(line)) {
            self.wait_for(wanted);
        }
    }

    /// Waits until so many workers are ready, and gives their process ids.
    pub fn workers(&mut self, n: usize) -> Vec<u32> {
        (0..n)
            .map(|_| pid_in(&self.wait_for(|line| line.ends_with("is ready"))))
            .collect()
    }

    /// Waits for the end, also of the workers.
    pub fn end(mut self) -> Ended {
        let Ok(status) = self.status.recv_timeout(LIMIT) else {
            panic!("it hangs: {:#?}", self.seen)
        };
        let stdout = match self.stdout.recv_timeout(LIMIT) {
            Ok(stdout) => stdout,
            Err(RecvTimeoutError::Timeout) => panic!("a worker outlives it: {:#?}", self.seen),
            Err(RecvTimeoutError::Disconnected) => panic!("standard output is no text"),
        };
        while let Ok(line) = self.stderr.recv_timeout(LIMIT) {
            self.seen.push(line);
        }
        Ended {
            status,
            stdout,
            stderr: std::mem::take(&mut self.seen),
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Only while it has not been waited for: until then its number is its own.
        #[cfg(unix)]
        if let Err(std::sync::mpsc::TryRecvError::Empty) = self.status.try_recv() {
            let pid = nix::unistd::Pid::from_raw(self.pid.try_into().expect("a small number"));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// What somebody types, who has a terminal that a process can have as its standard input.
#[cfg(target_os = "linux")]
pub struct Keyboard(std::fs::File);

#[cfg(target_os = "linux")]
impl Keyboard {
    pub fn new() -> (Self, std::fs::File) {
        use rustix::fs::{Mode, OFlags};
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&keys).expect("a terminal");
        unlockpt(&keys).expect("a terminal");
        let name = ptsname(&keys, Vec::new()).expect("a terminal");
        let terminal = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty());
        (Keyboard(keys.into()), terminal.expect("a terminal").into())
    }

    pub fn types(&mut self, line: &str) {
        use std::io::Write;
        self.0.write_all(line.as_bytes()).expect("a terminal");
        self.0.write_all(b"\n").expect("a terminal");
    }
}

/// Gives the status of a child when it has ended.
pub fn wait(mut child: Child) -> Receiver<ExitStatus> {
    let (to_status, status) = channel();
    std::thread::spawn(move || {
        let _ = to_status.send(child.wait().expect("a child can be waited for"));
    });
    status
}

/// Machines that lend themselves, each with a folder of its own, and people with the same secret.
pub struct Farm {
    config: TempDir,
    folders: TempDir,
}

impl Farm {
    pub fn new() -> Self {
        let [config, folders] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        Farm { config, folders }
    }

    /// Where configuration is looked for.
    pub fn config(&self) -> &Path {
        self.config.path()
    }

    /// The folder of a node.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.folders.path().join(name)
    }

    /// Starts a node, and gives where it listens.
    pub fn node(&self, name: &str, args: &[&str]) -> (Demo, String) {
        self.serve("node", name, args)
    }

    /// Starts a scheduler that knows this node, and gives where it listens.
    pub fn scheduler(&self, name: &str, peer: &str) -> (Demo, String) {
        self.serve("scheduler", name, &["--peer", peer])
    }

    fn serve(&self, command: &str, name: &str, args: &[&str]) -> (Demo, String) {
        self.serve_with(command, name, args, |command| command)
    }

    /// Likewise, as `set` has it.
    pub fn serve_with(
        &self,
        command: &str,
        name: &str,
        args: &[&str],
        set: impl FnOnce(&mut Command) -> &mut Command,
    ) -> (Demo, String) {
        let folder = path_text(&self.folder(name));
        let usual = [command, "--name", name, "--dir", &folder];
        let listen: &[_] = match args.contains(&"--listen") {
            true => &[],
            false => &["--listen", "127.0.0.1:0"],
        };
        let args = [&usual[..], listen, args].concat();
        let mut serving = self.start_with(&args, set);
        let line = serving.wait_for(|line| line.starts_with("try, "));
        let at = line.rsplit(' ').next().expect("it says where").to_owned();
        (serving, at)
    }

    pub fn start(&self, args: &[&str]) -> Demo {
        self.start_with(args, |command| command)
    }

    pub fn start_with(
        &self,
        args: &[&str],
        set: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Demo {
        Demo::start_with(args, |command| {
            set(command
                .env("XDG_CONFIG_HOME", self.config.path())
                .env("XDG_CACHE_HOME", self.folders.path())
                .env("TZ", "UTC")
                .env_remove("COROS_SECRET_FILE"))
        })
    }

    pub fn run(&self, args: &[&str]) -> Ended {
        self.start(args).end()
    }
}

pub fn run(args: &[&str]) -> Ended {
    Demo::start(args).end()
}

/// The 123 of `worker w1 (pid 123) …`.
pub fn pid_in(line: &str) -> u32 {
    let rest = line
        .split("(pid ")
        .nth(1)
        .expect("the line names a process");
    let digits = rest.split(')').next().expect("it is closed");
    digits.parse().expect("a number")
}

#[cfg(unix)]
pub fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().expect("a small number"));
    nix::sys::signal::kill(pid, signal).expect("the process is there");
}

/// Whether a process runs. One that has ended and that nobody has waited for does not.
pub fn is_running(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X'))
}

/// Counts words in the most simple way, as the issue defines them.
pub fn count_words(texts: &[Vec<u8>]) -> Vec<(String, u64)> {
    let mut words: BTreeMap<String, u64> = BTreeMap::new();
    for text in texts {
        let text: String = text
            .iter()
            .map(|b| {
                if b.is_ascii_alphabetic() {
                    *b as char
                } else {
                    ' '
                }
            })
            .collect();
        for word in text.split_whitespace() {
            *words.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    let mut words: Vec<_> = words.into_iter().collect();
    words.sort_by(|(a, n), (b, m)| m.cmp(n).then(a.cmp(b)));
    words
}

/// A folder with so many files of text of about so many bytes, and the texts.
pub fn corpus(files: usize, size: usize) -> (TempDir, Vec<Vec<u8>>) {
    let folder = tempfile::tempdir().expect("a folder for the corpus");
    let mut seed = 1u64;
    let mut next = move || {
        // xorshift64: the same corpus every time.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut texts = Vec::new();
    for n in 0..files {
        let mut text = Vec::new();
        while text.len() < size {
            let word = next() % 5000;
            let letters = (0..=word % 7).map(|i| b'a' + ((word >> i) % 26) as u8);
            text.extend(letters);
            text.push(b" ,.\n-_0\xffA"[(next() % 9) as usize]);
        }
        let path = folder.path().join(format!("d{}/f{n}.txt", n % 7));
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        std::fs::write(path, &text).expect("a file");
        texts.push(text);
    }
    (folder, texts)
}

/// Longer than can be counted in the time of any test, and yet almost no room: it is a hole.
pub const ENDLESS: u64 = 64 << 30;

/// Makes a file endless, after what it has.
pub fn make_endless(path: &Path) -> std::fs::File {
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .expect("a file");
    file.set_len(ENDLESS).expect("a hole");
    file
}

/// Waits until a worker counts the file, and gives the worker's name; for one that logs
/// `coros::demo=debug`.
pub fn counter_of(demo: &mut Demo, path: &Path) -> String {
    let wanted = format!("counting {}", path.display());
    let line = demo.wait_for(|line| line.ends_with(&wanted));
    let worker = line.split(['[', ']']).nth(1).expect("it is a worker's");
    worker.to_owned()
}

/// What `--json` printed, checked to be one object with exactly the keys that it should have.
pub fn object(stdout: &str) -> serde_json::Map<String, serde_json::Value> {
    assert_eq!(
        stdout.lines().count(),
        1,
        "one object and nothing else: {stdout}"
    );
    let value: serde_json::Value = serde_json::from_str(stdout).expect("it is JSON");
    let object = value.as_object().expect("it is an object").clone();
    let mut keys: Vec<_> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "bytes",
            "files",
            "jobs_by_worker",
            "seconds",
            "unreadable",
            "words"
        ]
    );
    object
}

/// The words of such an object.
pub fn words(object: &serde_json::Map<String, serde_json::Value>) -> Vec<(String, u64)> {
    serde_json::from_value(object["words"].clone()).expect("a list of pairs")
}

pub fn path_text(path: &Path) -> String {
    PathBuf::from(path)
        .into_os_string()
        .into_string()
        .expect("a path that is text")
}
