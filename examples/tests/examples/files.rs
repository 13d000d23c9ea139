//! send_file.

use std::fs;

use crate::program::{Program, run};

#[test]
fn send_file_sends_fetches_and_deletes() {
    let [inbox, home] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("small"), b"hello").unwrap();
    fs::write(path("large"), vec![7; 600 << 10]).unwrap();
    fs::create_dir(path("back")).unwrap();
    let (server, at) = Program::serve(
        "send_file",
        &[
            "--serve",
            inbox.path().to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
        ],
    );
    let at = at.to_string();

    let lines = run("send_file", ["--to", &at, &path("small"), &path("large")]).success();
    assert_eq!(
        lines,
        [
            "small: sent 5 bytes",
            "614400 bytes in 3 pieces",
            "large: sent 614400 bytes"
        ]
    );
    assert_eq!(server.line(), "small has come: 5 bytes, 5 of them now");
    assert_eq!(
        server.line(),
        "large has come: 614400 bytes, 614400 of them now"
    );
    assert_eq!(
        fs::read(inbox.path().join("large")).unwrap(),
        vec![7; 600 << 10]
    );

    let back = path("back");
    let args = ["--to", &at, &path("small"), "--back", &back, "--delete"];
    let copy = home.path().join("back").join("small");
    assert_eq!(
        run("send_file", args).success(),
        [
            "small: the same is there already".to_owned(),
            format!("small: fetched 5 bytes into {}", copy.display()),
            "small: deleted there".to_owned(),
        ]
    );
    assert_eq!(server.line(), "small has come: 5 bytes, 0 of them now");
    assert_eq!(fs::read(copy).unwrap(), b"hello");
    assert!(!inbox.path().join("small").exists());
}

#[test]
fn send_file_says_what_is_wrong() {
    let error = run("send_file", ["--to", "127.0.0.1:1", "x"]).failure(1);
    assert!(
        error.contains("does `send_file --serve` run there?"),
        "{error}"
    );
    let error = run("send_file", ["x"]).failure(2);
    assert!(error.contains("--to"), "{error}");
    // Before anybody is dialled.
    for (files, says) in [
        (["a", "d/a"], "a and d/a would both be \"a\" there"),
        (["a", ".."], "cannot send ..: this is no name of a file"),
    ] {
        let error = run("send_file", [&["--to", "127.0.0.1:1"], &files[..]].concat()).failure(2);
        assert!(error.contains(says), "{error}");
    }
}
