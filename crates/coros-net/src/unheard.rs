//! Who cannot be linked with, on standard error, for programs that log nothing.
//!
//! Strangers can cause any number of lines, and perhaps nobody reads them. So the same [`Trouble`] has
//! a line only once in a [while](AGAIN), there are so many [lines](LINES) in a [minute](MINUTE) for
//! all, and then one that counts the rest: [`Unheard`] decides that, sans-io. A thread of its own
//! writes. [Little](WAITING) waits for it, and what finds no room is counted as well, so that nobody
//! else waits for who does not read.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::mem::{self, Discriminant};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use coros_core::readable;

use crate::clock::now;
use crate::{ConnectError, HandshakeError, HostPort};

const AGAIN: Duration = Duration::from_secs(600);
const LINES: usize = 20;
const MINUTE: Duration = Duration::from_secs(60);
const WAITING: usize = 64;
/// So long a program that ends waits for its last lines.
const LAST: Duration = Duration::from_millis(500);

static PRINTED: AtomicBool = AtomicBool::new(false);
/// None if there can be no other thread.
static PRINTER: OnceLock<Option<Printer>> = OnceLock::new();

/// From now on, the nodes of this process print who cannot be linked with, and why, for as long as
/// nothing subscribes to `tracing`, where it is told as well.
///
/// What there is to print has been printed when the result is dropped, if somebody reads it at once.
pub fn print_unheard() -> Printing {
    PRINTED.store(true, Relaxed);
    Printing(())
}

/// From [`print_unheard`].
#[derive(Debug)]
#[must_use = "what is printed last may be lost without it"]
pub struct Printing(());

impl Drop for Printing {
    fn drop(&mut self) {
        if let Some(Some(printer)) = PRINTER.get() {
            printer.finish(LAST);
        }
    }
}

/// Prints a line, if that is news and nobody hears otherwise of it. Never blocks.
pub(crate) fn say(trouble: Trouble, line: fmt::Arguments<'_>) {
    if PRINTED.load(Relaxed) && !tracing::dispatcher::has_been_set() {
        let printer = PRINTER.get_or_init(|| Printer::new(io::stderr(), MINUTE).ok());
        if let Some(printer) = printer {
            printer.say(trouble, line.to_string());
        }
    }
}

/// Prints a line of somebody who uses nodes, as those are printed that are [unheard](print_unheard): it waits for
/// something, and nobody would know. Never blocks.
#[doc(hidden)]
pub fn say_unheard(line: &str) {
    say(Trouble::Wait(line.into()), format_args!("{line}"));
}

/// What a line is about, without what differs each time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trouble {
    /// Somebody was refused who tries from there, from one port after the other.
    Refused(IpAddr, Discriminant<HandshakeError>),
    /// Nobody can be linked with there.
    Unreachable(SocketAddr, Failure),
    /// It is not known where that is.
    NotFound(HostPort),
    /// Somebody waits: for what, in words.
    Wait(Box<str>),
}

type Failure = (
    Discriminant<ConnectError>,
    Option<Discriminant<HandshakeError>>,
);

impl Trouble {
    pub(crate) fn refused(from: SocketAddr, error: &HandshakeError) -> Self {
        Trouble::Refused(from.ip(), mem::discriminant(error))
    }

    pub(crate) fn unreachable(endpoint: SocketAddr, error: &ConnectError) -> Self {
        let handshake = match error {
            ConnectError::Handshake { why, .. } => Some(mem::discriminant(why)),
            _ => None,
        };
        Trouble::Unreachable(endpoint, (mem::discriminant(error), handshake))
    }
}

/// What has been said, and what has not.
#[derive(Debug)]
struct Unheard {
    /// How long a minute is. (Not long in a test.)
    length: Duration,
    /// When. No more than are said until the first may be said again.
    said: HashMap<Trouble, Instant>,
    /// When it is over, and how many lines there were in it.
    minute: Option<Instant>,
    lines: usize,
    /// What had no line.
    more: u64,
}

impl Unheard {
    fn new(minute: Duration) -> Self {
        Unheard {
            length: minute,
            said: HashMap::new(),
            minute: None,
            lines: 0,
            more: 0,
        }
    }

    /// What is to be printed, now that there is this trouble, or the time has come. So many times
    /// nobody listened meanwhile.
    fn handle(
        &mut self,
        now: Instant,
        missed: u64,
        trouble: Option<(Trouble, String)>,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        if self.minute.is_some_and(|over| over <= now) {
            self.minute = None;
            self.lines = 0;
            lines.extend(self.rest());
        }
        self.more += missed;
        self.said.retain(|_, at| now < *at + AGAIN);
        if let Some((trouble, line)) = trouble
            && !self.said.contains_key(&trouble)
        {
            if self.lines < LINES {
                self.lines += 1;
                self.said.insert(trouble, now);
                lines.push(line);
            } else {
                self.more += 1;
            }
        }
        if self.lines > 0 || self.more > 0 {
            self.minute.get_or_insert(now + self.length);
        }
        lines
    }

