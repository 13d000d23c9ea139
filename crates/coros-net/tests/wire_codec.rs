//! The frame codec against arbitrary bytes, cut frames and lying lengths.

use std::sync::Arc;

use coros_core::Exit;
use coros_core::remote::{CarryError, Location, NodeId, Request};
use coros_net::wire::{
    self, Envelope, Frame, Goodbye, HEADER, Hello, Kind, MAX_CONTROL, MAX_MESSAGE, Parsed,
    WireError,
};
use proptest::prelude::*;

const KINDS: [Kind; 19] = [
    Kind::Hello,
    Kind::Message,
    Kind::Deliver,
    Kind::Delivered,
    Kind::Watch,
    Kind::Exited,
    Kind::Request,
    Kind::Ping,
    Kind::Pong,
    Kind::Goodbye,
    Kind::Unread,
    Kind::Notice,
    Kind::Ack,
    Kind::Credit,
    Kind::Answer,
    Kind::Rest,
    Kind::Released,
    Kind::Unwatch,
    Kind::Heed,
];

fn frames() -> impl Strategy<Value = Owned> {
    let frame = (
        0..KINDS.len(),
        any::<u64>(),
        any::<u64>(),
        prop::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|(kind, target, correlation, mut payload)| {
            let kind = KINDS[kind];
            if matches!(
                kind,
                Kind::Watch
                    | Kind::Unwatch
                    | Kind::Heed
                    | Kind::Ping
                    | Kind::Pong
                    | Kind::Ack
                    | Kind::Credit
                    | Kind::Rest
            ) {
                payload.clear();
            }
            (
                Envelope {
                    kind,
                    target,
                    correlation,
                },
                payload,
            )
        });
    prop::collection::vec(frame, 0..20)
}

type Owned = Vec<(Envelope, Vec<u8>)>;

