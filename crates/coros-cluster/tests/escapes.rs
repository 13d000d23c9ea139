//! Processes that leave the group, the session, the parents and the environment of whoever started them: they end
//! with the command, the call or the worker whose they are all the same.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use coros::cluster::command::{Command, Input, Told};
    use coros::cluster::{Event, worker};
    use coros::{Address, Scheduler};
    use libtest_mimic::Arguments;
    use nix::errno::Errno;
    use nix::sys::ptrace;
    use nix::sys::signal::{Signal, killpg};
    use nix::unistd::Pid;
    use tokio::sync::mpsc::UnboundedReceiver;

    use crate::common::farm::{Farm, told, until, workers};
    use crate::common::*;

    fn sh(script: String) -> Command {
        Command::new("sh").arg("-c").arg(script)
    }

    /// Starts one that escapes, and says its number.
    fn escape() -> u32 {
        let sh = std::process::Command::new("sh")
            .args(["-c", ESCAPE])
            .output();
        pid(&sh.unwrap().stdout)
    }

    #[coros::remote]
    fn leave_behind() -> u32 {
        escape()
    }

    /// Says which has escaped, and computes for ever.
    #[coros::remote]
    fn escape_and_compute(to: Address<u32>) {
        to.send(escape()).unwrap();
        loop {
            std::thread::sleep(Duration::from_secs(1000));
        }
    }

    async fn local() -> Scheduler {
        let scheduler = Scheduler::local().workers(1).stderr(|_, _| {});
        scheduler.start().await.unwrap()
    }

    async fn number(told: &mut UnboundedReceiver<Told>) -> u32 {
        loop {
            if let Told::Stdout(text) = told.recv().await.unwrap() {
                return pid(&text);
            }
        }
    }

    /// By itself, with an error, cancelled; and the same guard serves the next one.
    async fn a_command(scheduler: &Scheduler) {
        for end in ["exit 0", "sleep 1000 & kill -9 $$", "sleep 1000 & exit 3"] {
            let output = scheduler
                .run(sh(format!("{ESCAPE}{end}")).output())
                .await
                .unwrap();
            let pid = pid(&output.stdout);
            assert!(!is_running(pid), "{end}");
        }
        let (to, mut tells) = told();
        let other = scheduler.submit(sh(format!("{ESCAPE}sleep 1000")).run(to).io());
        let beside = number(&mut tells).await;
        for _ in 0..2 {
            let (to, mut tells) = told();
            let job = scheduler.submit(sh(format!("{ESCAPE}sleep 1000")).run(to).io());
            let pid = number(&mut tells).await;
            assert!(is_running(pid));
            drop(job);
            ended(pid).await;
            assert!(is_running(beside), "it is another one's");
        }
        drop(other);
        ended(beside).await;
    }

    /// One that cannot be dropped ends with its worker.
    async fn a_call(scheduler: &Scheduler) {
        let (to, mut pids) = told();
        let job = scheduler.submit(escape_and_compute(to));
        let pid = pids.recv().await.unwrap();
        assert!(is_running(pid));
        drop(job);
        ended(pid).await;
        scheduler.run(leave_behind()).await.unwrap();
    }

    /// Whoever kills it.
    async fn a_worker(scheduler: &Scheduler) {
        let mut events = scheduler.events();
        let there = |event: &Event| match event {
            Event::WorkerReady { pid, .. } => Some(*pid),
            _ => None,
        };
        for _ in 0..2 {
            let worker = until(&mut events, there).await;
            let left = scheduler.run(leave_behind()).await.unwrap();
            assert!(is_running(left));
            signal(worker, Signal::SIGKILL);
            ended(left).await;
        }
    }

    async fn ends_with_its_command() {
        let scheduler = local().await;
        a_command(&scheduler).await;
        scheduler.close().await.unwrap();
    }

    async fn ends_with_its_call() {
        let scheduler = local().await;
        a_call(&scheduler).await;
        scheduler.close().await.unwrap();
    }

    async fn ends_with_its_worker() {
        let scheduler = local().await;
        a_worker(&scheduler).await;
        let left = scheduler.run(leave_behind()).await.unwrap();
        scheduler.close().await.unwrap();
        assert!(!is_running(left));
    }

    async fn on_a_node(control_groups: bool) {
        let mut farm = Farm::new();
        let mut daemon = farm.daemon("farm-1").slots(1);
        if !control_groups {
            daemon = daemon.without_control_groups();
        }
        farm.daemons.push(daemon.start().await.unwrap());
        let scheduler = farm.scheduler().await;
        let mut events = scheduler.events();
        workers(&mut events, 1).await;
        a_worker(&scheduler).await;
        a_call(&scheduler).await;
        a_command(&scheduler).await;
        let left = scheduler.run(leave_behind()).await.unwrap();
        assert!(is_running(left));
        scheduler.close().await.unwrap();
        farm.close().await;
        assert!(!is_running(left));
    }

    async fn ends_on_a_node_with_control_groups() {
        on_a_node(true).await;
    }

    async fn ends_on_a_node_without_control_groups() {
        on_a_node(false).await;
    }

    /// A guard that has been killed takes along what it can, and the worker goes on.
    async fn a_guard_that_is_killed_holds_up_nobody() {
        let scheduler = local().await;
        let (to, mut tells) = told();
        let script = "read line; kill -9 $PPID; sleep 1000".to_owned();
        let job = scheduler.submit(sh(script).stdin_goes_on().run(to));
        let Some(Told::Began {
            pid,
            stdin: Some(stdin),
        }) = tells.recv().await
        else {
            panic!("it does not begin")
        };
        stdin.send(Input::Data(b"go on\n".to_vec())).unwrap();
        let error = job.await.unwrap_err().to_string();
        assert!(error.contains("what was to start it"), "{error}");
        ended(pid).await;
        let output = scheduler
            .run(sh("echo fine".into()).output())
            .await
            .unwrap();
        assert_eq!(output.stdout, b"fine\n");
        scheduler.close().await.unwrap();
    }

    async fn the_place_of_a_command_is_free_when_nothing_is_left_of_it() {
        let scheduler = local().await;
        let script = "n=0; while [ $n -lt 300 ]; do sleep 1000 & n=$((n + 1)); done; echo $$; wait";
        for _ in 0..3 {
            let (to, mut tells) = told();
            let job = scheduler.submit(sh(script.into()).run(to));
            let group = Pid::from_raw(number(&mut tells).await.cast_signed());
            drop(job);
            scheduler.run(leave_behind()).await.unwrap();
            assert_eq!(killpg(group, None), Err(Errno::ESRCH));
        }
        scheduler.close().await.unwrap();
    }

    /// Has nobody else see the end of a process until what this gives is dropped: who traces it sees that first.
    fn hold(pid: u32) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel();
        let (tell, held) = mpsc::channel();
        std::thread::spawn(move || {
            let pid = Pid::from_raw(pid.cast_signed());
            tell.send(ptrace::seize(pid, ptrace::Options::empty()))
                .unwrap();
            // It is traced for as long as this thread lives.
            let _: Result<(), _> = released.recv();
        });
        held.recv().unwrap().unwrap();
        release
    }

    #[coros::remote]
    fn own_pid() -> u32 {
        std::process::id()
    }

    /// Neither its worker nor what runs beside it ends with it.
    async fn a_command_that_does_not_go_gives_its_place_back() {
        let scheduler = local().await;
        let worker = scheduler.run(own_pid()).await.unwrap();
        let (to, mut tells) = told();
        let echo = sh("read line; echo \"$line\"".into()).stdin_goes_on();
        let beside = scheduler.submit(echo.run(to).io().retries(0));
        let Some(Told::Began {
            stdin: Some(stdin), ..
        }) = tells.recv().await
        else {
            panic!("it does not begin")
        };
        let (to, mut held) = told();
        let job = scheduler.submit(sh("echo $$; exec sleep 1000".into()).run(to));
        let pid = number(&mut held).await;
        let _held = hold(pid);
        drop(job);
        ended(pid).await;
        assert_eq!(scheduler.run(own_pid()).await.unwrap(), worker);
        stdin.send(Input::Data(b"fine\n".to_vec())).unwrap();
        let text = loop {
            if let Told::Stdout(text) = tells.recv().await.unwrap() {
                break text;
            }
        };
        assert_eq!(text, b"fine\n");
        assert!(beside.await.unwrap().success());
        scheduler.close().await.unwrap();
    }

    /// Says which it is, and which its guard, and computes for ever.
    #[coros::remote]
    fn compute(to: Address<(u32, u32)>) {
        let guard = std::os::unix::process::parent_id();
        to.send((std::process::id(), guard)).unwrap();
        loop {
            std::thread::sleep(Duration::from_secs(1000));
        }
    }

    /// When it is cancelled, and when it ends by itself.
    async fn a_guard_that_is_stopped_ends_its_command(scheduler: &Scheduler) {
        for script in [
            "kill -STOP $PPID; echo $$; exec sleep 1000",
            "echo $$; while :; do kill -STOP $PPID; done",
        ] {
            let (to, mut tells) = told();
            let job = scheduler.submit(sh(script.into()).run(to));
            let pid = number(&mut tells).await;
            drop(job);
            ended(pid).await;
        }
        let output = sh("kill -STOP $PPID; echo fine".into()).output();
        let output = scheduler.run(output).await.unwrap();
        assert_eq!(output.stdout, b"fine\n");
    }

    /// Unless it is gone.
    fn send(pid: u32, signal: Signal) {
        let pid = Pid::from_raw(pid.cast_signed());
        let _ = nix::sys::signal::kill(pid, signal);
    }

    /// When it is stopped once or again and again, and whoever ends the worker.
    async fn a_guard_that_is_stopped_ends_its_worker(scheduler: &Scheduler) {
        for (again, cancel) in [(false, true), (true, true), (false, false)] {
            let (to, mut pids) = told();
            let job = scheduler.submit(compute(to).retries(0));
            let (pid, guard) = pids.recv().await.unwrap();
            send(guard, Signal::SIGSTOP);
            let stopping = std::thread::spawn(move || {
                while again && is_running(pid) && is_running(guard) {
                    send(guard, Signal::SIGSTOP);
                }
            });
            match cancel {
                true => drop(job),
                false => {
                    signal(pid, Signal::SIGKILL);
                    job.await.unwrap_err();
                }
            }
            ended(pid).await;
            stopping.join().unwrap();
            if again {
                // The last time may have come when it had been left to itself.
                send(guard, Signal::SIGCONT);
            }
            ended(guard).await;
        }
        scheduler.run(leave_behind()).await.unwrap();
    }

    async fn a_guard_that_is_stopped_goes_on() {
        let scheduler = local().await;
        a_guard_that_is_stopped_ends_its_command(&scheduler).await;
        a_guard_that_is_stopped_ends_its_worker(&scheduler).await;
        scheduler.close().await.unwrap();
    }

    async fn a_guard_that_is_stopped_goes_on_on_a_node() {
        let farm = Farm::of([1]).await;
        let scheduler = farm.scheduler().await;
        a_guard_that_is_stopped_ends_its_command(&scheduler).await;
        a_guard_that_is_stopped_ends_its_worker(&scheduler).await;
        scheduler.close().await.unwrap();
        farm.daemons[0].close().await;
        let left = std::fs::read_dir(farm.folder("farm-1").join("work"));
        assert_eq!(left.unwrap().count(), 0);
    }

    /// They may be meant for all processes of a name, or of a terminal.
    async fn a_guard_outlives_signals_and_keeps_them_from_nobody() {
        let scheduler = local().await;
        let guard = || async {
            let output = sh("echo $PPID; kill -USR1 $$".into()).output();
            let output = scheduler.run(output).await.unwrap();
            assert_eq!(output.status.signal, Some(Signal::SIGUSR1 as i32));
            pid(&output.stdout)
        };
        let first = guard().await;
        for sent in [
            Signal::SIGTERM,
            Signal::SIGUSR1,
            Signal::SIGHUP,
            Signal::SIGTSTP,
        ] {
            signal(first, sent);
            assert_eq!(guard().await, first, "{sent}");
        }
        scheduler.close().await.unwrap();
    }

    pub(super) fn run() {
        worker::enter();
        let mut trials = trials![
            ends_with_its_command,
            ends_with_its_call,
            ends_with_its_worker,
            ends_on_a_node_without_control_groups,
            a_guard_that_is_killed_holds_up_nobody,
            the_place_of_a_command_is_free_when_nothing_is_left_of_it,
            a_command_that_does_not_go_gives_its_place_back,
            a_guard_that_is_stopped_goes_on,
            a_guard_that_is_stopped_goes_on_on_a_node,
            a_guard_outlives_signals_and_keeps_them_from_nobody,
        ];
        trials.push(trial_that_needs(
            "cgroup: processes",
            "ends_on_a_node_with_control_groups",
            ends_on_a_node_with_control_groups,
        ));
        libtest_mimic::run(&Arguments::from_args(), trials).exit();
    }
}

fn main() {
    #[cfg(target_os = "linux")]
    tests::run();
}
