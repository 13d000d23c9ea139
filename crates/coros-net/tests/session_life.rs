//! The session's state machine with virtual time: what it owes, and when it gives up.

mod session;

use std::time::{Duration, Instant};

use coros_core::Exit;
use coros_core::remote::{CarryError, Request};
use coros_net::outbox::Batch;
use coros_net::session::{Asked, End, Input, Output, Session, Taken, Timing};
use coros_net::wire::{self, Envelope, Frame, Goodbye, Kind, Parsed};
use proptest::prelude::*;
use session::{
    CAPACITY, Link, MS, acknowledge, bytes, connected, kinds, lost, outputs, receive, value,
    waiting, written,
};

#[test]
fn answers_find_their_waiters() {
    let now = Instant::now();
    let mut link = connected(now);
    assert_eq!(link.deliver(7, b"a", &[], 1), None);
    assert_eq!(link.deliver(8, b"b", &[], 2), None);
    link.watch(9, "nine");
    let frames = written(&mut link, now);
    let correlations: Vec<u64> = frames
        .iter()
        .map(|(envelope, _)| envelope.correlation)
        .collect();
    assert_eq!(correlations, [3, 1, 2], "control first");

    let full = Err::<(), _>(CarryError::Full);
    receive(&mut link, now, Kind::Delivered, 2, &value(&full));
    receive(&mut link, now, Kind::Exited, 3, &value(&Exit::Finished));
    receive(
        &mut link,
        now,
        Kind::Delivered,
        1,
        &value(&Ok::<(), CarryError>(())),
    );
    // Neither a second answer nor one to a question never asked disturbs.
    receive(&mut link, now, Kind::Delivered, 1, &value(&full));
    receive(&mut link, now, Kind::Exited, 77, &value(&Exit::Finished));
    let expected = [
        Output::Delivered(2, full),
        Output::Exited("nine", Exit::Finished),
        Output::Delivered(1, Ok(())),
    ];
    assert_eq!(outputs(&mut link), expected);
}

#[test]
fn frames_queue_up_until_there_is_a_link() {
    let now = Instant::now();
    let mut link = waiting(now);
    assert_eq!(link.deadline(), None, "the dialler minds the time");
    link.message(7, b"a", &[]).unwrap();
    link.request(7, Request::Terminate);
    link.message(7, b"b", &[]).unwrap();
    link.link(now, [0; 2], CAPACITY as u64).unwrap();
    let frames = written(&mut link, now);
    assert_eq!(frames[0].0.kind, Kind::Request);
    assert_eq!([&frames[1].1[..], &frames[2].1[..]], [b"a", b"b"]);
}

#[test]
fn an_end_answers_in_the_order_of_the_questions() {
    let now = Instant::now();
    let mut link = connected(now);
    for n in 0..50 {
        assert_eq!(link.deliver(7, b"", &[], n), None);
        link.watch(7, "watch");
    }
    link.handle(now, Input::Gone("cut".into()));
    let delivers: Vec<_> = outputs(&mut link)
        .into_iter()
        .filter_map(|output| match output {
            Output::Delivered(n, Err(_)) => Some(n),
            _ => None,
        })
        .collect();
    assert_eq!(delivers, (0..50).collect::<Vec<_>>());
}

