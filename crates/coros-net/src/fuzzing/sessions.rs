//! Sessions: one whose peer says what it likes, and two that are honest over links that break.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use coros_core::Exit;

use crate::outbox::Batch;
use crate::session::{Asked, Input, Output, Place, Session, Timing};
use crate::wire::{self, Hello, Kind, Parsed};

const CAPACITY: usize = 1 << 12;

/// A session whose peer says what it likes, in its hellos too, whatever else happens meanwhile:
/// everybody who waits is told once, and that it has ended comes once and last.
pub fn session(mut bytes: &[u8]) -> bool {
    let mut play = Play::new();
    while let Some((&step, rest)) = bytes.split_first() {
        bytes = play.step(step, rest);
        play.hear();
    }
    play.session.handle(play.now, Input::Gone("the end".into()));
    play.hear();
    let told = &play.told;
    assert!(told.iter().all(|&times| times == 1), "told {told:?} times");
    assert!(play.ended && play.session.is_over());
    play.understood
}

struct Play {
    now: Instant,
    session: Session<usize, usize>,
    batch: Batch,
    /// How often each who waits was told.
    told: Vec<u8>,
    /// Deliveries that wait, or did.
    waiting: Vec<(Place, usize)>,
    /// What the session would like to know before it closes its link.
    idle: Option<Asked>,
    ended: bool,
    understood: bool,
}

impl Play {
    fn new() -> Self {
        let now = Instant::now();
        Play {
            now,
            session: Session::new(now, "peer".into(), Timing::default(), CAPACITY),
            batch: Batch::default(),
            told: Vec::new(),
            waiting: Vec::new(),
            idle: None,
            ended: false,
            understood: false,
        }
    }

    /// Takes one step, and gives back what follows it.
    fn step<'a>(&mut self, step: u8, bytes: &'a [u8]) -> &'a [u8] {
        let (now, session) = (self.now, &mut self.session);
        match step % 16 {
            0 => session.handle(now, Input::Heard),
            1 => {
                session.watch(u64::from(step), self.told.len());
                self.told.push(0);
            }
            2 => {
                let place = session.deliver(1, &[step; 900], &[7], self.told.len());
                self.waiting.extend(place.map(|it| (it, self.told.len())));
                self.told.push(0);
            }
            3 if session.message(1, &[step; 300], &[]).is_err() && session.is_open() => {
                let place = session.wait(1, &[step; 300], &[], self.told.len());
                self.waiting.push((place, self.told.len()));
                self.told.push(0);
            }
            3 => {}
            4 => session.answer_unread(1, &bytes[..bytes.len().min(8)]),
            5 => {
                self.now += Duration::from_millis(50) * u32::from(step);
                self.session.handle(self.now, Input::Timeout);
            }
            6 => drop(session.take(now, &mut self.batch)),
            7 => session.handle(now, Input::Lost("cut".into())),
            8 => session.handle(now, Input::Stumbled("cut".into())),
            9 if step > 240 => session.handle(now, Input::Close),
            10 => {
                if let Some((place, waiter)) = self.waiting.pop()
                    && session.withdraw(place)
                {
                    // By whoever gives up.
                    self.told[waiter] += 1;
                }
            }
            11 => session.credit(now, 1, 900),
            12 => {
                if let Some(asked) = self.idle.take() {
                    session.handle(now, Input::Rest(asked));
                }
            }
            13 => session.handle(now, Input::Wake),
            _ => return self.frame(bytes),
        }
        bytes
    }

    /// As the greeting does it, and the reader.
    fn frame<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, session) = (self.now, &mut self.session);
        let Ok(Parsed::Frame(frame, length)) = wire::parse(bytes) else {
            session.handle(now, Input::Refuse("no frame".into()));
            return bytes;
        };
        let kind = frame.envelope.kind;
        if kind != Kind::Hello {
            session.handle(now, Input::Frame(frame));
            let mut counts = [0; 2];
            counts[kind.lane() as usize] += u64::from(kind.is_numbered());
            session.handle(now, Input::Read(counts, length));
        } else if let Ok(hello) = wire::read_value::<Hello>(&frame)
            && session.is_open()
        {
            session.handle(now, Input::Stumbled("a better link".into()));
            if session.is_open()
                && let Err(error) = session.link(now, hello.received, hello.capacity)
            {
                session.handle(now, Input::Gone(error.to_string()));
            }
        }
        self.understood |= session.is_open();
        &bytes[length..]
    }

    fn hear(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Delivered(waiter, _) | Output::Exited(waiter, _) => self.told[waiter] += 1,
                Output::Ended(_) => {
                    assert!(!self.ended, "it has ended twice");
                    self.ended = true;
                }
                Output::Idle(asked) => self.idle = Some(asked),
                Output::Broken(_) | Output::Rested | Output::Woken => {}
                Output::Ponged(..) => panic!("nobody has asked"),
            }
        }
    }
}

