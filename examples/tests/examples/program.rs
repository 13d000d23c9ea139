//! An example as a process: started, talked to, waited for, and killed whatever happens.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// No single wait takes longer. Far more than any needs: machines are busy at times.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A running example.
pub(crate) struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

/// What an example has printed, after [`Program::line`] took its lines, and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) lines: Vec<String>,
    pub(crate) stderr: String,
    pub(crate) status: ExitStatus,
}

impl Output {
    /// The printed lines of a program that has succeeded.
    #[track_caller]
    pub(crate) fn success(self) -> Vec<String> {
        assert!(self.status.success(), "{self:?}");
        self.lines
    }

    /// The error of a program that has failed, as told by its exit code.
    #[track_caller]
    pub(crate) fn failure(self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        self.stderr
    }
}

fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    // target/PROFILE/deps/test, target/PROFILE/examples/NAME
    let profile = test.ancestors().nth(2).expect("tests are in deps");
    let path = profile
        .join("examples")
        .join(name)
        .with_extension(std::env::consts::EXE_EXTENSION);
    assert!(
        path.exists(),
        "{} is missing: build it with `cargo build -p coros-examples --examples` and the profile \
         of this test",
        path.display()
    );
    path
}

/// Runs an example to its end.
pub(crate) fn run<I>(name: &str, args: I) -> Output
where
    I: IntoIterator<Item: AsRef<std::ffi::OsStr>>,
{
    Program::start(name, args).wait()
}

/// Runs an example to its end while nobody reads what it prints, as after `| head -1`.
pub(crate) fn unread(name: &str, args: &[&str]) -> Output {
    let (reader, stdout) = std::io::pipe().unwrap();
    drop(reader);
    let mut program = Program::start_into(name, args, stdout.into(), &[]);
    program.stdin = None;
    program.wait_open()
}

impl Program {
    pub(crate) fn start<I>(name: &str, args: I) -> Self
    where
        I: IntoIterator<Item: AsRef<std::ffi::OsStr>>,
    {
        Self::start_into(name, args, Stdio::piped(), &[])
    }

    /// With more in its environment.
    pub(crate) fn start_with(name: &str, args: &[&str], environment: &[(&str, &Path)]) -> Self {
        Self::start_into(name, args, Stdio::piped(), environment)
    }

    fn start_into<I>(name: &str, args: I, stdout: Stdio, environment: &[(&str, &Path)]) -> Self
    where
        I: IntoIterator<Item: AsRef<std::ffi::OsStr>>,
    {
        let mut child = Command::new(path(name))
            .args(args)
            // A backtrace would be part of what an error prints.
            .env("RUST_BACKTRACE", "0")
            // The secret of nodes is not that of whoever runs the tests.
            .env(
                "XDG_CONFIG_HOME",
                concat!(env!("CARGO_TARGET_TMPDIR"), "/config"),
            )
            .env_remove("COROS_SECRET_FILE")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (line, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for text in BufReader::new(stdout).lines() {
                    // Fails when the test no longer listens.
                    let _ = line.send(text.unwrap());
                }
            });
        }
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Program {
            name: name.to_owned(),
            stdin: child.stdin.take(),
            child,
            lines,
            stderr: Some(stderr),
        }
    }

    /// Starts a server on a free port, and reads where it listens from its first line.
    pub(crate) fn serve(name: &str, args: &[&str]) -> (Self, SocketAddr) {
        let server = Program::start(name, args);
        let address = server.listening_on();
        (server, address)
    }

    /// Where a server listens, from its first line.
    pub(crate) fn listening_on(&self) -> SocketAddr {
        let line = self.line();
        let address = line
            .strip_prefix("listening on ")
            .and_then(|at| at.trim_start_matches("http://").parse().ok());
        address.unwrap_or_else(|| panic!("{} printed `{line}`", self.name))
    }

    /// The next line that the program prints.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        match self.lines.recv_timeout(LIMIT) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} printed nothing for {LIMIT:?}", self.name)
            }
            Err(RecvTimeoutError::Disconnected) => panic!("{} has ended", self.name),
        }
    }

    /// Writes a line to the program's standard input.
    #[track_caller]
    pub(crate) fn say(&mut self, line: &str) {
        self.say_bytes(format!("{line}\n").as_bytes());
    }

    /// Writes what need not be text.
    #[track_caller]
    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin.write_all(bytes).unwrap();
    }

    /// The number of its process.
    #[allow(dead_code, reason = "not every test looks into the system")]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ctrl-C.
    #[cfg(unix)]
    pub(crate) fn interrupt(&self) {
        use nix::sys::signal::{Signal, kill};
        use nix::unistd::Pid;

        let id = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(id, Signal::SIGINT).unwrap();
    }

    /// Closes the program's standard input and waits for its end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Output {
        self.stdin = None;
        self.wait_open()
    }

    /// Waits for the program's end while its standard input stays open.
    #[track_caller]
    pub(crate) fn wait_open(mut self) -> Output {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                start.elapsed() < LIMIT,
                "{} has not ended in {LIMIT:?}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(2));
        };
        let stderr = self.stderr.take().expect("waited for once");
        Output {
            lines: self.lines.iter().collect(),
            stderr: stderr.join().unwrap(),
            status,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error says that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