/// Parses as a reader does; what it got and what it stopped at.
fn parse_all(mut bytes: &[u8]) -> (Owned, Result<usize, WireError>) {
    let mut frames = Vec::new();
    loop {
        match wire::parse(bytes) {
            Ok(Parsed::Frame(frame, length)) => {
                assert_eq!(length, HEADER + frame.payload.len() + frame.lent.len());
                frames.push((frame.envelope, frame.payload.to_vec()));
                bytes = &bytes[length..];
            }
            Ok(Parsed::Incomplete(needed)) => {
                assert!(needed > bytes.len());
                assert!(needed <= HEADER + MAX_MESSAGE);
                return (frames, Ok(bytes.len()));
            }
            Err(e) => return (frames, Err(e)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_written_is_read(frames in frames(), cut in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for (envelope, payload) in &frames {
            wire::write(&mut bytes, *envelope, payload);
            ends.push(bytes.len());
        }
        prop_assert_eq!(parse_all(&bytes), (frames.clone(), Ok(0)));
        let cut = cut.index(bytes.len() + 1);
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        prop_assert_eq!(parse_all(&bytes[..cut]), (frames[..whole].to_vec(), Ok(cut - ends[whole])));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let (frames, _) = parse_all(&bytes);
        for (envelope, payload) in frames {
            read_every_payload(&Frame { envelope, payload: &payload, lent: &[] });
        }
    }

    #[test]
    fn no_changed_byte_makes_it_panic(
        frames in frames(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = Vec::new();
        for (envelope, payload) in &frames {
            wire::write(&mut bytes, *envelope, payload);
        }
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = parse_all(&bytes);
    }

    #[test]
    fn no_payload_makes_it_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        for kind in KINDS {
            let envelope = Envelope { kind, target: 1, correlation: 2 };
            read_every_payload(&Frame { envelope, payload: &payload, lent: &[] });
        }
    }
}

fn read_every_payload(frame: &Frame<'_>) {
    let _ = wire::read_value::<Hello>(frame);
    let _ = wire::read_value::<Result<(), CarryError>>(frame);
    let _ = wire::read_value::<Exit>(frame);
    let _ = wire::read_value::<Request>(frame);
    let _ = wire::read_value::<Goodbye>(frame);
}

#[test]
fn the_layout_is_fixed() {
    let mut bytes = Vec::new();
    let envelope = Envelope {
        kind: Kind::Deliver,
        target: 0x0102,
        correlation: 0x0304,
    };
    wire::write(&mut bytes, envelope, b"hi");
    let expected = [
        2, 0, 0, 0, 3, 1, 0, 0, //
        2, 1, 0, 0, 0, 0, 0, 0, //
        4, 3, 0, 0, 0, 0, 0, 0, b'h', b'i',
    ];
    assert_eq!(bytes, expected);
}

#[test]
fn a_length_above_the_cap_is_refused_from_the_header_alone() {
    for (kind, cap) in [
        (Kind::Message, MAX_MESSAGE),
        (Kind::Hello, MAX_CONTROL),
        (Kind::Ping, 0),
    ] {
        let mut header = [0; HEADER];
        header[4] = kind as u8;
        header[5] = kind.lane() as u8;
        header[..4].copy_from_slice(&(cap as u32 + 1).to_le_bytes());
        assert_eq!(
            wire::parse(&header),
            Err(WireError::Length {
                kind,
                length: cap + 1
            })
        );
        header[..4].copy_from_slice(&(cap as u32).to_le_bytes());
        assert!(wire::parse(&header).is_ok());
        header[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(
            wire::parse(&header),
            Err(WireError::Length { .. })
        ));
    }
}

#[test]
fn unknown_kinds_and_wrong_lanes_are_refused() {
    let mut good = Vec::new();
    wire::write(
        &mut good,
        Envelope {
            kind: Kind::Ping,
            target: 0,
            correlation: 9,
        },
        b"",
    );
    for (at, byte) in [(4, 0), (4, 200), (4, 255)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert_eq!(wire::parse(&bad), Err(WireError::Kind(byte)));
    }
    for (at, byte) in [(5, 1), (5, 2)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert!(matches!(wire::parse(&bad), Err(WireError::Lane { .. })));
    }
}

#[test]
fn hello_is_read_whole_or_not_at_all() {
    let hello = Hello {
        network: "default".into(),
        location: Location {
            node: NodeId(7),
            name: Arc::from("desk"),
            endpoint: Some("[::1]:80".parse().unwrap()),
        },
        number: 9,
        session: wire::SessionId { ours: 1, theirs: 0 },
        received: [3, 4],
        capacity: 5,
    };
    let envelope = Envelope {
        kind: Kind::Hello,
        target: 0,
        correlation: 0,
    };
    let payload = postcard::to_allocvec(&hello).unwrap();
    assert_eq!(
        wire::read_value(&Frame {
            envelope,
            payload: &payload,
            lent: &[],
        }),
        Ok(hello)
    );
    for cut in 0..payload.len() {
        let frame = Frame {
            envelope,
            payload: &payload[..cut],
            lent: &[],
        };
        assert!(wire::read_value::<Hello>(&frame).is_err());
    }
    let longer = [&payload[..], &[0]].concat();
    assert!(
        wire::read_value::<Hello>(&Frame {
            envelope,
            payload: &longer,
            lent: &[],
        })
        .is_err()
    );
}

#[test]
fn what_is_lent_comes_apart_from_the_message() {
    let envelope = Envelope {
        kind: Kind::Message,
        target: 1,
        correlation: 0,
    };
    let mut bytes = Vec::new();
    wire::write_lending(&mut bytes, envelope, b"hi", &[7, u64::MAX]);
    let Ok(Parsed::Frame(frame, length)) = wire::parse(&bytes) else {
        panic!()
    };
    assert_eq!((frame.payload, length), (&b"hi"[..], bytes.len()));
    assert_eq!(wire::ids(frame.lent).collect::<Vec<_>>(), [7, u64::MAX]);

    bytes[6] = 3;
    assert_eq!(wire::parse(&bytes), Err(WireError::Lent(Kind::Message)));
    let mut exited = Vec::new();
    wire::write(
        &mut exited,
        Envelope {
            kind: Kind::Exited,
            ..envelope
        },
        &[0; 8],
    );
    exited[6] = 1;
    assert_eq!(wire::parse(&exited), Err(WireError::Lent(Kind::Exited)));
}
