//! `coros demo` counts right and prints what it should.

mod common;

use common::{count_words, object, path_text, run, words};

#[test]
fn the_result_equals_an_independent_count() {
    let (folder, texts) = common::corpus(60, 3000);
    let ended = run(&["demo", &path_text(folder.path()), "--json", "--verify"]);
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    let object = object(&ended.stdout);
    assert_eq!(words(&object), count_words(&texts));
    assert_eq!(object["files"], 60);
    assert_eq!(object["bytes"], texts.iter().map(Vec::len).sum::<usize>());
    assert!(
        object["seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0)
    );
    assert_eq!(object["unreadable"], serde_json::json!([]));
    let jobs = object["jobs_by_worker"].as_object().unwrap();
    assert!(
        jobs.keys().all(|name| name == "w1" || name == "w2"),
        "{jobs:?}"
    );
    assert_eq!(jobs.values().map(|n| n.as_u64().unwrap()).sum::<u64>(), 60);
    assert!(
        ended
            .stderr
            .iter()
            .any(|line| line.contains("gives the same result"))
    );
    assert!(
        ended
            .stderr
            .iter()
            .any(|line| line.starts_with("60 of 60 files")),
        "a last line"
    );
}

#[test]
fn the_table_has_the_most_frequent_words() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "the cat, the hat, THE END").unwrap();
    std::fs::write(folder.path().join("b"), "cat").unwrap();
    let ended = run(&[
        "demo",
        &path_text(folder.path()),
        "--top",
        "2",
        "--workers",
        "1",
    ]);
    assert_eq!(ended.status.code(), Some(0));
    let lines: Vec<Vec<&str>> = ended
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[..4],
        [
            vec!["count", "word"],
            vec!["3", "the"],
            vec!["2", "cat"],
            vec![]
        ]
    );
    assert_eq!(lines[4], ["4", "different", "words"]);
    assert_eq!(lines[5], ["2", "files"]);
    assert_eq!(lines[6][..2], ["28", "bytes"]);
    assert_eq!(lines[7], ["2", "jobs", "by", "w1"]);
    assert_eq!(lines.len(), 8);
}

#[test]
fn empty_folders_and_files_are_fine() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_text(folder.path());
    let ended = run(&["demo", &path, "--json", "--verify"]);
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    assert_eq!(object(&ended.stdout)["files"], 0);
    let note = format!("coros demo: no files below {path}");
    assert!(ended.stderr.contains(&note), "{:#?}", ended.stderr);
    let ended = run(&["demo", &path]);
    assert_eq!((ended.status.code(), &*ended.stdout), (Some(0), ""));
    assert_eq!(ended.stderr.last(), Some(&note), "and no rate of nothing");
    std::fs::write(folder.path().join("empty"), "").unwrap();
    let ended = run(&["demo", &path, "--json", "--verify"]);
    assert_eq!(
        (ended.status.code(), &object(&ended.stdout)["files"]),
        (Some(0), &1.into())
    );
}

#[test]
fn a_file_with_more_words_than_fit_in_a_message_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("words");
    let mut text = Vec::new();
    for n in 0..200_000u32 {
        text.extend((0..5).map(|i| b'a' + (n / 26u32.pow(i) % 26) as u8));
        text.push(b'\n');
    }
    std::fs::write(&file, &text).unwrap();
    let ended = run(&["demo", &path_text(&file), "--json", "--verify"]);
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    assert_eq!(words(&object(&ended.stdout)).len(), 200_000);
}

#[cfg(unix)]
#[test]
fn names_and_texts_need_not_be_unicode() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    std::fs::write(folder.path().join(name), b"caf\xe9 au lait").unwrap();
    let ended = run(&["demo", &path_text(folder.path()), "--json"]);
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    let expected = ["au", "caf", "lait"].map(|word| (word.to_owned(), 1));
    assert_eq!(words(&object(&ended.stdout)), expected);
}

#[test]
fn without_a_path_the_sources_of_the_checkout_are_counted() {
    let checkout = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let inside = checkout.join("crates");
    let demo = common::Demo::start_with(&["demo", "--json"], |demo| demo.current_dir(inside));
    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    let object = object(&ended.stdout);
    assert!(words(&object).iter().any(|(word, _)| word == "coroutine"));
    // Far fewer than there are in `target`.
    assert!(object["bytes"].as_u64().unwrap() < 50_000_000);
}

#[test]
fn help_and_version_are_on_standard_output() {
    for args in [&["--help"][..], &["demo", "--help"], &["--version"]] {
        let ended = run(args);
        assert_eq!((ended.status.code(), ended.stderr.len()), (Some(0), 0));
        assert!(ended.stdout.contains("coros"), "{}", ended.stdout);
    }
    assert_eq!(run(&["demo", "--workers", "none"]).status.code(), Some(2));
}
