//! Two sessions over links that break at any moment: nothing is lost, nothing comes twice, all in
//! order.

use std::collections::VecDeque;
use std::time::Instant;

use coros_core::Exit;
use coros_net::outbox::{Batch, Outbox};
use coros_net::session::{End, Input, Output, Session, Timing};
use coros_net::wire::{self, Envelope, Frame, Kind, Lane, Parsed};
use proptest::prelude::*;

const CAPACITY: usize = 1 << 20;

type Link = Session<u32, &'static str>;

/// One side, with what it has received, lane by lane.
struct Side {
    session: Link,
    sent: [u64; 2],
    received: [Vec<u64>; 2],
    /// What has been written and has not come.
    wire: VecDeque<u8>,
    coming: Vec<u8>,
}

impl Side {
    fn new(now: Instant) -> Self {
        Side {
            session: Session::new(now, "peer".into(), Timing::default(), CAPACITY),
            sent: [0; 2],
            received: Default::default(),
            wire: VecDeque::new(),
            coming: Vec::new(),
        }
    }

    fn send(&mut self, lane: usize, length: usize) {
        let number = self.sent[lane] + 1;
        if lane == 1 {
            let mut payload = number.to_le_bytes().to_vec();
            payload.resize(8 + length, 0);
            if self.session.message(7, &payload, &[]).is_err() {
                return;
            }
        } else {
            let why = "x".repeat(length.min(16_000));
            self.session.answer_watch(number, &Exit::Failed(why.into()));
            // Some come and some do not: nobody counts them.
            self.session.notice(7, &vec![0; length.min(60_000)]);
        }
        self.sent[lane] += 1;
    }

    fn write(&mut self, now: Instant) {
        let mut batch = Batch::default();
        self.session.take(now, &mut batch);
        for piece in batch.control().chain(batch.messages()) {
            self.wire.extend(piece);
        }
    }

    /// As a reader does: acts on all whole frames, then says how many that were.
    fn read(&mut self, now: Instant, bytes: impl Iterator<Item = u8>) {
        self.coming.extend(bytes);
        let mut counts = [0; 2];
        let before = self.coming.len();
        loop {
            let parsed = wire::parse(&self.coming).expect("only frames are written");
            let Parsed::Frame(frame, length) = parsed else {
                break;
            };
            let kind = frame.envelope.kind;
            match kind {
                Kind::Message => {
                    let number = frame.payload.first_chunk().expect("a number");
                    self.received[1].push(u64::from_le_bytes(*number));
                    self.session.credit(now, 7, length);
                }
                Kind::Exited => self.received[0].push(frame.envelope.correlation),
                Kind::Notice => {}
                _ => self.session.handle(now, Input::Frame(frame)),
            }
            counts[kind.lane() as usize] += u64::from(kind.is_numbered());
            self.coming.drain(..length);
        }
        let bytes = before - self.coming.len();
        self.session.handle(now, Input::Read(counts, bytes));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize, usize, usize),
    Write(usize),
    /// Some of what is under way comes.
    Carry(usize, prop::sample::Index),
    /// The link breaks, and what is under way is lost.
    Break,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let side = 0..2_usize;
    let length = prop_oneof![4 => 0..100_usize, 1 => 0..100_000_usize];
    let step = prop_oneof![
        6 => (side.clone(), 0..2_usize, length).prop_map(|(side, lane, length)| Step::Send(side, lane, length)),
        4 => side.clone().prop_map(Step::Write),
        6 => (side, any::<prop::sample::Index>()).prop_map(|(side, part)| Step::Carry(side, part)),
        1 => Just(Step::Break),
        1 => (0..300_u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..120)
}

struct World {
    now: Instant,
    sides: [Side; 2],
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut world = World {
            now,
            sides: [Side::new(now), Side::new(now)],
        };
        world.link();
        world
    }

    fn link(&mut self) {
        let received = self.sides.each_ref().map(|side| side.session.received());
        for (side, received) in self.sides.iter_mut().zip([received[1], received[0]]) {
            let linked = side.session.link(self.now, received, CAPACITY as u64);
            linked.expect("both are honest");
        }
    }

    fn step(&mut self, step: &Step) {
        let now = self.now;
        match *step {
            Step::Send(side, lane, length) => self.sides[side].send(lane, length),
            Step::Write(side) => self.sides[side].write(now),
            Step::Carry(from, ref part) => {
                let [one, other] = &mut self.sides;
                let (from, to) = if from == 0 {
                    (one, other)
                } else {
                    (other, one)
                };
                let some = part.index(from.wire.len() + 1);
                to.read(now, from.wire.drain(..some));
            }
            Step::Break => {
                for side in &mut self.sides {
                    side.wire.clear();
                    side.coming.clear();
                    side.session.handle(now, Input::Lost("cut".into()));
                }
                self.link();
            }
            Step::Pass(millis) => {
                self.now += std::time::Duration::from_millis(millis);
                for side in &mut self.sides {
                    side.session.handle(self.now, Input::Heard);
                    side.session.handle(self.now, Input::Timeout);
                }
            }
        }
        for side in &mut self.sides {
            while let Some(output) = side.session.poll() {
                assert!(matches!(output, Output::Broken(_)), "{output:?}");
            }
        }
    }

