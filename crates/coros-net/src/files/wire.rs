//! What two nodes say to each other about files, byte by byte.
//!
//! A connection for files is greeted like a link, but for the hello's target, which is
//! [`FILES`](crate::wire::FILES) both ways. From then on it carries frames back to back, in
//! turns. Integers of the header are little-endian.
//!
//! ```text
//!   0       4      5
//!   +-------+------+-----------------+
//!   | length| kind | payload         |
//!   | u32   | u8   | `length` bytes  |
//!   +-------+------+-----------------+
//! ```
//!
//! Kind 0 is a piece of a file, 1 byte to 256 KiB of it. Kind 1 is a [`Say`] in postcard, at most
//! 8 KiB: a byte that tells which, then its fields in order; a `u64` is a varint, a hash its 32
//! bytes, a `bool` a byte, a text its length as a varint and then UTF-8.
//!
//! | byte | say     | fields                                       | said by                     |
//! |------|---------|----------------------------------------------|-----------------------------|
//! | 0    | send    | replace: bool, size: u64, stamp: u64, name: text | the dialler             |
//! | 1    | fetch   | name: text                                   | the dialler                 |
//! | 2    | delete  | name: text                                   | the dialler                 |
//! | 3    | offer   | size: u64, stamp: u64                        | the dialled, to a fetch     |
//! | 4    | have    | hash of the file that is there               | who gets the file           |
//! | 5    | same    | whether the file has that hash: bool         | who has the file            |
//! | 6    | want    | kept: u64, hash of what is kept              | who gets the file           |
//! | 7    | from    | offset: u64, `kept` or 0                     | who has the file            |
//! | 8    | end     | hash of the whole file                       | who has the file            |
//! | 9    | done    |                                              | who gets the file, or deleted |
//! | 10   | refused | [`Refusal`]: a byte which, and its fields    | whoever cannot go on        |
//! | 11   | working |                                              | whoever keeps the other waiting |
//!
//! ```text
//!   send a file                 fetch a file                delete a file
//!   dialler        dialled      dialler        dialled      dialler    dialled
//!   send      ->                fetch     ->                delete ->
//!             <-  want                    <-  offer                <-  done
//!   from      ->                want      ->
//!   pieces    ->                          <-  from
//!   end       ->                          <-  pieces
//!             <-  done                    <-  end
//!                               done      ->
//! ```
//!
//! Nobody hashes a file before it is sent: who has it does so while it reads, and tells the hash
//! at the end. The exception is a file of the same name and size at who gets it: that one says
//! `have` first, and to `same` either `done`, or `want` as if there were none. `refused` in place
//! of anything says why there is no more. After a `refused` once pieces were under way the
//! connection ends; otherwise the next operation may follow.
//!
//! Who gets a file keeps what came when the connection breaks, and says at the next attempt how
//! much that is and what its hash is. Who has the file goes on from there if its own bytes up to
//! there have that hash, otherwise from 0. The stamp is whatever changes when the file is written
//! to; what came of a file with another stamp, name or size is not looked at.
//!
//! Whoever keeps the other waiting says `working` twice within the time that counts as silence. That
//! is good for five minutes and some silences, and a second for each 4 MiB of a file that may have to
//! be gone through meanwhile. Pieces give back of that what they take at 2 KiB a second. Who waits for a turn of the dialled
//! may have to do so for 12 hours.

use serde::{Deserialize, Serialize};

use super::refusal::Refusal;

/// Bytes in front of every payload.
pub(super) const HEADER: usize = 5;
/// The longest piece of a file.
pub(super) const MAX_PIECE: usize = 256 << 10;
/// The longest of all other payloads.
const MAX_SAY: usize = 8 << 10;

pub(super) type Hash = [u8; 32];

