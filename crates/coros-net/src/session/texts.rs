//! Texts of users, as far as a control frame takes them.

use coros_core::Exit;
use coros_core::remote::{CarryError, CodecError};

/// The longest text in an answer, in bytes; at most three fit into a control frame.
const MAX_TEXT: usize = 16 << 10;

/// What users wrote may be longer than a control frame.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

pub(super) fn shortened_exit(exit: &Exit) -> Exit {
    match exit {
        Exit::Failed(why) if why.len() > MAX_TEXT => Exit::Failed(shortened(why).into()),
        Exit::Panicked(why) if why.len() > MAX_TEXT => Exit::Panicked(shortened(why).into()),
        exit => exit.clone(),
    }
}

pub(super) fn shortened_error(error: &CarryError) -> CarryError {
    match error {
        CarryError::Disconnected(why) => CarryError::Disconnected(shortened(why).to_owned()),
        CarryError::Codec(error) => CarryError::Codec(CodecError {
            action: shortened(&error.action).to_owned(),
            type_name: shortened(&error.type_name).to_owned(),
            reason: shortened(&error.reason).to_owned(),
        }),
        error => error.clone(),
    }
}
