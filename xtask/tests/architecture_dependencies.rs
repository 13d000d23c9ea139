//! The table of dependencies in ARCHITECTURE.md says what the manifests say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the checkout")
}

fn read(name: &str) -> String {
    let path = root().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The second column of a row, from who uses it: `core, net, (cli)`.
fn users(of: &BTreeMap<String, bool>) -> String {
    let names = |in_tests: bool| {
        of.iter()
            .filter(move |(_, only_tests)| **only_tests == in_tests)
            .map(move |(name, _)| {
                if in_tests {
                    format!("({name})")
                } else {
                    name.clone()
                }
            })
    };
    names(false)
        .chain(names(true))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Dependency -> who uses it, as the manifests have it.
fn from_manifests() -> BTreeMap<String, String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");

    let mut used: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a package has a name");
        let short = name.strip_prefix("coros-").unwrap_or(name);
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            if dependency["path"].is_string() {
                continue;
            }
            let in_tests = dependency["kind"] == "dev";
            let of = used
                .entry(dependency["name"].as_str().expect("a name").to_owned())
                .or_default();
            *of.entry(short.to_owned()).or_insert(true) &= in_tests;
        }
    }
    used.into_iter()
        .map(|(dependency, of)| (dependency, users(&of)))
        .collect()
}

/// Dependency -> who uses it, as the table has it; each with a reason.
fn from_table() -> BTreeMap<String, String> {
    let text = read("ARCHITECTURE.md");
    let mut rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| dependency |"))
        .take_while(|line| line.starts_with('|'));
    rows.next()
        .expect("ARCHITECTURE.md has a table `| dependency | used by | why |`");
    rows.next().expect("the line below the head");
    let mut table = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [dependency, users, why] = cells[..] else {
            panic!("three columns: {row}")
        };
        assert!(!why.is_empty(), "{dependency} has no reason");
        let dependency = dependency.trim_matches('`').to_owned();
        assert!(
            table.insert(dependency, users.to_owned()).is_none(),
            "twice in the table: {row}"
        );
    }
    table
}

#[test]
fn the_table_of_dependencies_says_what_the_manifests_say() {
    let manifests = from_manifests();
    let table = from_table();
    let mut wrong = Vec::new();
    for (dependency, users) in &manifests {
        match table.get(dependency) {
            None => wrong.push(format!("missing:  | `{dependency}` | {users} | why? |")),
            Some(told) if told != users => {
                wrong.push(format!("{dependency}: used by `{users}`, not by `{told}`"));
            }
            Some(_) => {}
        }
    }
    for dependency in table.keys().filter(|name| !manifests.contains_key(*name)) {
        wrong.push(format!("{dependency}: nobody uses it any more"));
    }
    assert!(
        wrong.is_empty(),
        "ARCHITECTURE.md, Dependencies:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn each_version_in_the_root_manifest_is_used() {
    let manifest = read("Cargo.toml");
    let listed: BTreeSet<&str> = manifest
        .lines()
        .skip_while(|line| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .filter(|name| !name.starts_with("coros"))
        .collect();
    assert!(listed.contains("tokio"), "{listed:?}");
    let manifests = from_manifests();
    let unused: Vec<&&str> = listed
        .iter()
        .filter(|name| !manifests.contains_key(**name))
        .collect();
    assert!(
        unused.is_empty(),
        "in [workspace.dependencies], but no crate uses it: {unused:?}"
    );
}
