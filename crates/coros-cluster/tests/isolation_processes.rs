//! Processes that are isolated, and try what they may and what they may not. Where this machine lacks a
//! mechanism, it is said, and what needs it is counted as ignored.
//!
//! This executable is also those processes. Isolation is no part of the API, so it is compiled in here.

#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

#[cfg(target_os = "linux")]
#[path = "../src"]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "others use the rest of it"
)]
mod private {
    pub(crate) mod isolation;
}
#[cfg(target_os = "linux")]
#[path = "../../coros-net/tests/common/trial.rs"]
#[allow(dead_code, reason = "what is missing here is known otherwise")]
mod trial;

#[cfg(target_os = "linux")]
#[path = "isolation_processes/inside.rs"]
mod inside;

#[cfg(target_os = "linux")]
use private::isolation;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [inside, role, words @ ..] = words.as_slice()
        && inside == tests::INSIDE
    {
        inside::run(role, words);
        return std::process::ExitCode::SUCCESS;
    }
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, tests::trials()).exit_code()
}

#[cfg(not(target_os = "linux"))]
fn main() {}

/// From outside: starts the process, and sees what became of it.
#[cfg(target_os = "linux")]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    use std::os::unix::process::CommandExt;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Output, Stdio};

    use libtest_mimic::{Failed, Trial};
    use tempfile::TempDir;

    use crate::isolation::{
        Cgroup, Cgroups, Counters, Isolation, Limits, Network, explain, hit, how_it_ended, probe,
        signal_of,
    };
    use crate::trial::trial;

    /// The first argument of a process that isolates itself.
    pub(crate) const INSIDE: &str = "inside";
    /// A user whom limits of processes hold, which root is not.
    pub(crate) const NOBODY: u32 = 65534;
    const MIB: u64 = 1 << 20;

    type Test = fn() -> Result<(), Failed>;

    pub(crate) fn trials() -> Vec<Trial> {
        let checks = probe();
        let tests: &[(&str, &str, Test)] = &[
            ("files_of_others_are_out_of_reach", "landlock: files", files),
            ("others_cannot_be_reached", "landlock: signals", others),
            (
                "calls_that_change_the_machine_are_refused",
                "seccomp",
                calls,
            ),
            ("without_a_network_there_is_none", "seccomp", no_network),
            ("one_port_is_one_port", "landlock: ports", one_port),
            ("a_runaway_writer_is_stopped", "rlimits", writer),
            (
                "memory_is_limited_without_a_control_group",
                "rlimits",
                hog_alone,
            ),
            (
                "processes_are_limited_without_a_control_group",
                "rlimits",
                forks_alone,
            ),
            ("a_memory_hog_is_stopped", "cgroup: memory", hog),
            (
                "all_together_have_no_more_memory_than_they_may",
                "cgroup: memory",
                together,
            ),
            ("a_fork_bomb_is_stopped", "cgroup: processes", forks),
            (
                "whoever_left_the_group_is_killed_with_it",
                "cgroup: processes",
                escaped,
            ),
            ("limits_are_those_that_were_asked_for", "rlimits", limits),
            (
                "a_folder_that_is_not_there_is_refused",
                "rlimits",
                no_folder,
            ),
        ];
        let trials = tests.iter().map(|(name, needs, test)| {
            let check = checks.iter().find(|check| check.name == *needs);
            let check = check.unwrap_or_else(|| panic!("{needs} is not in {checks:#?}"));
            let missing = (!check.available).then(|| format!("{needs}: {}", check.detail));
            trial(name, missing.as_deref(), *test)
        });
        trials.collect()
    }

    /// A folder that a process has for itself, in one that is none of its business.
    struct Room {
        folder: TempDir,
        isolation: Isolation,
    }

    impl Room {
        fn new() -> Result<Self, Failed> {
            let folder = tempfile::tempdir()?;
            let own = folder.path().join("own");
            fs::create_dir(&own)?;
            let isolation = Isolation::new(own);
            Ok(Room { folder, isolation })
        }

        fn limited(limits: Limits) -> Result<Self, Failed> {
            let mut room = Room::new()?;
            room.isolation.limits = limits;
            Ok(room)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Runs a process in it, in that group, if any.
        fn run(
            &mut self,
            role: &str,
            words: &[String],
            cgroup: Option<&Cgroup>,
        ) -> Result<Output, Failed> {
            Ok(self.start(role, words, cgroup)?.wait_with_output()?)
        }

        fn start(
            &mut self,
            role: &str,
            words: &[String],
            cgroup: Option<&Cgroup>,
        ) -> Result<Child, Failed> {
            let mut child = Command::new("/proc/self/exe")
                .args([INSIDE, role])
                .args(words)
                .current_dir(&self.isolation.folder)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(cgroup) = cgroup {
                cgroup.add(child.id())?;
                self.isolation.counted = cgroup.counts();
            }
            let mut stdin = child.stdin.take().ok_or("it was piped")?;
            stdin.write_all(&postcard::to_stdvec(&self.isolation)?)?;
            Ok(child)
        }

        /// Runs one that finds out itself whether all is well.
        fn check(&mut self, role: &str, words: &[String]) -> Result<(), Failed> {
            let output = self.run(role, words, None)?;
            if output.status.success() {
                return Ok(());
            }
            Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
        }

        /// How a process ended, as it is told.
        fn told(&self, output: &Output, counters: Counters) -> String {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let last: Vec<String> = stderr.lines().map(str::to_owned).collect();
            let status = Some(output.status);
            let hit = hit(status, &self.isolation.limits, &counters, &last);
            let how = how_it_ended(output.status.code(), signal_of(output.status));
            explain(how, &hit)
        }
    }

    fn expect(told: &str, expected: &str, output: &Output) -> Result<(), Failed> {
        if told == expected {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(format!("told: {told}\nexpected: {expected}\nit said: {stderr}").into())
    }

    fn files() -> Result<(), Failed> {
        let mut room = Room::new()?;
        for folder in ["data/hidden/named", "shared", "kept", "other"] {
            fs::create_dir_all(room.path(folder))?;
        }
        for file in [
            "data/file",
            "data/hidden/secret",
            "data/hidden/named/file",
            "shared/file",
            "kept/file",
            "other/file",
        ] {
            fs::write(room.path(file), "text")?;
        }
        std::os::unix::fs::symlink(room.path("data/hidden/secret"), room.path("data/link"))?;
        room.isolation.readable = vec![
            room.path("data"),
            room.path("data/hidden/named"),
            room.path("missing"),
            // Hidden is hidden, whoever names it.
            room.path("data/hidden"),
        ];
        room.isolation.writable = vec![room.path("shared"), room.path("kept")];
        // The second is not there yet.
        room.isolation.hidden = vec![room.path("data/hidden"), room.path("kept/later")];
        room.check("files", &[text(room.folder.path())])?;
        // Nothing of it was cut or changed either.
        assert_eq!(fs::read_to_string(room.path("other/file"))?, "text");
        Ok(())
    }

    fn text(path: &Path) -> String {
        path.to_string_lossy().into_owned()
    }

    fn others() -> Result<(), Failed> {
        let name = format!("coros-test-{}", std::process::id());
        let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        Room::new()?.check("others", &[name])
    }

    fn calls() -> Result<(), Failed> {
        Room::new()?.check("calls", &[])
    }

    fn no_network() -> Result<(), Failed> {
        let mut room = Room::new()?;
        room.isolation.network = Network::Only(Vec::new());
        room.check("no-network", &[])
    }

    fn one_port() -> Result<(), Failed> {
        let mut room = Room::new()?;
        let listeners = [
            TcpListener::bind("127.0.0.1:0")?,
            TcpListener::bind("127.0.0.1:0")?,
        ];
        let ports = [
            listeners[0].local_addr()?.port(),
            listeners[1].local_addr()?.port(),
        ];
        room.isolation.network = Network::Only(vec![ports[0]]);
        room.check("one-port", &ports.map(|port| port.to_string()))
    }

    fn writer() -> Result<(), Failed> {
        let mut room = Room::limited(Limits {
            file_size: Some(MIB),
            ..Limits::default()
        })?;
        let output = room.run("writer", &[], None)?;
        let told = room.told(&output, Counters::default());
        let expected =
            "killed by signal 25 (SIGXFSZ): it wrote more than the file size limit of 1 MiB";
        expect(&told, expected, &output)?;
        assert_eq!(fs::metadata(room.path("own/large"))?.len(), MIB);
        Ok(())
    }

    fn hog_alone() -> Result<(), Failed> {
        let mut room = Room::limited(Limits {
            memory: Some(64 * MIB),
            ..Limits::default()
        })?;
        let output = room.run("hog", &[], None)?;
        let told = room.told(&output, Counters::default());
        let expected = "killed by signal 6 (SIGABRT): it wanted more than its memory of 64 MiB";
        expect(&told, expected, &output)
    }

    fn forks_alone() -> Result<(), Failed> {
        let mut room = Room::limited(Limits {
            processes: Some(5),
            ..Limits::default()
        })?;
        let folder = room.folder.path().to_owned();
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder, everybody)?;
        // Who has other processes has as many more.
        let root = nix::unistd::Uid::effective().is_root();
        let mut beside = Vec::new();
        for _ in 0..10 {
            let mut sleep = Command::new("sleep");
            if root {
                sleep.uid(NOBODY);
            }
            beside.push(sleep.arg("1000").stderr(Stdio::null()).spawn()?);
        }
        let output = room.run("forks-alone", &[], None)?;
        for mut child in beside {
            child.kill()?;
            child.wait()?;
        }
        let told = room.told(&output, Counters::default());
        expect(&told, "ended with exit status 7", &output)
    }

    fn hog() -> Result<(), Failed> {
        let mut room = Room::limited(Limits {
            memory: Some(64 * MIB),
            ..Limits::default()
        })?;
        let expected = "killed by signal 9 (SIGKILL): it used more than its memory of 64 MiB";
        grouped(&mut room, "hog", expected)
    }

    /// Each of two may have all of it, but not both. The one that has more goes.
    fn together() -> Result<(), Failed> {
        let limits = Limits {
            memory: Some(96 * MIB),
            ..Limits::default()
        };
        let before = groups();
        let all = Cgroups::open().within(&limits)?;
        let [little, much] = [all.make(&limits)?, all.make(&limits)?];
        let mut room = Room::limited(limits)?;
        let mut holder = room.start("holds", &["24".into()], Some(&little))?;
        let held = BufReader::new(holder.stdout.take().ok_or("it was piped")?).lines();
        assert_eq!(held.take(1).collect::<Result<Vec<_>, _>>()?, ["held"]);
        let output = room.run("hog", &[], Some(&much))?;
        let told = room.told(&output, much.counters());
        let why = "all workers of its node together used more than their memory of 96 MiB";
        assert!(told.contains("SIGKILL") && told.contains(why), "{told}");
        assert!(holder.try_wait()?.is_none(), "the other one has gone");
        holder.kill()?;
        holder.wait()?;
        for cgroup in [little, much] {
            wait_for(cgroup.remove())?;
        }
        drop(all);
        assert_eq!(groups(), before);
        Ok(())
    }

    fn forks() -> Result<(), Failed> {
        let mut room = Room::limited(Limits {
            processes: Some(20),
            ..Limits::default()
        })?;
        let expected = "ended with exit status 7: it tried to start more than 20 processes";
        grouped(&mut room, "forks", expected)
    }

    /// Runs one in a group of its own, of which nothing is left.
    fn grouped(room: &mut Room, role: &str, expected: &str) -> Result<(), Failed> {
        let before = groups();
        let cgroup = Cgroups::open().make(&room.isolation.limits)?;
        let output = room.run(role, &[], Some(&cgroup))?;
        expect(&room.told(&output, cgroup.counters()), expected, &output)?;
        assert_ne!(groups(), before);
        wait_for(cgroup.remove())?;
        assert_eq!(groups(), before);
        Ok(())
    }

    fn escaped() -> Result<(), Failed> {
        let mut room = Room::limited(Limits {
            processes: Some(20),
            ..Limits::default()
        })?;
        let cgroup = Cgroups::open().make(&room.isolation.limits)?;
        let output = room.run("escape", &[], Some(&cgroup))?;
        expect(
            &room.told(&output, cgroup.counters()),
            "ended with exit status 0",
            &output,
        )?;
        let pid = fs::read_to_string(room.path("own/pid"))?;
        let process = Path::new("/proc").join(pid.trim());
        assert!(process.exists(), "there is no {}", process.display());
        wait_for(cgroup.remove())?;
        let state = fs::read_to_string(process.join("stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
        Ok(())
    }

    fn limits() -> Result<(), Failed> {
        let mut room = Room::limited(Limits {
            memory: Some(1 << 30),
            processes: Some(1000),
            file_size: Some(MIB),
            open_files: Some(64),
        })?;
        room.isolation.nice = 5;
        room.check("limits", &[])
    }

    fn no_folder() -> Result<(), Failed> {
        let mut room = Room::new()?;
        room.isolation.folder = room.path("missing");
        let output = Command::new("/proc/self/exe")
            .args([INSIDE, "no-folder"])
            .arg(room.path("missing"))
            .output()?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            stderr.contains("its folder") && stderr.contains("missing"),
            "{stderr}"
        );
        Ok(())
    }

    fn wait_for(removed: impl Future<Output = std::io::Result<()>>) -> Result<(), Failed> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        Ok(runtime.block_on(removed)?)
    }

    /// The control groups that this process has made.
    fn groups() -> Vec<PathBuf> {
        let ours = format!("coros-{}-", std::process::id());
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(&ours) {
                    found.push(entry.path());
                } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                }
            }
        }
        found
    }
}
