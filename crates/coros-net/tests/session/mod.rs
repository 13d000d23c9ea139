//! A session without a network, as the tests of its state machine use it.

#![allow(dead_code, reason = "no test uses all of it")]

use std::time::{Duration, Instant};

use coros_core::remote::CarryError;
use coros_net::outbox::Batch;
use coros_net::session::{Input, Output, Session, Timing};
use coros_net::wire::{self, Envelope, Frame, Kind, Parsed};

pub(crate) type Link = Session<u32, &'static str>;

pub(crate) const CAPACITY: usize = 1 << 20;
pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) fn waiting(now: Instant) -> Link {
    Session::new(now, "desk".into(), Timing::default(), CAPACITY)
}

pub(crate) fn connected(now: Instant) -> Link {
    let mut link = waiting(now);
    link.link(now, [0; 2], CAPACITY as u64).expect("the first");
    link
}

pub(crate) fn outputs(link: &mut Link) -> Vec<Output<u32, &'static str>> {
    std::iter::from_fn(|| link.poll()).collect()
}

/// All that there is to write, in the order in which a writer writes it.
pub(crate) fn written(link: &mut Link, now: Instant) -> Vec<(Envelope, Vec<u8>)> {
    let mut batch = Batch::default();
    link.take(now, &mut batch);
    let mut bytes = bytes(&batch);
    let mut frames = Vec::new();
    while let Parsed::Frame(frame, length) = wire::parse(&bytes).expect("only frames are written") {
        frames.push((frame.envelope, frame.payload.to_vec()));
        bytes.drain(..length);
    }
    assert_eq!(bytes, []);
    link.take(now, &mut batch);
    assert!(batch.is_empty());
    frames
}

pub(crate) fn bytes(batch: &Batch) -> Vec<u8> {
    let pieces = batch.control().chain(batch.messages()).chain(batch.last());
    pieces.flatten().copied().collect()
}

pub(crate) fn kinds(link: &mut Link, now: Instant) -> Vec<Kind> {
    written(link, now)
        .into_iter()
        .map(|(envelope, _)| envelope.kind)
        .collect()
}

pub(crate) fn receive(link: &mut Link, now: Instant, kind: Kind, correlation: u64, payload: &[u8]) {
    let envelope = Envelope {
        kind,
        target: 0,
        correlation,
    };
    link.handle(
        now,
        Input::Frame(Frame {
            envelope,
            payload,
            lent: &[],
        }),
    );
}

pub(crate) fn acknowledge(link: &mut Link, now: Instant, [control, messages]: [u64; 2]) {
    let envelope = Envelope {
        kind: Kind::Ack,
        target: control,
        correlation: messages,
    };
    let (payload, lent) = (&[][..], &[][..]);
    link.handle(
        now,
        Input::Frame(Frame {
            envelope,
            payload,
            lent,
        }),
    );
}

pub(crate) fn value<T: serde::Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("plain data")
}

pub(crate) fn lost(reason: &str) -> CarryError {
    CarryError::Disconnected(Box::new(format!("desk: {reason}")))
}
