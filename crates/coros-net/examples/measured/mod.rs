//! What programs that measure two processes share: this one, and a child of it that is told what to do
//! in one line and answers in one.

use std::process::Stdio;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Stdin};
use tokio::process::{ChildStdin, ChildStdout};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Bytes, as they go through a pipe.
struct Line(Vec<u8>);

impl Line {
    fn write(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn read(text: &str) -> Self {
        let pairs = text.trim().as_bytes().chunks(2).map(std::str::from_utf8);
        let bytes = pairs.filter_map(|pair| u8::from_str_radix(pair.ok()?, 16).ok());
        Line(bytes.collect())
    }
}

/// The other process, as the one that has started it has it.
pub(crate) struct Receiver {
    child: tokio::process::Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    #[allow(dead_code, reason = "not all look at what it uses")]
    pub(crate) pid: String,
}

impl Receiver {
    /// Starts this program as `receive`, tells it its brief; and what it answers, encoded.
    pub(crate) async fn start(brief: &impl Serialize) -> Result<(Self, Vec<u8>), Error> {
        let mut child = tokio::process::Command::new(std::env::current_exe()?)
            .arg("receive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().ok_or("no pipe")?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let mut bytes = Vec::new();
        coros_core::remote::encode(brief, &mut bytes)?;
        let line = format!("{}\n", Line(bytes).write());
        stdin.write_all(line.as_bytes()).await?;
        let pid = child.id().ok_or("it has ended")?.to_string();
        let mut answer = String::new();
        stdout.read_line(&mut answer).await?;
        let receiver = Receiver {
            child,
            stdin,
            stdout,
            pid,
        };
        Ok((receiver, Line::read(&answer).0))
    }

    /// Lets it end; its last words.
    pub(crate) async fn end(self) -> Result<String, Error> {
        let Receiver {
            mut child,
            stdin,
            mut stdout,
            ..
        } = self;
        drop(stdin);
        let mut line = String::new();
        stdout.read_line(&mut line).await?;
        child.wait().await?;
        Ok(line.trim().to_owned())
    }
}

/// In the other process: what the first one says, and then its end.
pub(crate) struct Sender(BufReader<Stdin>);

impl Sender {
    pub(crate) async fn brief<T: DeserializeOwned>() -> Result<(Self, T), Error> {
        let mut stdin = BufReader::new(tokio::io::stdin());
        let mut line = String::new();
        stdin.read_line(&mut line).await?;
        let brief = coros_core::remote::decode(&Line::read(&line).0)?;
        Ok((Sender(stdin), brief))
    }

    /// Answers, and waits until nothing more is wanted.
    pub(crate) async fn answer(mut self, bytes: Vec<u8>) -> Result<(), Error> {
        println!("{}", Line(bytes).write());
        self.0.read_to_end(&mut Vec::new()).await?;
        Ok(())
    }
}

/// What a process has used so far; 0 where /proc does not tell.
pub(crate) fn cpu_seconds(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}
