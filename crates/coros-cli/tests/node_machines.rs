//! The demo on two machines, with addresses of their own and a cable between them. Where that cannot be, it
//! is said and counted as ignored.

#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

#[cfg(unix)]
#[path = "../../coros-net/tests/faults/cable.rs"]
#[allow(dead_code, reason = "more can be done to a cable than is here")]
mod cable;
#[cfg(unix)]
#[path = "../../coros-net/tests/common/talker.rs"]
mod talker;
#[cfg(unix)]
#[path = "../../coros-net/tests/common/trial.rs"]
mod trial;

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    let missing = cable::no_namespaces();
    let tests: [(&str, fn()); 2] = [
        ("two_nodes_do_the_demo", machines::demo),
        ("a_cable_that_is_out_costs_nothing", machines::cable_out),
    ];
    trial::run_all(missing.as_deref(), tests)
}

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
mod machines {
    use std::io::Read;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use tempfile::TempDir;

    use crate::cable::{Cable, PLACES};
    use crate::talker::Talker;

    /// `coros` on one of the machines.
    fn start(cable: &Cable, at: usize, user: &Path, args: &[&str]) -> Talker {
        let [nsenter, namespace] = cable.prefix(at);
        let mut child = Command::new(nsenter)
            .arg(namespace)
            .arg(env!("CARGO_BIN_EXE_coros"))
            .args(args)
            .env("XDG_CONFIG_HOME", user)
            .env_remove("COROS_SECRET_FILE")
            .env_remove("COROS_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = child.stderr.take().unwrap();
        Talker::new(child, lines)
    }

    /// What one prints that succeeds.
    fn end(coros: &mut Talker) -> String {
        let mut stdout = String::new();
        let mut pipe = coros.child.stdout.take().unwrap();
        let reading = std::thread::spawn(move || pipe.read_to_string(&mut stdout).map(|_| stdout));
        coros.hear_out();
        let status = coros.child.wait().unwrap();
        assert!(status.success(), "{:#?}", coros.seen);
        reading.join().unwrap().unwrap()
    }

    /// A node on each of the machines, and the demo on both, with that many bytes to count.
    struct Scene {
        cable: Cable,
        user: TempDir,
        folder: TempDir,
        _nodes: [Talker; 2],
    }

    impl Scene {
        fn set(files: usize, size: usize) -> Self {
            let [user, folder] = [(); 2].map(|()| tempfile::tempdir().unwrap());
            let corpus = folder.path().join("corpus");
            std::fs::create_dir(&corpus).unwrap();
            let words = b"some words to count, and others ";
            for file in 0..files {
                let text: Vec<u8> = words.iter().copied().cycle().take(size).collect();
                std::fs::write(corpus.join(file.to_string()), text).unwrap();
            }
            let cable = Cable::lay();
            let nodes = [0, 1].map(|at| {
                let (name, dir) = (format!("farm-{at}"), folder.path().join(at.to_string()));
                let dir = dir.to_str().unwrap();
                let args = ["node", "--name", &name, "--dir", dir, "--cpus", "1"];
                let mut node = start(&cable, at, user.path(), &args);
                node.wait_for("try, ");
                node
            });
            Scene {
                cable,
                user,
                folder,
                _nodes: nodes,
            }
        }

        /// The demo, which runs on the first machine; in both there is a worker.
        fn demo(&self) -> Talker {
            let corpus = self.folder.path().join("corpus");
            let corpus = corpus.to_str().unwrap();
            let nodes = PLACES.join(",");
            let args = ["demo", corpus, "--nodes", &nodes, "--verify", "--json"];
            let mut demo = start(&self.cable, 0, self.user.path(), &args);
            for _ in 0..2 {
                demo.wait_for(") is ready");
            }
            demo
        }
    }

    fn jobs_of(json: &str, node: &str) -> u64 {
        let object: serde_json::Value = serde_json::from_str(json).unwrap();
        let jobs = object["jobs_by_worker"].as_object().unwrap();
        let here = jobs.iter().filter(|(name, _)| name.ends_with(node));
        here.map(|(_, jobs)| jobs.as_u64().unwrap()).sum()
    }

    pub(crate) fn demo() {
        let scene = Scene::set(200, 10_000);
        let mut demo = scene.demo();
        let json = end(&mut demo);
        assert!(demo.has_said("gives the same result"), "{:#?}", demo.seen);
        for node in ["@farm-0", "@farm-1"] {
            assert!(jobs_of(&json, node) > 0, "{json}");
        }
    }

    /// For longer than a peer may be silent, and shorter than a session goes on without a link.
    pub(crate) fn cable_out() {
        let scene = Scene::set(400, 40_000);
        let mut demo = scene.demo();
        scene.cable.out_for(Duration::from_secs(3));
        let json = end(&mut demo);
        assert!(demo.has_said("gives the same result"), "{:#?}", demo.seen);
        assert!(!demo.has_said("was lost"), "{:#?}", demo.seen);
        assert!(jobs_of(&json, "@farm-1") > 0, "{json}");
    }
}
