//! The unit of systemd in `packaging/`.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

/// Checks units, where systemd is installed; it need not run.
const ANALYZE: &str = "systemd-analyze";
const INSTALLED: &str = "/usr/local/bin/coros";

fn unit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/coros-node.service");
    std::fs::read_to_string(path).expect("the unit is there")
}

#[test]
fn the_unit_has_what_the_node_relies_on() {
    let unit = unit();
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
    for (key, value) in [
        // SIGTERM is for the node alone, and means that it drains.
        ("KillMode", "mixed"),
        // One program that takes all memory does not end the node.
        ("OOMPolicy", "continue"),
        ("NoNewPrivileges", "yes"),
        ("DynamicUser", "yes"),
        ("CacheDirectory", "coros-node"),
        ("Delegate", "cpu memory pids"),
        ("RestartPreventExitStatus", "2"),
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
    // What it starts is a command line that there is.
    let start = keys[&("Service", "ExecStart")];
    let args = start
        .strip_prefix(INSTALLED)
        .expect("where it is installed");
    let folder = tempfile::tempdir().expect("a folder");
    let args = args.replace("%C", &folder.path().display().to_string());
    let check = Command::new(env!("CARGO_BIN_EXE_coros"))
        .args(args.split_whitespace())
        .arg("--check")
        .env("XDG_CONFIG_HOME", folder.path())
        .output()
        .expect("coros starts");
    assert!(check.status.success(), "{check:?}");
}

#[test]
fn systemd_understands_the_unit() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("coros-node.service");
    let unit = unit().replace(INSTALLED, env!("CARGO_BIN_EXE_coros"));
    std::fs::write(&path, unit).expect("a file");
    let checked = Command::new(ANALYZE)
        .args(["verify", "--man=no"])
        .arg(&path)
        .output();
    let checked = match checked {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: there is no {ANALYZE}");
            return;
        }
        checked => checked.expect("it starts"),
    };
    let said = String::from_utf8_lossy(&checked.stderr);
    let of_ours: Vec<_> = said
        .lines()
        .filter(|it| it.contains("coros-node"))
        .collect();
    assert!(checked.status.success() && of_ours.is_empty(), "{said}");
}
