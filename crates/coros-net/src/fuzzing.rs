//! What a stranger's bytes are put through: one function for each decoder, called by the fuzz
//! targets (`fuzz/`) and, with the inputs that were worth keeping, by an ordinary test.
//!
//! A function may do with any input whatever it likes but panic, hang, or take memory out of
//! proportion. Where a decoder has an encoder, what was understood is written again and has to be
//! understood in the same way. It says whether it has understood the input: a corpus of refusals
//! tests little. Nothing here opens a socket: an endpoint that an input names is not dialled.

mod desk;
mod messages;
mod seeds;
mod sessions;

use coros_core::Exit;
use coros_core::remote::{self, CarryError, Request};
use serde::{Deserialize, Serialize};

use crate::discovery;
use crate::names::Notice;
use crate::tls::Tls;
use crate::wire::{self, Frame, Goodbye, Hello, Kind, Parsed};
use crate::{Credentials, Secret, identity};

/// A fuzz target: its name, which is that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All of them.
pub const TARGETS: &[Target] = &[
    ("addresses", addresses),
    ("certificates", certificates),
    ("channels", channels),
    ("credentials", credentials),
    ("file_names", file_names),
    ("files", files),
    ("frames", frames),
    ("functions", functions),
    ("membership", membership),
    ("names", names),
    ("peers", peers),
    ("resume", resume),
    ("secret", secret),
    ("session", session),
];

pub use messages::{addresses, channels, functions};
pub use seeds::seeds;
pub use sessions::{resume, session};

/// The bytes of a link, as its reader takes them: frames, and in each what its kind calls for.
pub fn frames(mut bytes: &[u8]) -> bool {
    let mut understood = false;
    while let Ok(Parsed::Frame(frame, length)) = wire::parse(bytes) {
        assert!((wire::HEADER..=bytes.len()).contains(&length));
        let lent: Vec<u64> = wire::ids(frame.lent).collect();
        let mut again = Vec::new();
        wire::write_lending(&mut again, frame.envelope, frame.payload, &lent);
        assert_eq!(again, bytes[..length], "a frame has one form");
        understood |= payload(&frame);
        bytes = &bytes[length..];
    }
    understood
}

fn payload(frame: &Frame<'_>) -> bool {
    match frame.envelope.kind {
        Kind::Hello => again::<Hello>(frame),
        Kind::Delivered => again::<Result<(), CarryError>>(frame),
        Kind::Exited => again::<Exit>(frame),
        Kind::Request => again::<Request>(frame),
        Kind::Goodbye => again::<Goodbye>(frame),
        Kind::Unread => wire::ids(frame.payload).all(|id| id > 0),
        _ => true,
    }
}

/// What can be read can be written, and reads the same. (Not byte by byte: numbers have more than
/// one form in postcard.)
fn again<T: for<'de> Deserialize<'de> + Serialize>(frame: &Frame<'_>) -> bool {
    let Ok(value) = wire::read_value::<T>(frame) else {
        return false;
    };
    let mut written = Vec::new();
    wire::write_value(&mut written, frame.envelope, &value);
    let Ok(Parsed::Frame(frame, _)) = wire::parse(&written) else {
        panic!("what was written is no frame");
    };
    let value = wire::read_value::<T>(&frame).expect("what was written can be read");
    let mut twice = Vec::new();
    wire::write_value(&mut twice, frame.envelope, &value);
    assert_eq!(written, twice);
    true
}

/// What a process gets from the one that has started it.
pub fn credentials(bytes: &[u8]) -> bool {
    let credentials = remote::decode::<Credentials>(bytes);
    // Whether a node can start with them.
    credentials.is_ok_and(|credentials| Tls::new(&credentials).is_ok())
}

/// A node's certificate in a file, with its key; the two are parted by a zero byte.
pub fn certificates(bytes: &[u8]) -> bool {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let chain = parts.next().unwrap_or_default();
    let key = String::from_utf8_lossy(parts.next().unwrap_or_default());
    identity::read(chain, &key)
}

/// The path of a file as a peer names it.
pub fn file_names(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    crate::files::fuzz::name(&text)
}

/// The bytes of a connection for files.
pub fn files(bytes: &[u8]) -> bool {
    crate::files::fuzz::frame(bytes)
}

/// What the parts of two nodes say to each other about who is on the network.
pub fn membership(bytes: &[u8]) -> bool {
    crate::membership::fuzz::packet(bytes)
}

/// What the parts of two nodes say to each other about names.
pub fn names(bytes: &[u8]) -> bool {
    let Ok(notice) = Notice::read(bytes) else {
        return false;
    };
    let again = Notice::read(&notice.write()).expect("what was read can be passed on");
    assert_eq!(again, notice);
    true
}

/// A list of peers in a file.
pub fn peers(bytes: &[u8]) -> bool {
    let Ok(peers) = discovery::peers_of(&String::from_utf8_lossy(bytes)) else {
        return false;
    };
    let again = peers.join("\n");
    assert_eq!(
        discovery::peers_of(&again).ok(),
        Some(peers.clone()),
        "{again:?}"
    );
    !peers.is_empty()
}

/// A secret in a file.
pub fn secret(bytes: &[u8]) -> bool {
    let Ok(secret) = Secret::from_text(&String::from_utf8_lossy(bytes)) else {
        return false;
    };
    let again = Secret::from_text(secret.reveal()).expect("what was one is one");
    assert!(secret == again);
    assert_eq!(secret.is_random(), again.is_random());
    true
}