    /// Until everything has come.
    fn finish(&mut self) {
        for _ in 0..4 {
            for side in 0..2 {
                self.step(&Step::Write(side));
                let [one, other] = &mut self.sides;
                let (from, to) = if side == 0 {
                    (one, other)
                } else {
                    (other, one)
                };
                to.read(self.now, from.wire.drain(..));
            }
            self.step(&Step::Pass(200));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn nothing_is_lost_or_doubled_whenever_a_link_breaks(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.finish();
        for (from, to) in [(0, 1), (1, 0)] {
            for lane in 0..2 {
                let sent: Vec<u64> = (1..=world.sides[from].sent[lane]).collect();
                prop_assert_eq!(&world.sides[to].received[lane], &sent, "lane {}", lane);
            }
            // And nothing is kept that has come.
            prop_assert!(world.sides[from].session.is_acknowledged());
        }
    }
}

fn message(outbox: &mut Outbox, length: usize) {
    let envelope = Envelope {
        kind: Kind::Message,
        target: 7,
        correlation: 0,
    };
    outbox
        .message(envelope, &vec![1; length], &[])
        .expect("there is room");
}

#[test]
fn who_claims_what_it_was_never_sent_is_caught() {
    let mut outbox = Outbox::new(CAPACITY);
    for _ in 0..3 {
        message(&mut outbox, 10);
    }
    assert!(outbox.acknowledge([0, 1]).is_err(), "nothing was written");
    assert!(outbox.resume([0, 1]).is_err());
    assert!(outbox.acknowledge([1, 0]).is_err());
    outbox.resume([0, 0]).expect("the first link");

    let now = Instant::now();
    let mut session: Link = Session::new(now, "peer".into(), Timing::default(), CAPACITY);
    session.link(now, [0; 2], 0).expect("the first link");
    for _ in 0..3 {
        session.message(7, b"a", &[]).expect("there is room");
    }
    session.take(now, &mut Batch::default());
    let ack = |control, messages| {
        Input::Frame(Frame {
            envelope: Envelope {
                kind: Kind::Ack,
                target: control,
                correlation: messages,
            },
            payload: &[],
            lent: &[],
        })
    };
    session.handle(now, ack(0, 2));
    assert_eq!(session.poll(), None);
    // An older word does not undo a newer one.
    session.handle(now, ack(0, 1));
    assert_eq!(session.poll(), None);
    session.handle(now, Input::Lost("cut".into()));
    assert!(session.link(now, [0, 1], 0).is_err(), "it had two");
    assert!(session.link(now, [0, 4], 0).is_err(), "there were three");
    session
        .link(now, [0, 3], 0)
        .expect("it had the third as well");
    session.poll();
    session.handle(now, ack(0, 4));
    let Some(Output::Ended(End::Lost(why))) = session.poll() else {
        panic!("it lies");
    };
    assert!(why.contains("it says that it has 4 frames"), "{why}");
}

#[test]
fn a_peer_that_keeps_little_is_told_often_and_all_are_told_in_time() {
    let now = Instant::now();
    let mut session: Link = Session::new(now, "peer".into(), Timing::default(), CAPACITY);
    session.link(now, [0; 2], 4000).expect("the first link");
    session.handle(now, Input::Read([0, 1], 900));
    assert!(!session.has_output());
    session.handle(now, Input::Read([0, 1], 100));
    assert!(session.has_output());
    let mut batch = Batch::default();
    session.take(now, &mut batch);
    let told: Vec<u8> = batch.control().flatten().copied().collect();
    let Ok(Parsed::Frame(frame, _)) = wire::parse(&told) else {
        panic!("an ack");
    };
    assert_eq!(
        (frame.envelope.kind, frame.envelope.correlation),
        (Kind::Ack, 2)
    );
    assert!(!session.has_output());

    session.handle(now, Input::Read([0, 1], 10));
    let due = session.deadline().expect("it is to be told");
    assert!(due < now + Timing::default().heartbeat / 4);
    session.handle(due, Input::Timeout);
    assert!(session.has_output());
    // Whoever minds the time is not to ask again and again until that is written.
    assert!(session.deadline() > Some(due));
    assert_eq!(Kind::Ack.lane(), Lane::Control);
}
