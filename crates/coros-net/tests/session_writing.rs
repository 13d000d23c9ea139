//! What a session writes, and how much may wait for that.

mod session;

use std::time::Instant;

use coros_core::Exit;
use coros_core::remote::{CarryError, CodecError};
use coros_net::outbox::Batch;
use coros_net::session::{End, Input, Output, Session, Taken, Timing};
use coros_net::wire::{self, Kind, Parsed};
use session::{CAPACITY, Link, acknowledge, bytes, connected, kinds, outputs, receive, written};

#[test]
fn a_full_outbox_gives_everything_back() {
    let now = Instant::now();
    let mut link: Link = Session::new(now, "desk".into(), Timing::default(), 1000);
    link.link(now, [0; 2], CAPACITY as u64).unwrap();
    link.message(7, &[0; 5000], &[])
        .expect("anything fits when nothing waits");
    assert!(link.message(7, b"a", &[]).is_err());
    assert!(link.deliver(8, b"a", &[], 1).is_some(), "it waits");
    link.watch(9, "control is not held up");
    let mut batch = Batch::default();
    link.take(now, &mut batch);
    link.take(now, &mut batch);
    assert!(
        batch.is_empty() && !link.has_room(1),
        "what is not acknowledged counts"
    );
    acknowledge(&mut link, now, [0, 1]);
    assert_eq!(kinds(&mut link, now), [Kind::Deliver]);
    assert_eq!(outputs(&mut link), []);
}

#[test]
fn senders_wait_for_the_writer_of_a_link() {
    const MANY: usize = 64 << 20;
    let now = Instant::now();
    let mut link: Link = Session::new(now, "desk".into(), Timing::default(), MANY);
    let mut target = 0;
    // Each to another coroutine, so that none of these has too much.
    let mut fill = |link: &mut Link| {
        let mut bytes = 0;
        loop {
            target += 1;
            if link.message(target, &[0; 1000], &[]).is_err() {
                return bytes;
            }
            bytes += 1000;
        }
    };
    let unlinked = fill(&mut link);
    assert!(
        unlinked <= wire::WINDOW,
        "the peer has yet to say what it bears"
    );

    link.link(now, [0; 2], MANY as u64).unwrap();
    let mut batch = Batch::default();
    let mut rounds = 0;
    while link.take(now, &mut batch) != Taken::Nothing {
        rounds += 1;
        assert!(rounds < 100);
    }
    let first = fill(&mut link);
    assert!(
        (wire::WINDOW / 2..=wire::WINDOW).contains(&first),
        "{first}"
    );
    assert!(link.deliver(1, b"a", &[], 1).is_some(), "it waits");
    link.wait(2, b"b", &[], 2);
    link.answer_question(1, &[0; 1000], &[])
        .expect("an answer cannot wait");
    // There is room when the writer has taken most, and then for those who wait first.
    let (mut second, mut takes) = (0, 0);
    while second == 0 {
        assert_eq!(link.poll(), None, "it waits");
        assert_eq!(link.take(now, &mut batch), Taken::Batch);
        takes += 1;
        second = fill(&mut link);
    }
    assert_eq!(link.poll(), Some(Output::Delivered(2, Ok(()))));
    assert!(takes > 1 && second > wire::WINDOW / 2, "{second}");
    let mut kinds = Vec::new();
    while link.take(now, &mut batch) != Taken::Nothing {
        kinds.extend(frames(&bytes(&batch)));
    }
    let place = kinds.iter().position(|kind| *kind == Kind::Deliver);
    let before = kinds.len() - 2 - second / 1000;
    assert_eq!(place, Some(before), "what has waited comes first");
}

#[test]
fn answers_that_keep_coming_leave_senders_their_turn() {
    const MANY: usize = 64 << 20;
    let now = Instant::now();
    let mut link: Link = Session::new(now, "desk".into(), Timing::default(), MANY);
    link.link(now, [0; 2], MANY as u64).unwrap();
    let mut batch = Batch::default();
    let mut target = 0;
    while link.message(target, &[0; 1000], &[]).is_ok() {
        target += 1;
    }
    link.wait(target, b"a", &[], 1);
    for _ in 0..10 {
        // More than the writer takes, so that no less waits than before.
        for _ in 0..400 {
            let answered = link.answer_question(1, &[0; 1000], &[]);
            answered.expect("an answer cannot wait");
        }
        assert_eq!(link.take(now, &mut batch), Taken::Batch);
    }
    assert_eq!(outputs(&mut link), [Output::Delivered(1, Ok(()))]);
}