    /// When to call [`handle`](Unheard::handle), whatever happens.
    fn deadline(&self) -> Option<Instant> {
        self.minute.filter(|_| self.more > 0)
    }

    fn rest(&mut self) -> Option<String> {
        let more = mem::take(&mut self.more);
        (more > 0).then(|| format!("and {more} more, of others or for other reasons"))
    }
}

/// The thread that writes.
#[derive(Debug)]
struct Printer {
    to: SyncSender<Task>,
    missed: Arc<AtomicU64>,
}

enum Task {
    Say(Trouble, String),
    /// The rest; then this is dropped.
    Finish(SyncSender<()>),
}

impl Printer {
    fn new(to: impl Write + Send + 'static, minute: Duration) -> io::Result<Self> {
        let (sender, tasks) = mpsc::sync_channel(WAITING);
        let missed = Arc::<AtomicU64>::default();
        let count = Arc::clone(&missed);
        thread::Builder::new()
            .name("coros-unheard".into())
            .spawn(move || print(Unheard::new(minute), &tasks, &count, to))?;
        Ok(Printer { to: sender, missed })
    }

    fn say(&self, trouble: Trouble, line: String) {
        if self.to.try_send(Task::Say(trouble, line)).is_err() {
            self.missed.fetch_add(1, Relaxed);
        }
    }

    /// Waits until all has been written, if that does not take longer.
    fn finish(&self, longest: Duration) {
        let (done, wait) = mpsc::sync_channel(0);
        if self.to.try_send(Task::Finish(done)).is_ok() {
            let _ = wait.recv_timeout(longest);
        }
    }
}