/// Two sessions, and what is done with them and the links between them: whatever that is, all that
/// was sent comes, once and in order. Whether anything came over more than one link.
pub fn resume(bytes: &[u8]) -> bool {
    let mut now = Instant::now();
    let mut sides = [Side::new(now), Side::new(now)];
    let mut links = 0;
    link(now, &mut sides, &mut links);
    for &step in bytes {
        let (side, step, much) = (usize::from(step % 2), step / 2 % 6, usize::from(step / 12));
        match step {
            0 => sides[side].send(1, much * 100),
            1 => sides[side].send(0, much),
            2 => sides[side].write(now),
            3 => carry(now, &mut sides, side, much * 50),
            4 => {
                sides.iter_mut().for_each(|side| side.cut(now));
                link(now, &mut sides, &mut links);
            }
            _ => {
                now += Duration::from_millis(much as u64 * 20);
                sides.iter_mut().for_each(|side| side.pass(now));
            }
        }
        sides.iter_mut().for_each(Side::hear);
    }
    for _ in 0..4 {
        for side in 0..2 {
            sides[side].write(now);
            carry(now, &mut sides, side, usize::MAX);
        }
        now += Duration::from_millis(200);
        sides.iter_mut().for_each(|side| side.pass(now));
    }
    let [one, other] = &sides;
    for (from, to) in [(one, other), (other, one)] {
        assert_eq!(from.sent, to.received);
        assert!(from.session.is_acknowledged(), "it keeps what has come");
    }
    links > 1 && sides.iter().any(|side| side.received != [0; 2])
}

/// One side, with how many it has sent and received in each lane.
struct Side {
    session: Session<(), ()>,
    sent: [u64; 2],
    received: [u64; 2],
    /// What has been written and has not come.
    under_way: VecDeque<u8>,
    /// What has come of a frame.
    coming: Vec<u8>,
}

impl Side {
    fn new(now: Instant) -> Self {
        Side {
            session: Session::new(now, "peer".into(), Timing::default(), CAPACITY),
            sent: [0; 2],
            received: [0; 2],
            under_way: VecDeque::new(),
            coming: Vec::new(),
        }
    }

    fn send(&mut self, lane: usize, length: usize) {
        let number = self.sent[lane] + 1;
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(8 + length, 0);
        if lane == 0 {
            self.session.answer_watch(number, &Exit::Finished);
            // Some come and some do not: nobody counts them.
            self.session.notice(7, &payload);
        } else if self.session.message(7, &payload, &[]).is_err() {
            return;
        }
        self.sent[lane] += 1;
    }

    fn write(&mut self, now: Instant) {
        let mut batch = Batch::default();
        self.session.take(now, &mut batch);
        for piece in batch.control().chain(batch.messages()) {
            self.under_way.extend(piece);
        }
    }

    /// As a reader does: acts on all whole frames, then says how many that were.
    fn read(&mut self, now: Instant, bytes: impl Iterator<Item = u8>) {
        self.coming.extend(bytes);
        let mut counts = [0; 2];
        let mut read = 0;
        while let Parsed::Frame(frame, length) =
            wire::parse(&self.coming[read..]).expect("only frames are written")
        {
            let kind = frame.envelope.kind;
            let lane = kind.lane() as usize;
            let number = match kind {
                Kind::Message => {
                    self.session.credit(now, 7, length);
                    let number = frame.payload.first_chunk().expect("a number");
                    Some(u64::from_le_bytes(*number))
                }
                Kind::Exited => Some(frame.envelope.correlation),
                Kind::Notice => None,
                _ => {
                    self.session.handle(now, Input::Frame(frame));
                    None
                }
            };
            if let Some(number) = number {
                self.received[lane] += 1;
                assert_eq!(self.received[lane], number);
            }
            counts[lane] += u64::from(kind.is_numbered());
            read += length;
        }
        self.coming.drain(..read);
        self.session.handle(now, Input::Read(counts, read));
    }

    fn cut(&mut self, now: Instant) {
        self.under_way.clear();
        self.coming.clear();
        self.session.handle(now, Input::Lost("cut".into()));
    }

    fn pass(&mut self, now: Instant) {
        self.session.handle(now, Input::Heard);
        self.session.handle(now, Input::Timeout);
    }

    fn hear(&mut self) {
        while let Some(output) = self.session.poll() {
            let goes_on = matches!(output, Output::Idle(_) | Output::Broken(_));
            assert!(goes_on, "{output:?}");
        }
    }
}

fn link(now: Instant, sides: &mut [Side; 2], links: &mut usize) {
    let [one, other] = sides.each_ref().map(|side| side.session.received());
    for (side, received) in sides.iter_mut().zip([other, one]) {
        let linked = side.session.link(now, received, CAPACITY as u64);
        linked.expect("both are honest");
    }
    *links += 1;
}

/// So many of the bytes that one side has written come at the other.
fn carry(now: Instant, [one, other]: &mut [Side; 2], from: usize, most: usize) {
    let (from, to) = if from == 0 {
        (one, other)
    } else {
        (other, one)
    };
    let some = from.under_way.len().min(most);
    to.read(now, from.under_way.drain(..some));
}
