//! Frames: what two linked nodes say to each other, byte by byte.
//!
//! A link carries frames back to back inside TLS. All integers are little-endian.
//!
//! ```text
//!   0       4      5      6         8            16            24
//!   +-------+------+------+---------+------------+-------------+-----------------+
//!   | length| kind | lane | lent    | target     | correlation | payload         |
//!   | u32   | u8   | u8   | u16     | u64        | u64         | `length` bytes  |
//!   +-------+------+------+---------+------------+-------------+-----------------+
//! ```
//!
//! | kind | name      | lane | target    | correlation        | payload                            |
//! |------|-----------|------|-----------|--------------------|------------------------------------|
//! | 1    | hello     | 0    | 0 or [`FILES`] | 0             | [`Hello`]                          |
//! | 2    | message   | 1    | coroutine | 0                  | the message                        |
//! | 3    | deliver   | 1    | coroutine | chosen by asker    | the message                        |
//! | 4    | delivered | 0    | 0         | of the deliver     | `Result<(), CarryError>`           |
//! | 5    | watch     | 0    | coroutine | chosen by asker    | none                               |
//! | 6    | exited    | 0    | 0         | of the watch       | [`Exit`](coros_core::Exit)         |
//! | 7    | request   | 0    | coroutine | 0                  | [`Request`](coros_core::remote::Request) |
//! | 8    | ping      | 0    | 0         | or 0: no answer    | none                               |
//! | 9    | pong      | 0    | 0         | of the ping        | none                               |
//! | 10   | goodbye   | 0    | 0         | 0                  | [`Goodbye`]                        |
//! | 11   | unread    | 0    | coroutine | 0                  | the ids lent in a message, u64 each |
//! | 12   | notice    | 0    | part of the node | 0           | what its counterpart sends, at most 64 KiB |
//! | 13   | ack       | 0    | frames of lane 0 that came | of lane 1 | none                       |
//! | 14   | credit    | 0    | coroutine | bytes that it has taken | none                          |
//! | 15   | answer    | 1    | pending reply | 0              | the answer                         |
//! | 16   | rest      | 0    | 0: may we? 1: yes | 0              | none                               |
//! | 17   | released  | 1    | 0         | 0                  | (coroutine u64, count u64) each    |
//! | 18   | unwatch   | 0    | coroutine | of the watch       | none                               |
//! | 19   | heed      | 0    | coroutine | of the question    | none                               |
//!
//! Lane 0 is control and overtakes lane 1, messages; lane 2 is reserved for bulk. Within a lane
//! frames keep their order. Payloads other than messages are in postcard and at most 64 KiB long;
//! a message is at most 16 MiB long. A frame that breaks any of these rules ends the link.
//!
//! `lent` counts the ids, 8 bytes each, that follow the message at the end of its payload: of the
//! coroutines and pending replies that the message names. In all other frames it is zero. The top
//! bits of an id say what it is:
//!
//! - [`NEW`]: one of the sender's that the receiver did not hold before. A receiver that cannot read
//!   the message sends it back in an `unread` frame, so that nobody waits for an answer to a
//!   question that was never read.
//! - [`COUNTED`]: one of the sender's coroutines. The sender counts how often it names it to the
//!   receiver, which counts as well and gives the count back in a `released` frame when it has no
//!   handle any more; see `imports`. That goes behind the messages, since these may name it or be
//!   for it. Without this bit it is a pending reply, which ends by itself.
//! - [`YOURS`]: one of the receiver's, which the sender has a handle of. The receiver holds it
//!   until it has read the message, whatever is released meanwhile.
//!
//! A message or deliver may go to a coroutine as long as those before it that the coroutine has not
//! taken out of its mailbox take less than [`WINDOW`] bytes, as whole frames, and those to all
//! coroutines less than the receiver has said in its hello, or less than a window before that. The
//! receiver tells of what was taken, or dropped, by credits. An answer is awaited and needs none.
//!
//! Frames are numbered from 1 on in each lane, over all links of a session, though the numbers are
//! not written: both sides count. Not counted are those that belong to one link: hello, ping, pong,
//! goodbye, ack, rest, notice. An ack says how many have come and been acted on; a hello says so too, and on the
//! link that it makes the next one follows, whether or not it was written before.
//!
//! Ids of coroutines are never used twice within a launch of a node, and a launch has its own
//! link, so an id needs no generation.

use coros_core::remote::Location;
use serde::{Deserialize, Serialize};

