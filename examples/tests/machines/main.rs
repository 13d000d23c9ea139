//! Two of the examples on two machines, with addresses of their own and a cable between them; one finds
//! its server by multicast. Where that cannot be, it is said and counted as ignored.

#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

#[cfg(unix)]
#[path = "../../../crates/coros-net/tests/faults/cable.rs"]
#[allow(dead_code, reason = "more can be done to a cable than is here")]
mod cable;
#[cfg(unix)]
#[path = "../../../crates/coros-net/tests/common/trial.rs"]
mod trial;

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    let missing = cable::no_namespaces();
    let tests: [(&str, fn()); 5] = [
        ("remote_coro", examples::remote_coro),
        ("tut", examples::tut),
        ("tut_while_the_cable_is_out", examples::tut_late),
        ("tut_by_version_6", examples::tut_by_v6),
        ("tut_without_multicast", examples::tut_alone),
    ];
    trial::run_all(missing.as_deref(), tests)
}

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
mod examples {
    use std::io::{BufRead, BufReader, Read};
    use std::path::{Path, PathBuf};
    use std::process::{Child, ChildStdout, Command, Stdio};
    use std::time::Duration;

    use crate::cable::{Cable, PLACES};

    fn program(name: &str) -> PathBuf {
        let test = std::env::current_exe().unwrap();
        // target/PROFILE/deps/test, target/PROFILE/examples/NAME
        let profile = test.ancestors().nth(2).expect("tests are in deps");
        profile.join("examples").join(name)
    }

    /// How a client finds its server.
    #[derive(Clone, Copy)]
    enum Finds {
        Given,
        ByMulticast,
    }

    /// An example that runs on one of the machines.
    struct Program {
        child: Child,
        lines: BufReader<ChildStdout>,
    }

    impl Program {
        fn start(cable: &Cable, at: usize, user: &Path, name: &str, args: &[&str]) -> Self {
            let [nsenter, namespace] = cable.prefix(at);
            let mut child = Command::new(nsenter)
                .arg(namespace)
                .arg(program(name))
                .args(args)
                .env("XDG_CONFIG_HOME", user)
                .env_remove("COROS_SECRET_FILE")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap());
            Program { child, lines }
        }

        /// The next line; the test runner ends a test that waits for ever.
        fn line(&mut self) -> String {
            let mut line = String::new();
            self.lines.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        }

        /// All other lines of a program that succeeds.
        fn rest(mut self) -> Vec<String> {
            let lines = self.lines.by_ref().lines().map(Result::unwrap).collect();
            let status = self.child.wait().unwrap();
            assert!(status.success(), "{lines:?}");
            lines
        }
    }

    impl Drop for Program {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// A server on one machine, its client on the other, and the cable out for a moment between the
    /// first line of the client and the rest.
    fn across(name: &str, finds: Finds, args: &[&str], lines: usize, last: &str) {
        let user = tempfile::tempdir().unwrap();
        let cable = Cable::lay();
        let start =
            |at, name: &str, args: &[&str]| Program::start(&cable, at, user.path(), name, args);
        let discover = &["--discover"][..];
        let (to_be_found, by_multicast) = match finds {
            Finds::Given => (&[][..], None),
            Finds::ByMulticast => (discover, Some(discover)),
        };
        let listen = ["0", "--host", PLACES[1]];
        let all = [&listen, to_be_found].concat();
        let mut server = start(1, &format!("{name}_server"), &all);
        let listening = server.line();
        let at = listening.strip_prefix("listening on ").expect(&listening);
        assert!(at.starts_with(PLACES[1]), "{at}");
        let all = [args, by_multicast.unwrap_or(&["--peer", at])].concat();
        let mut client = start(0, &format!("{name}_client"), &all);
        client.line();
        // Longer than a peer may be silent, shorter than a session goes on without a link.
        cable.out_for(Duration::from_secs(3));
        let said = client.rest();
        assert_eq!(said.len() + 1, lines, "{said:?}");
        assert_eq!(said.last().map(String::as_str), Some(last));
    }

    pub(crate) fn remote_coro() {
        across(
            "remote_coro",
            Finds::Given,
            &["100"],
            300,
            "coroutine 100: 500 is the mean of 11 values",
        );
    }

    pub(crate) fn tut() {
        let last = "client 40: the sum of 3 numbers is 6";
        across("tut", Finds::ByMulticast, &["40", "3"], 40, last);
    }

    /// A client that looks around while the cable is out finds its server when it is back.
    pub(crate) fn tut_late() {
        let user = tempfile::tempdir().unwrap();
        let cable = Cable::lay();
        let start =
            |at, name: &str, args: &[&str]| Program::start(&cable, at, user.path(), name, args);
        let mut server = start(1, "tut_server", &["0", "--discover"]);
        server.line();
        cable.pull();
        let mut client = start(0, "tut_client", &["1", "3", "--discover"]);
        // Long enough for either to notice, and for whoever looks only once to have looked.
        std::thread::sleep(Duration::from_secs(3));
        cable.put_back();
        assert_eq!(client.line(), "client 1: the sum of 3 numbers is 6");
        client.rest();
    }

    /// A server that has no address but one of version 6 is found as well.
    pub(crate) fn tut_by_v6() {
        let user = tempfile::tempdir().unwrap();
        let cable = Cable::lay();
        for at in [0, 1] {
            let [nsenter, namespace] = cable.prefix(at);
            let place = format!("fd77::{at}/64");
            let words = ["ip", "address", "add", &place, "dev", "eth0", "nodad"];
            let mut ip = Command::new(nsenter);
            let done = ip.arg(namespace).args(words).status().unwrap();
            assert!(done.success());
        }
        let start =
            |at, name: &str, args: &[&str]| Program::start(&cable, at, user.path(), name, args);
        let mut server = start(1, "tut_server", &["0", "--host", "fd77::1", "--discover"]);
        assert!(server.line().starts_with("listening on [fd77::1]:"));
        let mut client = start(0, "tut_client", &["1", "3", "--discover"]);
        assert_eq!(client.line(), "client 1: the sum of 3 numbers is 6");
        client.rest();
    }

    /// Where nothing can be found, not even on the machine itself, that is said.
    pub(crate) fn tut_alone() {
        let user = tempfile::tempdir().unwrap();
        // A new one has no interface that is up.
        let alone = Command::new("unshare")
            .arg("--net")
            .arg(program("tut_client"))
            .arg("--discover")
            .env("XDG_CONFIG_HOME", user.path())
            .env_remove("COROS_SECRET_FILE")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&alone.stderr);
        assert_eq!(alone.status.code(), Some(1), "{said}");
        assert!(
            said.contains("cannot look for nodes on the local network"),
            "{said}"
        );
    }
}