#[test]
fn what_is_large_is_not_overtaken_for_ever_by_what_is_small() {
    let now = Instant::now();
    let mut link: Link = Session::new(now, "desk".into(), Timing::default(), 20_000);
    link.link(now, [0; 2], CAPACITY as u64).unwrap();
    let mut batch = Batch::default();
    // The peer has what was sent two rounds before.
    let mut sent = [0, 0, 0];
    for round in 0..20 {
        if round == 3 {
            link.wait(1, &[0; 12_000], &[], 1);
        }
        let small = link.message(2 + round, &[0; 5000], &[]).is_ok();
        link.take(now, &mut batch);
        sent = [sent[1], sent[2], sent[2] + u64::from(small)];
        acknowledge(&mut link, now, [0, sent[0]]);
        if outputs(&mut link) == [Output::Delivered(1, Ok(()))] {
            return;
        }
    }
    panic!("it waits for ever");
}

/// A session with so much to write that who sends has to wait for the writer.
fn busy(now: Instant) -> Link {
    let mut link: Link = Session::new(now, "desk".into(), Timing::default(), 64 << 20);
    let linked = link.link(now, [0; 2], 64 << 20);
    linked.expect("nothing has been sent yet");
    let mut target = 100;
    while link.message(target, &[0; 1000], &[]).is_ok() {
        target += 1;
    }
    link
}

#[test]
fn those_who_wait_have_one_turn_each() {
    let now = Instant::now();
    let mut link = busy(now);
    for number in 1..=50 {
        link.wait(1, &[0; 1000], &[], number);
    }
    link.wait(2, b"a", &[], 100);
    link.wait(3, b"a", &[], 101);
    let mut batch = Batch::default();
    let mut told = Vec::new();
    while link.take(now, &mut batch) != Taken::Nothing {
        told.extend(outputs(&mut link));
    }
    let told: Vec<_> = told
        .iter()
        .map(|output| match output {
            Output::Delivered(number, Ok(())) => *number,
            other => panic!("{other:?}"),
        })
        .collect();
    let turns: Vec<_> = [1, 100, 101].into_iter().chain(2..=50).collect();
    assert_eq!(told, turns);
}

#[test]
fn who_waits_for_the_writer_does_not_when_the_link_is_gone() {
    let now = Instant::now();
    let mut link = busy(now);
    link.wait(1, b"a", &[], 1);
    link.handle(now, Input::Lost("cut".into()));
    let told = outputs(&mut link);
    assert!(
        matches!(told[..], [Output::Broken(_), Output::Delivered(1, Ok(()))]),
        "{told:?}"
    );
    assert!(link.message(2, b"a", &[]).is_ok());
}

#[test]
fn who_gives_up_is_in_nobodys_way() {
    let now = Instant::now();
    let mut link: Link = Session::new(now, "desk".into(), Timing::default(), 10_000);
    link.link(now, [0; 2], CAPACITY as u64).unwrap();
    link.message(1, &[0; 5000], &[]).expect("it is the first");
    let large = link.wait(2, &[0; 9000], &[], 2);
    link.wait(3, &[0; 1000], &[], 3);
    assert_eq!(outputs(&mut link), [], "the large one goes first");
    assert!(link.withdraw(large));
    assert_eq!(outputs(&mut link), [Output::Delivered(3, Ok(()))]);
}

/// The kinds of frames back to back.
fn frames(mut bytes: &[u8]) -> Vec<Kind> {
    let mut kinds = Vec::new();
    while let Parsed::Frame(frame, length) = wire::parse(bytes).expect("it works here") {
        kinds.push(frame.envelope.kind);
        bytes = &bytes[length..];
    }
    kinds
}