/// Bytes in front of every payload.
pub const HEADER: usize = 24;
/// The longest message, in bytes as encoded.
pub const MAX_MESSAGE: usize = 16 << 20;
/// The target of a hello on a connection for files, which will not be a link; see `files`.
pub const FILES: u64 = 1;
/// What may be under way to one coroutine, or wait in its mailbox, of one node.
pub const WINDOW: usize = 1 << 20;
/// How many ends one node may wait for at another: a further [`Kind::Watch`] is answered with
/// [`Exit::Unwatched`](coros_core::Exit::Unwatched).
pub const MAX_WATCHES: usize = 1 << 20;
/// The longest payload of a frame that is not a message.
pub const MAX_CONTROL: usize = 64 << 10;

/// How many ids can go with one message.
pub const MAX_IDS: usize = u16::MAX as usize;
/// With an id: the receiver did not hold it before.
pub const NEW: u64 = 1 << 63;
/// With an id: it is to be released.
pub const COUNTED: u64 = 1 << 62;
/// With an id: it is of the receiver.
pub const YOURS: u64 = 1 << 61;
const MARKS: u64 = NEW | COUNTED | YOURS;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// Who I am: the first frame each way.
    Hello = 1,
    /// A message for a coroutine.
    Message = 2,
    /// A message for a coroutine, to be answered when it is in the mailbox.
    Deliver = 3,
    /// What became of a `Deliver`.
    Delivered = 4,
    /// Tell me when this coroutine has ended.
    Watch = 5,
    /// A watched coroutine has ended.
    Exited = 6,
    /// A request to a coroutine.
    Request = 7,
    /// Are you there?
    Ping = 8,
    /// I am.
    Pong = 9,
    /// The last frame.
    Goodbye = 10,
    /// A message could not be read.
    Unread = 11,
    /// From one part of a node to the same part of the peer.
    Notice = 12,
    /// So many frames have come.
    Ack = 13,
    /// A coroutine has taken messages.
    Credit = 14,
    /// A message for a pending reply.
    Answer = 15,
    /// The link is idle and may be closed until somebody needs it.
    Rest = 16,
    /// There are no handles of these coroutines any more.
    Released = 17,
    /// Do not tell me when this coroutine has ended.
    Unwatch = 18,
    /// As `Watch`, but no reason to keep the link: the next one will do to tell me.
    Heed = 19,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Kind::Hello,
            2 => Kind::Message,
            3 => Kind::Deliver,
            4 => Kind::Delivered,
            5 => Kind::Watch,
            6 => Kind::Exited,
            7 => Kind::Request,
            8 => Kind::Ping,
            9 => Kind::Pong,
            10 => Kind::Goodbye,
            11 => Kind::Unread,
            12 => Kind::Notice,
            13 => Kind::Ack,
            14 => Kind::Credit,
            15 => Kind::Answer,
            16 => Kind::Rest,
            17 => Kind::Released,
            18 => Kind::Unwatch,
            19 => Kind::Heed,
            _ => return None,
        })
    }

    /// The lane in which frames of this kind travel.
    #[must_use]
    pub fn lane(self) -> Lane {
        match self {
            Kind::Message | Kind::Deliver | Kind::Answer | Kind::Released => Lane::Messages,
            _ => Lane::Control,
        }
    }

    /// Whether frames of this kind count, and are written again when a link breaks.
    #[must_use]
    pub fn is_numbered(self) -> bool {
        let of_a_link = matches!(
            self,
            Kind::Hello
                | Kind::Ping
                | Kind::Pong
                | Kind::Goodbye
                | Kind::Ack
                | Kind::Rest
                | Kind::Notice
        );
        !of_a_link
    }

    /// Whether a frame of this kind is no sign that anybody uses the link: it is about the link, or
    /// what the parts of nodes tell each other all the time.
    #[must_use]
    pub fn is_idle_talk(self) -> bool {
        !self.is_numbered() || self == Kind::Credit
    }

    /// Whether frames of this kind may name coroutines.
    fn lends(self) -> bool {
        self.lane() == Lane::Messages && self != Kind::Released
    }

    fn max_payload(self) -> usize {
        match self {
            Kind::Message | Kind::Deliver | Kind::Answer => MAX_MESSAGE,
            Kind::Watch
            | Kind::Unwatch
            | Kind::Heed
            | Kind::Ping
            | Kind::Pong
            | Kind::Ack
            | Kind::Credit
            | Kind::Rest => 0,
            _ => MAX_CONTROL,
        }
    }
}

/// Frames of one lane keep their order; a lower lane goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Lane {
    /// Everything that is not a message: small, and never delayed by messages.
    Control = 0,
    /// Messages.
    Messages = 1,
}