fn print(mut unheard: Unheard, tasks: &Receiver<Task>, missed: &AtomicU64, mut to: impl Write) {
    loop {
        let task = match unheard.deadline() {
            None => tasks.recv().map_err(RecvTimeoutError::from),
            Some(at) => tasks.recv_timeout(at.saturating_duration_since(now())),
        };
        let (trouble, done) = match task {
            Ok(Task::Say(trouble, line)) => (Some((trouble, line)), None),
            Ok(Task::Finish(done)) => (None, Some(done)),
            Err(RecvTimeoutError::Timeout) => (None, None),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let missed = missed.swap(0, Relaxed);
        let mut lines = unheard.handle(now(), missed, trouble);
        if done.is_some() {
            lines.extend(unheard.rest());
        }
        for line in lines {
            // When it is closed, nobody wants to know.
            let _ = writeln!(to, "coros: {}", readable(&line));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::SystemTime;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn refused(host: u32, port: u16, error: &HandshakeError) -> Option<(Trouble, String)> {
        let from = (host.to_be_bytes(), port).into();
        Some((Trouble::refused(from, error), format!("{from}: {error}")))
    }

    fn other_secret(host: u32) -> Option<(Trouble, String)> {
        refused(host, 9, &HandshakeError::OtherSecret)
    }

    #[test]
    fn who_tries_again_and_again_has_a_line_in_a_while() {
        let (mut unheard, start) = (Unheard::new(MINUTE), Instant::now());
        let mut told = Vec::new();
        for second in 0..1800 {
            let now = start + SECOND * second;
            // Of two in turns, from one port after the other.
            for host in [1, 2] {
                let port = 1000 + second as u16;
                let trouble = refused(host, port, &HandshakeError::OtherSecret);
                let lines = unheard.handle(now, 0, trouble);
                told.extend(lines.iter().map(|_| (host, second)));
            }
        }
        let each = [(1, 0), (2, 0), (1, 600), (2, 600), (1, 1200), (2, 1200)];
        assert_eq!(told, each);
    }

    #[test]
    fn who_is_refused_for_another_reason_has_another_line() {
        let (mut unheard, now) = (Unheard::new(MINUTE), Instant::now());
        let errors = [
            HandshakeError::OtherSecret,
            HandshakeError::PeerHasCertificate,
        ];
        for error in &errors {
            let lines = unheard.handle(now, 0, refused(1, 9, error));
            assert_eq!(lines, [format!("0.0.0.1:9: {error}")]);
        }
        let endpoint = ([10, 0, 0, 1], 9).into();
        let [one, other] = errors.map(|why| {
            let error = ConnectError::Handshake { endpoint, why };
            Trouble::unreachable(endpoint, &error)
        });
        assert_ne!(one, other);
        let ConnectError::Handshake { why, .. } = ConnectError::lost(endpoint) else {
            panic!("it is one");
        };
        let again = ConnectError::Handshake {
            endpoint,
            why: HandshakeError::OtherSecret,
        };
        assert_eq!(one, Trouble::unreachable(endpoint, &again));
        assert_ne!(one, Trouble::refused(endpoint, &why));
    }

    #[test]
    fn whoever_has_expired_is_the_same_a_moment_later() {
        let trouble = |seconds| {
            let error = HandshakeError::PeerExpired {
                until: SystemTime::UNIX_EPOCH,
                ago: SECOND * seconds,
            };
            let from = ([10, 0, 0, 1], 9).into();
            let refused = Trouble::refused(from, &error);
            let why = ConnectError::Handshake {
                endpoint: from,
                why: error,
            };
            (refused, Trouble::unreachable(from, &why))
        };
        assert_eq!(trouble(86_400), trouble(86_430));
    }

    #[test]
    fn a_crowd_has_so_many_lines_in_a_minute_and_one_for_the_rest() {
        let (mut unheard, start) = (Unheard::new(MINUTE), Instant::now());
        let lines = LINES as u32;
        for host in 0..lines + 5 {
            let now = start + SECOND * host;
            let told = unheard.handle(now, 0, other_secret(host));
            assert_eq!(told.len(), usize::from(host < lines), "{host}");
            let due = (host >= lines).then_some(start + MINUTE);
            assert_eq!(unheard.deadline(), due, "{host}");
        }
        let nothing: [String; 0] = [];
        assert_eq!(unheard.handle(start + MINUTE - SECOND, 2, None), nothing);
        let rest = "and 7 more, of others or for other reasons";
        assert_eq!(unheard.handle(start + MINUTE, 0, None), [rest]);
        assert_eq!(unheard.deadline(), None);
        // Who was only counted is no known one.
        let now = start + MINUTE + SECOND;
        let next = unheard.handle(now, 0, other_secret(lines));
        assert_eq!(
            next,
            ["0.0.0.20:9: ".to_owned() + &HandshakeError::OtherSecret.to_string()]
        );
        // What was missed has a minute, if there is none.
        let now = now + 2 * MINUTE;
        assert_eq!(unheard.handle(now, 3, None), nothing);
        assert_eq!(unheard.deadline(), Some(now + MINUTE));
    }

    #[test]
    fn a_crowd_without_end_takes_no_memory_without_end() {
        let (mut unheard, start) = (Unheard::new(MINUTE), Instant::now());
        let mut most = 0;
        for host in 0..100_000 {
            unheard.handle(start + SECOND / 10 * host, 0, other_secret(host));
            most = most.max(unheard.said.len());
        }
        let minutes = AGAIN.as_secs() / MINUTE.as_secs() + 1;
        assert!(most <= LINES * minutes as usize, "{most}");
    }

    /// Blocks until it is read from.
    #[derive(Clone)]
    struct Pipe(SyncSender<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(()).map_err(io::Error::other)?;
            self.1.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whoever_has_something_to_say_waits_for_nobody_who_reads() {
        let (full, reads) = mpsc::sync_channel(0);
        let pipe = Pipe(full, Arc::default());
        let printer = Printer::new(pipe.clone(), MINUTE).unwrap();
        let said = 10 * WAITING as u64;
        for host in 0..said {
            let (trouble, line) = other_secret(host as u32).unwrap();
            printer.say(trouble, line);
        }
        let reader = thread::spawn(move || reads.iter().for_each(drop));
        let (done, wait) = mpsc::sync_channel(0);
        printer.to.send(Task::Finish(done)).unwrap();
        let _ = wait.recv_timeout(10 * SECOND);
        let text = String::from_utf8(pipe.1.lock().unwrap().clone()).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        let rest = lines.pop().unwrap();
        assert_eq!(lines.len(), LINES);
        assert!(
            lines[0].starts_with("coros: 0.0.0.0:9: the two nodes"),
            "{text}"
        );
        // All that is not told is counted.
        let more = said - LINES as u64;
        assert!(
            rest.starts_with(&format!("coros: and {more} more")),
            "{text}"
        );
        drop((printer, pipe));
        reader.join().unwrap();
    }

    #[test]
    fn nor_does_the_end() {
        let (full, _reads) = mpsc::sync_channel(0);
        let printer = Printer::new(Pipe(full, Arc::default()), MINUTE).unwrap();
        let (trouble, line) = other_secret(1).unwrap();
        printer.say(trouble, line);
        let began = Instant::now();
        printer.finish(SECOND / 100);
        assert!(began.elapsed() < 5 * SECOND);
    }

    #[test]
    fn the_rest_is_told_when_the_minute_is_over_though_nothing_happens_then() {
        let (full, reads) = mpsc::sync_channel(0);
        let pipe = Pipe(full, Arc::default());
        let printer = Printer::new(pipe.clone(), SECOND).unwrap();
        for host in 0..=LINES as u32 {
            let (trouble, line) = other_secret(host).unwrap();
            printer.say(trouble, line);
        }
        let text = || String::from_utf8(pipe.1.lock().unwrap().clone()).unwrap();
        while !text().contains("and 1 more, ") {
            reads.recv_timeout(10 * SECOND).unwrap();
        }
    }
}