#[test]
fn messages_come_in_pieces_that_end_with_a_frame() {
    let now = Instant::now();
    let mut link = connected(now);
    for size in [10, 70_000, 1, 100, 300_000, 5, 65_000, 65_000, 3] {
        link.message(7, &vec![1; size], &[]).unwrap();
    }
    let (mut sizes, mut pieces, mut batches) = (Vec::new(), 0, 0);
    let mut batch = Batch::default();
    while link.take(now, &mut batch) == Taken::Batch {
        batches += 1;
        for mut bytes in batch.messages() {
            pieces += 1;
            while !bytes.is_empty() {
                let Parsed::Frame(frame, length) = wire::parse(bytes).unwrap() else {
                    panic!("cut")
                };
                sizes.push(frame.payload.len());
                bytes = &bytes[length..];
            }
        }
    }
    assert_eq!(sizes, [10, 70_000, 1, 100, 300_000, 5, 65_000, 65_000, 3]);
    assert_eq!((pieces, batches), (5, 2), "not all at a time");
}

#[test]
fn a_peer_that_asks_and_does_not_read_is_refused_and_costs_no_more() {
    let now = Instant::now();
    let [mut link, mut other] = [connected(now), connected(now)];
    let mut asked = 0;
    while link.is_open() {
        receive(&mut link, now, Kind::Ping, 1, &[]);
        other.answer_deliver(1, &Ok(()));
        asked += 1;
        assert!(asked <= CAPACITY / wire::HEADER + 2, "there is an end");
    }
    assert!(!other.is_open(), "every answer counts");
    let [Output::Ended(End::Lost(why))] = &outputs(&mut link)[..] else {
        panic!("it is refused");
    };
    assert!(why.contains("does not read the answers"), "{why}");
    receive(&mut link, now, Kind::Ping, 1, &[]);
    let last = written(&mut link, now).pop();
    assert_eq!(last.map(|(envelope, _)| envelope.kind), Some(Kind::Goodbye));

    // What it is told unasked counts as well: that coroutines have taken what it sent.
    let mut link = connected(now);
    for target in 0..=CAPACITY / wire::HEADER + 2 {
        link.credit(now, target as u64, 24);
    }
    assert!(!link.is_open(), "there is an end");

    // Whoever reads may ask for ever.
    let mut link = connected(now);
    for _ in 0..asked {
        receive(&mut link, now, Kind::Ping, 1, &[]);
        receive(&mut link, now, Kind::Ping, 1, &[]);
        assert_eq!(kinds(&mut link, now), [Kind::Pong, Kind::Pong]);
    }
}

#[test]
fn a_long_batch_does_not_hold_up_acknowledgements() {
    let now = Instant::now();
    let mut link = connected(now);
    link.handle(now, Input::Read([0, 1], 16));
    let mut between = Batch::default();
    link.take_control(&mut between);
    assert_eq!(bytes(&between), [], "that can wait");
    link.handle(now, Input::Read([0, 1], CAPACITY));
    link.take_control(&mut between);
    let bytes = bytes(&between);
    let Ok(Parsed::Frame(frame, _)) = wire::parse(&bytes) else {
        panic!("{bytes:?}");
    };
    let said = (frame.envelope.kind, frame.envelope.correlation);
    assert_eq!(said, (Kind::Ack, 2));
}

#[test]
fn long_texts_are_shortened_to_what_a_frame_takes() {
    let now = Instant::now();
    let mut link = connected(now);
    let long: String = "ä".repeat(100_000);
    link.answer_watch(1, &Exit::Failed(long.as_str().into()));
    link.answer_watch(2, &Exit::Panicked(long.as_str().into()));
    let error = CodecError::new("decode", &long, long.clone());
    link.answer_deliver(3, &Err(CarryError::Codec(error)));
    link.answer_deliver(4, &Err(CarryError::Disconnected(Box::new(long.clone()))));
    let frames = written(&mut link, now);
    assert_eq!(frames.len(), 4);
    for (envelope, payload) in frames {
        assert!(payload.len() <= wire::MAX_CONTROL, "{envelope:?}");
    }
}