#[test]
fn an_end_answers_everything_once() {
    let now = Instant::now();
    let goodbyes = [Goodbye::Leaving, Goodbye::Closed].map(|it| value(&it));
    let said = |goodbye| {
        Input::Frame(Frame {
            envelope: Envelope {
                kind: Kind::Goodbye,
                target: 0,
                correlation: 0,
            },
            payload: goodbye,
            lent: &[],
        })
    };
    let ends: [(Input<'_>, End, &str); 6] = [
        (Input::Gone("cut".into()), End::Lost("cut".into()), "cut"),
        (Input::Leave, End::Closed, "this node has closed"),
        (Input::Close, End::Closed, "this node has ended the session"),
        (
            Input::Refuse("bad".into()),
            End::Lost("it broke the protocol: bad".into()),
            "it broke the protocol: bad",
        ),
        (said(&goodbyes[0]), End::Left, "it has left the network"),
        (said(&goodbyes[1]), End::Closed, "it has ended the session"),
    ];
    for (input, end, reason) in ends {
        let mut link = connected(now);
        assert_eq!(link.deliver(7, b"a", &[], 1), None);
        link.watch(9, "nine");
        link.handle(now, input);
        let expected = [
            Output::Delivered(1, Err(lost(reason))),
            Output::Exited("nine", Exit::Disconnected),
            Output::Ended(end),
        ];
        assert_eq!(outputs(&mut link), expected);

        // Nothing that comes later is left without an answer, and nothing is answered twice.
        assert_eq!(link.deliver(7, b"a", &[], 2), None);
        link.watch(9, "late");
        link.handle(now, Input::Lost("again".into()));
        receive(
            &mut link,
            now,
            Kind::Delivered,
            1,
            &value(&Ok::<(), CarryError>(())),
        );
        let expected = [
            Output::Delivered(2, Err(lost("the link has ended"))),
            Output::Exited("late", Exit::Disconnected),
        ];
        assert_eq!(outputs(&mut link), expected);
    }
}

#[test]
fn goodbye_comes_after_everything_else() {
    let now = Instant::now();
    let mut link = connected(now);
    link.message(7, b"a", &[]).unwrap();
    link.handle(now, Input::Leave);
    assert!(link.has_output());
    let mut batch = Batch::default();
    assert_eq!(link.take(now, &mut batch), Taken::Last);
    let bytes = bytes(&batch);
    let Parsed::Frame(first, length) = wire::parse(&bytes).unwrap() else {
        panic!()
    };
    assert_eq!(first.envelope.kind, Kind::Message);
    let Parsed::Frame(last, _) = wire::parse(&bytes[length..]).unwrap() else {
        panic!()
    };
    assert_eq!(wire::read_value(&last), Ok(Goodbye::Leaving));
    assert_eq!(link.take(now, &mut batch), Taken::Nothing);

    let mut never_linked = waiting(now);
    never_linked.message(7, b"a", &[]).unwrap();
    never_linked.handle(now, Input::Close);
    assert_eq!(outputs(&mut never_linked), [Output::Ended(End::Closed)]);
}

#[test]
fn a_frame_out_of_place_ends_the_link_and_says_so() {
    let now = Instant::now();
    for (kind, payload) in [
        (Kind::Hello, &b""[..]),
        (Kind::Delivered, b"\xff\xff"),
        (Kind::Exited, b""),
        (Kind::Goodbye, b"\x09"),
    ] {
        let mut link = connected(now);
        receive(&mut link, now, kind, 1, payload);
        let [Output::Ended(End::Lost(reason))] = &outputs(&mut link)[..] else {
            panic!("{kind:?}")
        };
        assert!(reason.starts_with("it broke the protocol: "), "{reason}");
        let frames = written(&mut link, now);
        let (envelope, payload) = frames.last().unwrap();
        let said = wire::read_value(&Frame {
            envelope: *envelope,
            payload,
            lent: &[],
        })
        .unwrap();
        assert!(matches!(said, Goodbye::Refused(_)), "{said:?}");
    }
}

#[test]
fn heartbeats_fill_silence_only() {
    let start = Instant::now();
    let mut link = connected(start);
    let mut now = start;
    for _ in 0..10 {
        now += 700 * MS;
        link.message(7, b"a", &[]).unwrap();
        assert_eq!(kinds(&mut link, now), [Kind::Message]);
        link.handle(now, Input::Heard);
        link.handle(now, Input::Timeout);
        assert_eq!(kinds(&mut link, now), []);
    }
    for _ in 0..10 {
        let due = link.deadline().unwrap();
        assert_eq!(due, now + 1000 * MS);
        now = due;
        link.handle(now, Input::Heard);
        link.handle(now, Input::Timeout);
        assert_eq!(kinds(&mut link, now), [Kind::Ping]);
    }
}

#[test]
fn a_silent_peer_is_lost_within_a_tenth_more_than_the_limit() {
    let start = Instant::now();
    let mut link = connected(start);
    link.watch(9, "nine");
    let mut now = start;
    while outputs(&mut link).is_empty() {
        now = link.deadline().unwrap();
        link.handle(now, Input::Timeout);
        written(&mut link, now);
        assert!(now <= start + 2200 * MS, "too late");
    }
    assert_eq!(now, start + 2200 * MS);
    assert!(link.is_away());
    // It waits for another link.
    assert_eq!(link.deadline(), Some(now + 5000 * MS));
    link.handle(now + 4999 * MS, Input::Timeout);
    assert_eq!(outputs(&mut link), []);
    link.handle(now + 5000 * MS, Input::Timeout);
    let [
        Output::Exited("nine", Exit::Disconnected),
        Output::Ended(End::Lost(why)),
    ] = &outputs(&mut link)[..]
    else {
        panic!("it is over");
    };
    assert_eq!(why, "no sign of life for 2.2s; no link again within 5.0s");
}

#[test]
fn without_grace_a_session_ends_with_its_link() {
    let now = Instant::now();
    let timing = Timing {
        grace: Duration::ZERO,
        ..Timing::default()
    };
    let mut link: Link = Session::new(now, "desk".into(), timing, CAPACITY);
    link.link(now, [0; 2], CAPACITY as u64).unwrap();
    link.handle(now, Input::Lost("cut".into()));
    assert_eq!(outputs(&mut link), [Output::Ended(End::Lost("cut".into()))]);
}

#[test]
fn standing_still_oneself_does_not_lose_the_peer() {
    let start = Instant::now();
    let mut link = connected(start);
    let resumed = start + Duration::from_secs(60);
    link.handle(resumed, Input::Timeout);
    assert_eq!(outputs(&mut link), []);
    link.handle(resumed + 5 * MS, Input::Heard);
    link.handle(resumed + 250 * MS, Input::Timeout);
    assert_eq!(outputs(&mut link), []);
    assert_eq!(link.deadline(), Some(resumed + 1000 * MS));
}

#[test]
fn pings_are_answered_and_heartbeats_are_not() {
    let now = Instant::now();
    let mut link = connected(now);
    receive(&mut link, now, Kind::Ping, 5, b"");
    receive(&mut link, now, Kind::Ping, 0, b"");
    receive(&mut link, now, Kind::Pong, 6, b"");
    let frames = written(&mut link, now);
    assert_eq!(
        frames,
        [(
            Envelope {
                kind: Kind::Pong,
                target: 0,
                correlation: 5
            },
            vec![]
        )]
    );
}

#[derive(Clone, Debug)]
enum Step {
    Deliver,
    Watch,
    AnswerDeliver(u64),
    AnswerWatch(u64),
    Advance(u64),
    Heard,
    Take,
    Lost,
    Link,
    Gone,
    Close,
    Goodbye,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Deliver),
        4 => Just(Step::Watch),
        4 => (0..30_u64).prop_map(Step::AnswerDeliver),
        4 => (0..30_u64).prop_map(Step::AnswerWatch),
        4 => (0..1500_u64).prop_map(Step::Advance),
        4 => Just(Step::Heard),
        4 => Just(Step::Take),
        2 => Just(Step::Lost),
        4 => Just(Step::Link),
        1 => Just(Step::Gone),
        1 => Just(Step::Close),
        1 => Just(Step::Goodbye),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn every_question_gets_exactly_one_answer(steps in steps()) {
        let mut now = Instant::now();
        let mut link: Session<u32, u32> =
            Session::new(now, "desk".into(), Timing::default(), CAPACITY);
        link.link(now, [0; 2], CAPACITY as u64).unwrap();
        let mut asked = 0_u32;
        let mut answers = Vec::new();
        let mut ends = 0;
        let ok = value(&Ok::<(), CarryError>(()));
        let finished = value(&Exit::Finished);
        let goodbye = value(&Goodbye::Leaving);
        for step in steps.iter().cloned().chain([Step::Gone]) {
            let frame = |kind, correlation, payload| {
                Input::Frame(Frame { envelope: Envelope { kind, target: 0, correlation }, payload, lent: &[] })
            };
            match step {
                Step::Deliver => {
                    asked += 1;
                    prop_assert!(link.deliver(7, b"a", &[], asked).is_none());
                }
                Step::Watch => {
                    asked += 1;
                    link.watch(7, asked);
                }
                Step::AnswerDeliver(n) => link.handle(now, frame(Kind::Delivered, n, &ok)),
                Step::AnswerWatch(n) => link.handle(now, frame(Kind::Exited, n, &finished)),
                Step::Advance(by) => {
                    now += Duration::from_millis(by);
                    link.handle(now, Input::Timeout);
                }
                Step::Heard => link.handle(now, Input::Heard),
                Step::Take => {
                    link.take(now, &mut Batch::default());
                }
                Step::Lost => link.handle(now, Input::Lost("cut".into())),
                Step::Link if link.is_away() => {
                    link.link(now, [0; 2], CAPACITY as u64).unwrap();
                }
                Step::Link => {}
                Step::Gone => link.handle(now, Input::Gone("dead".into())),
                Step::Close => link.handle(now, Input::Close),
                Step::Goodbye => link.handle(now, frame(Kind::Goodbye, 0, &goodbye)),
            }
            while let Some(output) = link.poll() {
                match output {
                    Output::Delivered(n, _) | Output::Exited(n, _) => answers.push(n),
                    Output::Ended(_) => ends += 1,
                    _ => {}
                }
            }
        }
        answers.sort_unstable();
        prop_assert_eq!(answers, (1..=asked).collect::<Vec<_>>());
        prop_assert_eq!(ends, 1);
    }
}

