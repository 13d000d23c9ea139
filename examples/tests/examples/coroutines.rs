//! The examples that have no input: coroutines and messages of one process.

use crate::program::{run, unread};

const NONE: [&str; 0] = [];

/// The number at the end of a line.
#[track_caller]
fn last_number(line: &str) -> f64 {
    let number = line.rsplit(' ').next().and_then(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("no number at the end of `{line}`"))
}

#[test]
fn tut_coros_collects_what_each_returns() {
    let lines = run("tut_coros", NONE).success();
    assert!(
        lines[0].starts_with("created 10 coroutines in "),
        "{lines:?}"
    );
    assert_eq!(lines.last().unwrap(), "the sum of what they returned is 45");
}

#[test]
fn tut_coros_makes_many() {
    let lines = run("tut_coros", ["100000", "--sleep", "20"]).success();
    assert_eq!(
        lines.last().unwrap(),
        "the sum of what they returned is 4999950000"
    );
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for (name, argument, why) in [
        ("tut_coros", "many", "invalid digit"),
        ("tut_client_server", "-1", "unexpected argument"),
        ("tut_channel", "2", "2 is not in 3..=1000000000"),
        ("hotswap", "1.5", "invalid digit"),
        ("perf", "x", "invalid digit"),
        ("categories", "x", "invalid digit"),
        ("udp", "x", "invalid digit"),
        ("webserver", "70000", "70000 is not in 0..=65535"),
        ("pipe_csum", "--program", "a value is required"),
        (
            "pipe_grep",
            "pattern",
            "required arguments were not provided",
        ),
        ("socket_afile", "--file", "unexpected argument"),
    ] {
        let error = run(name, [argument]).failure(2);
        assert!(error.contains(why), "{name} {argument}: {error}");
    }
}

#[test]
fn every_example_explains_itself() {
    for name in [
        "categories",
        "chat_sock_client",
        "chat_sock_server",
        "hotswap",
        "perf",
        "pipe_csum",
        "pipe_grep",
        "socket_afile",
        "tut_channel",
        "tut_client_server",
        "tut_coros",
        "tut_sock_client",
        "tut_sock_server",
        "udp",
        "webserver",
    ] {
        let lines = run(name, ["--help"]).success();
        assert!(
            lines[0].contains(' ') && !lines[0].starts_with("Usage: "),
            "{name}: {lines:?}"
        );
        assert!(
            lines.iter().any(|line| line.starts_with("Usage: ")),
            "{name}: {lines:?}"
        );
    }
}

#[test]
fn output_that_nobody_reads_ends_a_program_quietly() {
    for (name, args) in [
        ("categories", &[][..]),
        ("hotswap", &[]),
        ("perf", &["100", "10", "--round-trips", "10"]),
        ("tut_channel", &[]),
        ("tut_client_server", &[]),
        ("tut_coros", &["10"]),
        ("udp", &["2"]),
        ("webserver", &["0"]),
    ] {
        let output = unread(name, args);
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        assert_eq!(output.stderr, "", "{name}");
    }
    let help = unread("perf", &["--help"]);
    assert!(help.status.success(), "{help:?}");
}

#[test]
fn tut_client_server_answers_every_request() {
    let mut lines = run("tut_client_server", ["4", "3"]).success();
    assert_eq!(lines.pop().unwrap(), "the server has answered 12 requests");
    lines.sort_unstable();
    let expected: Vec<_> = (0..4)
        .flat_map(|client| (0..3).map(move |n| (client, n)))
        .map(|(client, n)| format!("client {client}: the square of {n} is {}", n * n))
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn tut_channel_reaches_its_subscribers() {
    let lines = run("tut_channel", ["1001"]).success();
    assert_eq!(
        lines,
        [
            "1 went to 4 coroutines",
            "the first three are [1, 2, 3]",
            "4 went to 3 coroutines",
            "sum 501501",
            "average 501",
            "sum of squares up to 1000² 333833500",
        ]
    );
}

#[test]
fn hotswap_loses_no_message() {
    let lines = run("hotswap", ["1000"]).success();
    assert_eq!(
        lines,
        [
            "sum: 1000 numbers, their sum is 500500",
            "refused: 1000 numbers would be lost",
            "1000 more numbers wait in the mailbox",
            "sum_and_squares: 2000 numbers, their sum is 2001000, the squares of the latest add \
             up to 2334833500",
            "handled 2000 numbers in all",
        ]
    );
}

#[test]
fn perf_prints_rates() {
    let lines = run("perf", ["100", "50", "--round-trips", "200"]).success();
    let expected = [
        "coroutines: 100 in ",
        "messages: 5000 in ",
        "round trips: 200 in ",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, start) in lines.iter().zip(expected) {
        assert!(line.starts_with(start), "{line}");
        assert!(last_number(line.trim_end_matches("/s")) > 0.0, "{line}");
    }
}

#[test]
fn categories_handles_alarms_first() {
    let lines = run("categories", ["7"]).success();
    assert_eq!(
        lines,
        [
            "open, with 7 parcels and 2 alarms waiting",
            "alarm: parcel 3 smells of smoke",
            "alarm: parcel 6 smells of smoke",
            "parcel 1",
            "parcel 2",
            "parcel 3",
            "parcel 4",
            "parcel 5",
            "parcel 6",
            "parcel 7",
            "7 parcels handled",
        ]
    );
}
