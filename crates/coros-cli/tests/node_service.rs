//! The units of systemd in `packaging/`. Where systemd is not installed, what it says of them is counted as ignored.

#[cfg(unix)]
#[path = "../../coros-net/tests/common/trial.rs"]
mod trial;

#[cfg(unix)]
fn main() {
    units::run();
}

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
mod units {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::process::Command;

    use libtest_mimic::Arguments;

    use crate::trial::{trial, why_not};

    /// Checks units, where systemd is installed; it need not run.
    const ANALYZE: &str = "systemd-analyze";
    const INSTALLED: &str = "/usr/local/bin/coros";

    /// What has a unit.
    const UNITS: [&str; 2] = ["coros-node", "coros-scheduler"];

    fn unit(name: &str) -> String {
        let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging");
        let path = packaging.join(format!("{name}.service"));
        std::fs::read_to_string(path).expect("the unit is there")
    }

    /// What a unit says, by section and key.
    fn keys(unit: &str) -> BTreeMap<(&str, &str), &str> {
        let mut section = "";
        let mut keys = BTreeMap::new();
        for line in unit.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']');
            } else if !line.is_empty() && !line.starts_with('#') {
                let (key, value) = line.split_once('=').expect("a key and a value");
                let before = keys.insert((section, key), value);
                assert!(before.is_none(), "{key} is there twice");
            }
        }
        keys
    }

    fn the_units_have_what_is_relied_on() {
        for name in UNITS {
            let unit = unit(name);
            let keys = keys(&unit);
            for (key, value) in [
                // SIGTERM is for the service alone, and means that it drains.
                ("KillMode", "mixed"),
                ("NoNewPrivileges", "yes"),
                ("DynamicUser", "yes"),
                ("CacheDirectory", name),
                ("RestartPreventExitStatus", "2"),
            ] {
                assert_eq!(keys.get(&("Service", key)), Some(&value), "{name}: {key}");
            }
        }
    }

    fn the_unit_of_a_node_lets_workers_be_confined() {
        let unit = unit("coros-node");
        let keys = keys(&unit);
        for (key, value) in [
            // One program that takes all memory does not end the node.
            ("OOMPolicy", "continue"),
            ("Delegate", "cpu memory pids"),
        ] {
            assert_eq!(keys.get(&("Service", key)), Some(&value), "{key}");
        }
        // They would keep workers from being confined, or from a graphics processor.
        for key in [
            "ProtectControlGroups",
            "SystemCallFilter",
            "PrivateDevices",
            "ProtectClock",
            "MemoryDenyWriteExecute",
        ] {
            assert!(!keys.contains_key(&("Service", key)), "{key}");
        }
    }

    fn what_the_units_start_is_a_command_line_that_there_is() {
        for name in UNITS {
            let unit = unit(name);
            let keys = keys(&unit);
            let start = keys[&("Service", "ExecStart")];
            let args = start
                .strip_prefix(INSTALLED)
                .expect("where it is installed");
            let folder = tempfile::tempdir().expect("a folder");
            let args = args.replace("%C", &folder.path().display().to_string());
            // Nothing begins where the file is not there.
            let nowhere = folder.path().join("nowhere");
            let run = Command::new(env!("CARGO_BIN_EXE_coros"))
                .args(args.split_whitespace())
                .arg("--config")
                .arg(nowhere)
                .env("XDG_CONFIG_HOME", folder.path())
                .output()
                .expect("coros starts");
            let said = String::from_utf8_lossy(&run.stderr);
            assert!(said.contains("there is no file"), "{said}");
        }
    }

    fn systemd_understands_the_units() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in UNITS {
            let path = folder.path().join(format!("{name}.service"));
            let unit = unit(name).replace(INSTALLED, env!("CARGO_BIN_EXE_coros"));
            std::fs::write(&path, unit).expect("a file");
            let checked = Command::new(ANALYZE)
                .args(["verify", "--man=no"])
                .arg(&path)
                .output()
                .expect("it starts");
            let said = String::from_utf8_lossy(&checked.stderr);
            let of_ours: Vec<_> = said.lines().filter(|it| it.contains(name)).collect();
            assert!(checked.status.success() && of_ours.is_empty(), "{said}");
        }
    }

    pub(super) fn run() {
        let missing = why_not("check units", &[ANALYZE, "--version"]);
        let test = |name, missing, test: fn()| {
            trial(name, missing, move || {
                test();
                Ok(())
            })
        };
        let trials = vec![
            test(
                "the_units_have_what_is_relied_on",
                None,
                the_units_have_what_is_relied_on,
            ),
            test(
                "the_unit_of_a_node_lets_workers_be_confined",
                None,
                the_unit_of_a_node_lets_workers_be_confined,
            ),
            test(
                "what_the_units_start_is_a_command_line_that_there_is",
                None,
                what_the_units_start_is_a_command_line_that_there_is,
            ),
            test(
                "systemd_understands_the_units",
                missing.as_deref(),
                systemd_understands_the_units,
            ),
        ];
        libtest_mimic::run(&Arguments::from_args(), trials).exit();
    }
}