/// Lets a link be idle for so long that it may be closed, and the peer ask for that.
fn agreed(link: &mut Link, mut now: Instant) -> Instant {
    let until = now + Timing::default().idle;
    while now < until {
        now += Timing::default().heartbeat;
        link.handle(now, Input::Heard);
        link.handle(now, Input::Timeout);
        written(link, now);
    }
    outputs(link);
    receive(link, now, Kind::Rest, 0, &[]);
    assert_eq!(outputs(link), [Output::Idle(Asked::Peer)]);
    link.handle(now, Input::Rest(Asked::Peer));
    assert_eq!(kinds(link, now), [Kind::Rest]);
    now
}

#[test]
fn a_link_that_is_closed_as_agreed_is_not_broken() {
    let timing = Timing {
        grace: Duration::ZERO,
        ..Timing::default()
    };
    let set = || {
        let now = Instant::now();
        let mut link = Link::new(now, "desk".into(), timing, CAPACITY);
        link.link(now, [0; 2], CAPACITY as u64).expect("the first");
        let now = agreed(&mut link, now);
        (link, now)
    };
    let closed = |link: &mut Link, now| {
        link.handle(now, Input::Lost("it closed the connection".into()));
        outputs(link)
    };
    let (mut link, now) = set();
    assert_eq!(closed(&mut link, now), [Output::Rested]);

    // What was sent before that came needs another link.
    let (mut link, now) = set();
    link.message(1, b"crosses", &[]).expect("there is room");
    assert_eq!(kinds(&mut link, now), [Kind::Message]);
    assert_eq!(closed(&mut link, now), [Output::Rested, Output::Woken]);
    link.link(now, [0; 2], CAPACITY as u64).expect("another");
    assert_eq!(kinds(&mut link, now), [Kind::Message]);

    // The peer has gone on with the link: it had something to say, or has read what came later.
    let (mut link, now) = set();
    link.handle(now, Input::Used);
    let ended = closed(&mut link, now);
    assert!(matches!(ended[..], [Output::Ended(_)]), "{ended:?}");
    let (mut link, now) = set();
    link.message(1, b"crosses", &[]).expect("there is room");
    kinds(&mut link, now);
    acknowledge(&mut link, now, [0, 1]);
    let ended = closed(&mut link, now);
    assert!(matches!(ended[..], [Output::Ended(_)]), "{ended:?}");
}
