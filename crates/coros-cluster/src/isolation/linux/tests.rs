use std::fs;

use super::*;

/// What of this process isolation changes.
fn state() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap();
    let status = read("/proc/thread-self/status");
    let held = |line: &&str| {
        ["NoNewPrivs", "Seccomp", "Threads", "Cap"]
            .iter()
            .any(|key| line.starts_with(key))
    };
    let mut state: Vec<String> = status.lines().filter(held).map(str::to_owned).collect();
    state.extend(
        ["limits", "cgroup", "oom_score_adj"].map(|file| read(&format!("/proc/self/{file}"))),
    );
    state
}

#[test]
fn what_there_is_is_found_without_using_it() {
    let before = state();
    let checks = probe();
    assert_eq!(state(), before);
    for name in [
        "user",
        "rlimits",
        "privileges",
        "landlock: files",
        "seccomp",
        "cgroup: memory",
    ] {
        let check = checks.iter().find(|check| check.name == name);
        let check = check.unwrap_or_else(|| panic!("{name} is not in {checks:#?}"));
        assert!(!check.detail.is_empty(), "{check:?}");
    }
}

#[test]
fn what_is_refused_is_told_with_what_to_do() {
    let told = tried::<1>("it", || Err(failed("trying it")("the system refuses it")));
    let [check] = &told[..] else {
        panic!("{told:?}")
    };
    assert!(!check.available && check.name == "it", "{check:?}");
    let why = "trying it: the system refuses it; let the node make such calls";
    assert!(check.detail.contains(why), "{check:?}");
}

#[test]
fn who_is_root_is_told() {
    let check = user(true);
    assert!(
        !check.available && check.detail.contains("user of its own"),
        "{check:?}"
    );
    assert!(user(false).available);
}