/// The fixed part of a frame, without the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What the frame says.
    pub kind: Kind,
    /// The coroutine that it is for, or 0.
    pub target: u64,
    /// Connects an answer with its question, or 0.
    pub correlation: u64,
}

/// A frame in the buffer that it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The fixed part.
    pub envelope: Envelope,
    /// The rest, without what was lent.
    pub payload: &'a [u8],
    /// The ids lent, 8 bytes each; see [`ids`].
    pub lent: &'a [u8],
}

impl Frame<'_> {
    /// How many bytes it takes.
    #[must_use]
    pub fn length(&self) -> usize {
        HEADER + self.payload.len() + self.lent.len()
    }
}

/// The ids in a list of ids.
pub fn ids(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (ids, _) = bytes.as_chunks();
    ids.iter().map(|id| u64::from_le_bytes(*id))
}

/// How many bytes a frame takes.
#[must_use]
pub fn length(payload: usize, lent: usize) -> usize {
    HEADER + payload + lent.min(MAX_IDS) * size_of::<u64>()
}

/// The ids in a list that have a mark, without their marks.
pub fn marked(bytes: &[u8], mark: u64) -> impl Iterator<Item = u64> {
    let marked = ids(bytes).filter(move |id| id & mark != 0);
    marked.map(|id| id & !MARKS)
}

/// Appends a frame that says how often coroutines were named of which there are no handles any
/// more.
pub fn write_released(buffer: &mut Vec<u8>, released: impl Iterator<Item = (u64, u64)>) {
    let payload: Vec<u8> = released
        .flat_map(|(coroutine, count)| [coroutine.to_le_bytes(), count.to_le_bytes()])
        .flatten()
        .collect();
    let envelope = Envelope {
        kind: Kind::Released,
        target: 0,
        correlation: 0,
    };
    write(buffer, envelope, &payload);
}

/// Reads what [`write_released`] wrote.
///
/// # Errors
/// When the payload is no list of pairs.
pub fn read_released(frame: &Frame<'_>) -> Result<impl Iterator<Item = (u64, u64)>, WireError> {
    let (pairs, rest) = frame.payload.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(WireError::Payload {
            kind: frame.envelope.kind,
            reason: "bytes are left over".into(),
        });
    }
    Ok(pairs.iter().map(|pair| {
        let mut ids = ids(pair);
        let mut next = || ids.next().unwrap_or_default();
        (next(), next())
    }))
}

/// Appends a frame that lends nothing.
///
/// # Panics
/// In debug builds, when the payload is longer than its kind allows.
pub fn write(buffer: &mut Vec<u8>, envelope: Envelope, payload: &[u8]) {
    write_lending(buffer, envelope, payload, &[]);
}

/// Appends a frame. Of more than [`MAX_IDS`] ids only the first go with it.
///
/// # Panics
/// In debug builds, when the payload is longer than its kind allows.
pub fn write_lending(buffer: &mut Vec<u8>, envelope: Envelope, payload: &[u8], lent: &[u64]) {
    let lent = &lent[..lent.len().min(MAX_IDS)];
    let length = payload.len() + size_of_val(lent);
    debug_assert!(
        length <= envelope.kind.max_payload(),
        "the sender checks the length"
    );
    buffer.reserve(HEADER + length);
    let mut header = [0; HEADER];
    header[0..4].copy_from_slice(&(length as u32).to_le_bytes());
    header[4] = envelope.kind as u8;
    header[5] = envelope.kind.lane() as u8;
    header[6..8].copy_from_slice(&(lent.len() as u16).to_le_bytes());
    header[8..16].copy_from_slice(&envelope.target.to_le_bytes());
    header[16..24].copy_from_slice(&envelope.correlation.to_le_bytes());
    buffer.extend_from_slice(&header);
    buffer.extend_from_slice(payload);
    for id in lent {
        buffer.extend_from_slice(&id.to_le_bytes());
    }
}

/// The first frame of `bytes`, and how many bytes it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A whole frame and its length.
    Frame(Frame<'a>, usize),
    /// More bytes are needed: so many in all, as far as can be told.
    Incomplete(usize),
}