/// All that is said besides the files' content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Say {
    Send {
        replace: bool,
        size: u64,
        stamp: u64,
        name: String,
    },
    Fetch {
        name: String,
    },
    Delete {
        name: String,
    },
    Offer {
        size: u64,
        stamp: u64,
    },
    Have {
        hash: Hash,
    },
    Same(bool),
    Want {
        kept: u64,
        hash: Hash,
    },
    From {
        offset: u64,
    },
    End {
        hash: Hash,
    },
    Done,
    Refused(Refusal),
    Working,
}

/// A frame that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Piece(Vec<u8>),
    Say(Say),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Piece = 0,
    Say = 1,
}

/// What a frame's header says, checked: nothing is allocated for a length that is not allowed.
pub(super) fn header(bytes: [u8; HEADER]) -> Result<(Kind, usize), String> {
    let [a, b, c, d, kind] = bytes;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let (kind, lengths) = match kind {
        0 => (Kind::Piece, 1..=MAX_PIECE),
        1 => (Kind::Say, 1..=MAX_SAY),
        other => return Err(format!("a frame of unknown kind {other}")),
    };
    if lengths.contains(&length) {
        Ok((kind, length))
    } else {
        Err(format!("a frame of {length} bytes, which is not allowed"))
    }
}

/// Makes a frame of a buffer that has room for the header in front.
pub(super) fn frame(kind: Kind, buffer: &mut [u8]) {
    let length = (buffer.len() - HEADER) as u32;
    buffer[..4].copy_from_slice(&length.to_le_bytes());
    buffer[4] = kind as u8;
}

pub(super) fn encode(say: &Say) -> Vec<u8> {
    let mut buffer = postcard::to_extend(say, vec![0; HEADER]).expect("plain data can be encoded");
    frame(Kind::Say, &mut buffer);
    buffer
}

pub(super) fn decode(kind: Kind, payload: Vec<u8>) -> Result<Heard, String> {
    match kind {
        Kind::Piece => Ok(Heard::Piece(payload)),
        Kind::Say => match postcard::take_from_bytes(&payload) {
            Ok((say, [])) => Ok(Heard::Say(say)),
            Ok(_) => Err("bytes are left over".into()),
            Err(error) => Err(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_documented() {
        let say = Say::Send {
            replace: true,
            size: 300,
            stamp: 129,
            name: "a/b".into(),
        };
        let expected = [10, 0, 0, 0, 1, 0, 1, 0xac, 2, 0x81, 1, 3, b'a', b'/', b'b'];
        let bytes = encode(&say);
        assert_eq!(bytes, expected);
        assert_eq!(header(*bytes.first_chunk().unwrap()), Ok((Kind::Say, 10)));
        assert_eq!(
            decode(Kind::Say, bytes[HEADER..].to_vec()),
            Ok(Heard::Say(say))
        );
        for (number, say) in [(9, Say::Done), (11, Say::Working)] {
            assert_eq!(encode(&say)[HEADER..], [number]);
        }
        assert_eq!(encode(&Say::Same(true))[HEADER..], [5, 1]);
        let end = encode(&Say::End { hash: [7; 32] });
        assert_eq!(end[HEADER..], [&[8][..], &[7; 32]].concat());
        let refused = encode(&Say::Refused(Refusal::TooLarge { largest: 5 }));
        assert_eq!(refused[HEADER..HEADER + 1], [10]);
    }

    #[test]
    fn lengths_and_kinds_are_checked() {
        for (length, kind, ok) in [
            (0, 0, false),
            (1, 0, true),
            (MAX_PIECE, 0, true),
            (MAX_PIECE + 1, 0, false),
            (0, 1, false),
            (MAX_SAY, 1, true),
            (MAX_SAY + 1, 1, false),
            (u32::MAX as usize, 1, false),
            (1, 2, false),
        ] {
            let mut bytes = [kind; HEADER];
            bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
            assert_eq!(header(bytes).is_ok(), ok, "{length} {kind}");
        }
        assert!(decode(Kind::Say, vec![9, 0]).is_err(), "left over");
        assert!(decode(Kind::Say, vec![12]).is_err(), "unknown");
        assert!(decode(Kind::Say, vec![1, 5, b'x']).is_err(), "too short");
    }
}
