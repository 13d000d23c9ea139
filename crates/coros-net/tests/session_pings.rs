//! Pings of a session that somebody waits for: written again to another link, owed while they
//! last.

use std::time::{Duration, Instant};

use coros_net::outbox::Batch;
use coros_net::session::{Asked, End, Input, Output, Session, Timing};
use coros_net::wire::{self, Envelope, Frame, Kind, Parsed};

type Link = Session<u32, u32>;

const MS: Duration = Duration::from_millis(1);
const CAPACITY: usize = 1 << 20;

fn session(now: Instant) -> Link {
    Session::new(now, "desk".into(), Timing::default(), CAPACITY)
}

fn link(session: &mut Link, now: Instant) {
    let linked = session.link(now, [0; 2], CAPACITY as u64);
    linked.expect("nothing has been sent that counts");
}

/// The numbers of the pings that are written now, among nothing else.
fn pings(session: &mut Link, now: Instant) -> Vec<u64> {
    let mut batch = Batch::default();
    session.take(now, &mut batch);
    let mut bytes: Vec<u8> = batch.control().flatten().copied().collect();
    let mut numbers = Vec::new();
    while let Parsed::Frame(frame, length) = wire::parse(&bytes).expect("only frames are written") {
        assert_eq!(frame.envelope.kind, Kind::Ping);
        numbers.push(frame.envelope.correlation);
        bytes.drain(..length);
    }
    numbers
}

fn pong(session: &mut Link, now: Instant, number: u64) {
    let envelope = Envelope {
        kind: Kind::Pong,
        target: 0,
        correlation: number,
    };
    let (payload, lent) = (&[][..], &[][..]);
    let frame = Frame {
        envelope,
        payload,
        lent,
    };
    session.handle(now, Input::Frame(frame));
}

fn outputs(session: &mut Link) -> Vec<Output<u32, u32>> {
    std::iter::from_fn(|| session.poll()).collect()
}

#[test]
fn the_time_runs_from_when_the_writer_takes_it_to_the_link_that_answers() {
    let now = Instant::now();
    let mut session = session(now);
    let first = session.ping();
    link(&mut session, now + MS);
    assert!(session.has_output(), "the writer is to be woken");
    assert_eq!(pings(&mut session, now + 5 * MS), [first]);
    assert!(!session.has_output());
    let second = session.ping();
    assert_eq!(pings(&mut session, now + 6 * MS), [second]);
    pong(&mut session, now + 9 * MS, second);
    pong(&mut session, now + 9 * MS, second);
    pong(&mut session, now + 9 * MS, 77);
    assert_eq!(outputs(&mut session), [Output::Ponged(second, 3 * MS)]);

    session.handle(now + 10 * MS, Input::Lost("cut".into()));
    assert!(matches!(outputs(&mut session)[..], [Output::Broken(_)]));
    link(&mut session, now + 2000 * MS);
    // Late, and of the link that is gone.
    pong(&mut session, now + 2001 * MS, first);
    assert_eq!(outputs(&mut session), []);
    assert_eq!(pings(&mut session, now + 2002 * MS), [first]);
    pong(&mut session, now + 2007 * MS, first);
    assert_eq!(outputs(&mut session), [Output::Ponged(first, 5 * MS)]);
}

#[test]
fn nothing_is_answered_after_the_end() {
    let now = Instant::now();
    let mut session = session(now);
    link(&mut session, now);
    let number = session.ping();
    assert_eq!(pings(&mut session, now), [number]);
    session.handle(now, Input::Gone("it is gone".into()));
    let ended = [Output::Ended(End::Lost("it is gone".into()))];
    assert_eq!(outputs(&mut session), ended);
    pong(&mut session, now, number);
    assert_eq!(outputs(&mut session), []);
    session.ping();
    assert_eq!(pings(&mut session, now), [0_u64; 0]);
}

/// Lets time pass, with signs of life from the peer; whether the link is found to be idle.
fn idles(session: &mut Link, from: Instant, seconds: u32) -> bool {
    let mut idles = false;
    for second in 1..=seconds {
        let now = from + 1000 * MS * second;
        session.handle(now, Input::Heard);
        session.handle(now, Input::Timeout);
        let outputs = outputs(session);
        idles |= outputs.contains(&Output::Idle(Asked::Us));
        pings(session, now);
    }
    idles
}

#[test]
fn a_link_is_not_closed_while_a_ping_is_under_way() {
    let now = Instant::now();
    let mut session = session(now);
    link(&mut session, now);
    let number = session.ping();
    assert!(!idles(&mut session, now, 100), "an answer is owed");
    session.forget_ping(number);
    assert!(idles(&mut session, now + 100_000 * MS, 100));
    session.ping();
    let later = now + 200_000 * MS;
    session.handle(later, Input::Rest(Asked::Peer));
    assert_eq!(
        pings(&mut session, later).len(),
        1,
        "and no agreement to rest"
    );
}

#[test]
fn a_ping_needs_a_link_that_was_closed() {
    let now = Instant::now();
    let mut session = session(now);
    link(&mut session, now);
    assert!(idles(&mut session, now, 60));
    let rest = Frame {
        envelope: Envelope {
            kind: Kind::Rest,
            target: 1,
            correlation: 0,
        },
        payload: &[],
        lent: &[],
    };
    session.handle(now, Input::Frame(rest));
    assert_eq!(outputs(&mut session), [Output::Rested]);
    let later = now + 70_000 * MS;
    session.handle(later, Input::Wake);
    let number = session.ping();
    assert_eq!(outputs(&mut session), [Output::Woken]);
    link(&mut session, later);
    assert_eq!(pings(&mut session, later), [number]);
}