/// Reads the frame at the start of `bytes`.
///
/// # Errors
/// When the bytes are no frame; whatever follows cannot be understood either.
pub fn parse(bytes: &[u8]) -> Result<Parsed<'_>, WireError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(Parsed::Incomplete(HEADER));
    };
    let length = u32::from_le_bytes(part(header, 0)) as usize;
    let kind = Kind::from_byte(header[4]).ok_or(WireError::Kind(header[4]))?;
    let lane = header[5];
    if lane != kind.lane() as u8 {
        return Err(WireError::Lane { kind, lane });
    }
    // Before anything is allocated for it.
    if length > kind.max_payload() {
        return Err(WireError::Length { kind, length });
    }
    let lent = usize::from(u16::from_le_bytes(part(header, 6))) * size_of::<u64>();
    if lent > length || (lent > 0 && !kind.lends()) {
        return Err(WireError::Lent(kind));
    }
    let Some(payload) = rest.get(..length) else {
        return Ok(Parsed::Incomplete(HEADER + length));
    };
    let envelope = Envelope {
        kind,
        target: u64::from_le_bytes(part(header, 8)),
        correlation: u64::from_le_bytes(part(header, 16)),
    };
    let (payload, lent) = payload.split_at(length - lent);
    Ok(Parsed::Frame(
        Frame {
            envelope,
            payload,
            lent,
        },
        HEADER + length,
    ))
}

fn part<const N: usize>(header: &[u8; HEADER], at: usize) -> [u8; N] {
    header[at..]
        .first_chunk()
        .copied()
        .expect("all parts are within the header")
}

/// Where frames begin that this module wrote.
pub(crate) fn starts(bytes: &[u8]) -> impl Iterator<Item = usize> + Clone + '_ {
    let mut next = 0;
    std::iter::from_fn(move || {
        let header = bytes.get(next..)?.first_chunk::<HEADER>()?;
        let start = next;
        next += HEADER + u32::from_le_bytes(part(header, 0)) as usize;
        Some(start)
    })
}

/// Bytes that are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The kind byte has no meaning.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// The lane is not that of the kind.
    #[error("a {kind:?} frame in lane {lane}")]
    Lane {
        /// The frame's kind.
        kind: Kind,
        /// The lane it claims.
        lane: u8,
    },
    /// More is lent than the frame has room for, or in a frame that cannot lend.
    #[error("a {0:?} frame that lends what it does not have")]
    Lent(Kind),
    /// Longer than allowed.
    #[error("a {kind:?} frame of {length} bytes is too long")]
    Length {
        /// The frame's kind.
        kind: Kind,
        /// The payload's length.
        length: usize,
    },
    /// The payload is not what the kind calls for.
    #[error("the payload of a {kind:?} frame: {reason}")]
    Payload {
        /// The frame's kind.
        kind: Kind,
        /// What the codec says.
        reason: String,
    },
    /// More than may be under way.
    #[error("more messages for coroutine {0}, or for all, than may be under way")]
    Window(u64),
    /// A frame that may not come now.
    #[error("a {0:?} frame that nobody may send at this point")]
    Unexpected(Kind),
}

/// The payload of the first frame each way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The network that the sender is on.
    pub network: String,
    /// Who it is and where it listens; who it is must agree with its certificate.
    pub location: Location,
    /// Grows with every hello of the sender: tells a greeting that crossed a link, or comes late,
    /// from one that is to replace the link.
    pub number: u64,
    /// Which session the link is for.
    pub session: SessionId,
    /// How many frames of each lane the sender has had in it.
    pub received: [u64; 2],
    /// How many bytes of messages the sender keeps: of its own, those without an ack; of the
    /// receiver's, those that no coroutine has taken.
    pub capacity: u64,
}

/// A session is named by both sides: each numbers its own, and a number means one session to the
/// node that gave it and to nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionId {
    /// The number that the sender has given it.
    pub ours: u64,
    /// The one that the receiver has given it, as far as the sender knows; else 0.
    pub theirs: u64,
}

/// The payload of the last frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Goodbye {
    /// The sender shuts down.
    Leaving,
    /// Instead of a hello: there is a better link between the two already, or soon.
    Duplicate,
    /// The sender will not talk to the receiver.
    Refused(String),
    /// The sender ends the session, and stays in the network.
    Closed,
}

/// Appends a frame whose payload is `value` in postcard.
///
/// # Panics
/// When the value cannot be encoded; the types of this module always can.
pub fn write_value<T: Serialize>(buffer: &mut Vec<u8>, envelope: Envelope, value: &T) {
    let payload = postcard::to_allocvec(value).expect("plain data can be encoded");
    write(buffer, envelope, &payload);
}

/// Reads the payload of a frame whose kind has a postcard payload.
///
/// # Errors
/// When it is not exactly one `T`.
pub fn read_value<'a, T: Deserialize<'a>>(frame: &Frame<'a>) -> Result<T, WireError> {
    let kind = frame.envelope.kind;
    match postcard::take_from_bytes(frame.payload) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(WireError::Payload {
            kind,
            reason: "bytes are left over".into(),
        }),
        Err(e) => Err(WireError::Payload {
            kind,
            reason: e.to_string(),
        }),
    }
}
