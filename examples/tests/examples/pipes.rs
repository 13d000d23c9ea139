//! pipe_csum beside `sha1sum`, pipe_grep beside `grep | wc`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program::run;

/// What the shell prints, as lines.
fn shell(script: &str, args: &[&Path]) -> Vec<String> {
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn pipe_csum_agrees_with_sha1sum() {
    let folder = tempfile::tempdir().unwrap();
    // Far more than a pipe holds, every byte value, no byte at all, and a name with a space.
    let large: Vec<u8> = (0..5_000_000_u32)
        .flat_map(|n| n.wrapping_mul(n).to_le_bytes())
        .collect();
    let files = [
        write(folder.path(), "large", &large),
        write(folder.path(), "empty", b""),
        write(folder.path(), "a name", b"hello\n"),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("pipe_csum.rs"),
    ];
    let expected = shell("sha1sum \"$@\"", &files.each_ref().map(PathBuf::as_path));
    assert_eq!(run("pipe_csum", &files).success(), expected);
    assert_eq!(
        expected[2],
        format!(
            "f572d396fae9206628714fb2ce00f72e94f2258f  {}",
            files[2].display()
        )
    );

    let expected = shell("sha256sum \"$1\"", &[&files[0]]);
    let args = [Path::new("--program"), Path::new("sha256sum"), &files[0]];
    assert_eq!(run("pipe_csum", args).success(), expected);
}

#[test]
fn pipe_csum_of_many_files() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..100)
        .map(|n| write(folder.path(), &n.to_string(), n.to_string().as_bytes()))
        .collect();
    let paths: Vec<_> = files.iter().map(PathBuf::as_path).collect();
    assert_eq!(
        run("pipe_csum", &files).success(),
        shell("sha1sum \"$@\"", &paths)
    );
}

#[test]
fn pipe_csum_names_what_is_wrong_and_does_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let good = write(folder.path(), "good", b"");
    let output = run(
        "pipe_csum",
        [&folder.path().join("none"), folder.path(), &good],
    );
    let sum = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    assert_eq!(output.lines, [format!("{sum}  {}", good.display())]);
    let error = output.failure(1);
    assert!(error.contains("none: No such file"), "{error}");
    assert!(
        error.contains("cannot read the file: Is a directory"),
        "{error}"
    );
    assert!(error.contains("2 of 3 files failed"), "{error}");

    let good = good.to_str().unwrap();
    let error = run("pipe_csum", ["--program", "no-such-sum", good]).failure(1);
    assert!(error.contains("cannot start `no-such-sum`"), "{error}");
    let error = run("pipe_csum", ["--program", "false", good]).failure(1);
    assert!(error.contains("false failed, exit status: 1"), "{error}");
}

/// The logs of this machine, and one that every machine has: what this test has made.
fn logs(folder: &Path) -> Vec<PathBuf> {
    let made: String = (0..300_000_usize)
        .map(|n| {
            let level = ["INFO", "WARN", "ERROR"][n % 7 % 3];
            format!(
                "2026-11-22 10:{:02}:{:02} {level} request {n} took {} ms\n",
                n / 60 % 60,
                n % 60,
                n * n % 997
            )
        })
        .collect();
    let mut logs = vec![write(folder, "made.log", made.as_bytes())];
    let readable = |path: &PathBuf| std::fs::read(path).is_ok_and(|bytes| !bytes.is_empty());
    let real = [
        "dpkg.log",
        "alternatives.log",
        "bootstrap.log",
        "syslog",
        "install.log",
    ];
    logs.extend(
        real.iter()
            .map(|name| Path::new("/var/log").join(name))
            .filter(readable),
    );
    logs
}

#[test]
fn pipe_grep_agrees_with_grep_and_wc() {
    let folder = tempfile::tempdir().unwrap();
    for log in logs(folder.path()) {
        for pattern in [
            "status installed",
            "ERROR",
            "7 m",
            "[0-9]:1",
            "nowhere to be found",
            "-",
        ] {
            let pattern = Path::new(pattern);
            let args = [pattern, &log];
            let expected = shell("grep -e \"$1\" \"$2\" | wc -l", &args);
            assert_eq!(run("pipe_grep", args).success(), expected, "{args:?}");
        }
        let expected = shell("grep -i -e error \"$1\" | wc -l", &[&log]);
        let args = [Path::new("-i"), Path::new("error"), &log];
        assert_eq!(run("pipe_grep", args).success(), expected, "{args:?}");
    }
}

#[test]
fn pipe_grep_names_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let log = write(folder.path(), "log", b"one\ntwo\n");
    let log = log.to_str().unwrap();
    let error = run("pipe_grep", ["--grep", "no-such-grep", "o", log]).failure(1);
    assert!(error.contains("cannot start `no-such-grep`"), "{error}");
    let error = run("pipe_grep", ["[", log]).failure(1);
    assert!(
        error.contains("grep failed, exit status: 2: grep: "),
        "{error}"
    );
    let error = run("pipe_grep", ["o", "/nowhere/log"]).failure(1);
    assert!(error.contains("cannot open /nowhere/log"), "{error}");

    // `sh -e FILE` in place of `grep -e PATTERN`: it does not end.
    let script = write(folder.path(), "script", b"exec sleep 1000\n");
    let args = [
        "--limit",
        "1",
        "--grep",
        "sh",
        script.to_str().unwrap(),
        log,
    ];
    let error = run("pipe_grep", args).failure(1);
    assert!(error.contains("not done within 1s"), "{error}");
}
