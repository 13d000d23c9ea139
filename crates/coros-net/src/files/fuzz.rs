//! What of files a peer's bytes reach, for fuzzing; no part of the API.

use super::name::FileName;
use super::wire::{HEADER, Heard, decode, encode, header};

/// Takes a frame as from a peer. What is understood has to mean the same when it is said again.
pub fn frame(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return;
    };
    let Ok((kind, length)) = header(*head) else {
        return;
    };
    let Some(payload) = rest.get(..length) else {
        return;
    };
    if let Ok(heard @ Heard::Say(_)) = decode(kind, payload.to_vec()) {
        let Heard::Say(say) = &heard else { return };
        let again = encode(say);
        let again = decode(kind, again[HEADER..].to_vec());
        assert_eq!(again, Ok(heard));
    }
}

/// Takes a name as from a peer. What is accepted has to be parts that lead nowhere else.
pub fn name(text: &str) {
    let Ok(name) = FileName::new(text) else {
        return;
    };
    let parts: Vec<_> = name.folders().chain([name.last()]).collect();
    assert_eq!(parts.join("/"), text);
    for part in parts {
        let plain = !part.is_empty() && part != "." && part != "..";
        assert!(plain && !part.contains(['/', '\\', '\0']), "{text:?}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::wire::{Kind, Say};
    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_not(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            frame(&bytes);
            // With a header that fits, as far as it can.
            let mut framed = [&[0; HEADER], &bytes[..]].concat();
            super::super::wire::frame(Kind::Say, &mut framed);
            frame(&framed);
        }

        #[test]
        fn any_text_is_a_name_or_not(text in "[a./\\\\\0:-]{0,12}") {
            name(&text);
            frame(&encode(&Say::Fetch { name: text }));
        }
    }
}
