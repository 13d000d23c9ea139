//! What of files a peer's bytes reach, for fuzzing.

use super::name::FileName;
use super::refusal::Refusal;
use super::wire::{HEADER, Heard, Kind, Say, decode, encode, frame as framed, header};

/// Takes a frame as from a peer. What is understood has to mean the same when it is said again. Says
/// whether it is.
pub(crate) fn frame(bytes: &[u8]) -> bool {
    let Some((head, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return false;
    };
    let Ok((kind, length)) = header(*head) else {
        return false;
    };
    let Some(payload) = rest.get(..length) else {
        return false;
    };
    let Ok(heard) = decode(kind, payload.to_vec()) else {
        return false;
    };
    if let Heard::Say(say) = &heard {
        let again = encode(say);
        let again = decode(kind, again[HEADER..].to_vec());
        assert_eq!(again, Ok(heard));
    }
    true
}

/// Takes a name as from a peer. What is accepted has to be parts that lead nowhere else. Says
/// whether it is.
pub(crate) fn name(text: &str) -> bool {
    let Ok(name) = FileName::new(text) else {
        return false;
    };
    let parts: Vec<_> = name.folders().chain([name.last()]).collect();
    assert_eq!(parts.join("/"), text);
    for part in parts {
        let plain = !part.is_empty() && part != "." && part != "..";
        assert!(plain && !part.contains(['/', '\\', '\0']), "{text:?}");
    }
    true
}

/// Frames that a peer may send.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let say = [
        Say::Send {
            replace: true,
            size: 300,
            stamp: 300,
            name: "today/numbers".into(),
        },
        Say::Fetch {
            name: "numbers".into(),
        },
        Say::From { offset: 300 },
        Say::Done,
        Say::Refused(Refusal::TooLarge { largest: 5 }),
    ];
    let mut piece = [&[0; HEADER][..], b"1 2 3"].concat();
    framed(Kind::Piece, &mut piece);
    say.iter().map(encode).chain([piece]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_not(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            frame(&bytes);
            // With a header that fits, as far as it can.
            let mut bytes_framed = [&[0; HEADER], &bytes[..]].concat();
            framed(Kind::Say, &mut bytes_framed);
            frame(&bytes_framed);
        }

        #[test]
        fn any_text_is_a_name_or_not(text in "[a./\\\\\0:-]{0,12}") {
            name(&text);
            frame(&encode(&Say::Fetch { name: text }));
        }
    }
}
