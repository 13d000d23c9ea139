//! Programs with whatever they start: all of it ends with them.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// No sample takes nearly as long, and the harness, which would leave all the rest behind, waits longer.
const LIMIT: Duration = Duration::from_secs(90);

/// Runs a program to its end; what it printed. Whatever is left of it is killed then, also what has a
/// session of its own. Nothing else of this process may run meanwhile.
pub(crate) fn output(mut command: Command) -> Result<String> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true).context("cannot be in charge of orphans")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let printed = read(child.stdout.take().expect("stdout is piped"));
    let complaints = read(child.stderr.take().expect("stderr is piped"));
    let status = wait_for(child);
    end_all();
    let printed = printed.join().expect("reading does not panic");
    let complaints = complaints.join().expect("reading does not panic");
    let status = status.with_context(|| format!("{printed}{complaints}"))?;
    ensure!(status.success(), "{status}: {printed}{}", complaints.trim());
    Ok(printed)
}

fn read(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        from.read_to_end(&mut text).ok();
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// Waits for its end, and kills it when that does not come.
fn wait_for(mut child: Child) -> Result<ExitStatus> {
    let pid = Pid::from_raw(child.id() as i32);
    let (sender, ended) = mpsc::channel();
    let waiting = thread::spawn(move || sender.send(child.wait()).ok());
    let in_time = ended.recv_timeout(LIMIT);
    if in_time.is_err() {
        // It has ended by itself just now, if that fails.
        kill(pid, Signal::SIGKILL).ok();
    }
    // It has been waited for when this is over, so what it leaves behind is this process's.
    waiting.join().expect("waiting does not panic");
    let status = in_time.with_context(|| format!("no end within {} s", LIMIT.as_secs()))?;
    Ok(status?)
}

/// Kills all children, and those that these leave behind, until there is none.
fn end_all() {
    loop {
        let children = children();
        if children.is_empty() {
            return;
        }
        for child in children {
            // Whoever has ended waits to be waited for.
            kill(child, Signal::SIGKILL).ok();
            waitpid(child, None).ok();
        }
    }
}

fn children() -> Vec<Pid> {
    let this = std::process::id().to_string();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pid = |entry: fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // Behind the name, which may hold anything: the state, then the parent.
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.to_owned();
        (parent == this).then(|| Pid::from_raw(pid))
    };
    all.filter_map(pid).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use nix::errno::Errno;

    use super::*;

    /// In one test: two at a time would wait for each other's children.
    #[test]
    fn a_program_leaves_its_words_and_nothing_else() {
        let mut shell = Command::new("sh");
        // The number of one that has a session of its own, and nobody who waits for it.
        let orphan = "echo $(setsid sh -c 'echo $$; exec sleep 1000 >&-' &)";
        shell.args(["-c", orphan]);
        let printed = output(shell).expect("a shell runs");
        let pid = printed.trim().parse().expect("it prints a number");
        assert_eq!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH));

        let mut shell = Command::new("sh");
        shell.args(["-c", "echo out; echo err >&2; exit 3"]);
        let error = output(shell).expect_err("it fails").to_string();
        for said in ["out", "err", "3"] {
            assert!(error.contains(said), "{error}");
        }
    }
}
