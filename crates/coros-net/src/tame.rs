//! What peers say in words, made fit to be shown: with nothing in it that steers a terminal, and no
//! longer than anybody reads.
//!
//! Not for what users' programs say of themselves, as in [`Exit::Failed`](coros_core::Exit): that is
//! a message, whoever shows it.

use std::borrow::Cow;

use coros_core::SwapError;
use coros_core::remote::{CarryError, CodecError};

/// In characters.
const ENOUGH: usize = 1000;

pub(crate) fn text(of: &str) -> String {
    let escaped = |c: char| -> String {
        if c.is_control() {
            c.escape_default().collect()
        } else {
            c.into()
        }
    };
    of.chars().take(ENOUGH).map(escaped).collect()
}

pub(crate) fn codec(error: &CodecError) -> CodecError {
    CodecError {
        action: text(&error.action),
        type_name: text(&error.type_name),
        reason: text(&error.reason),
    }
}

pub(crate) fn carry(error: CarryError) -> CarryError {
    match error {
        CarryError::Codec(error) => CarryError::Codec(codec(&error)),
        CarryError::Disconnected(why) => CarryError::Disconnected(text(&why)),
        error => error,
    }
}

pub(crate) fn swap(error: SwapError) -> SwapError {
    let cow = |name: Cow<'static, str>| Cow::Owned(text(&name));
    match error {
        SwapError::Refused(why) => SwapError::Refused(text(&why)),
        SwapError::Disconnected(why) => SwapError::Disconnected(text(&why)),
        SwapError::WrongResult { running, offered } => SwapError::WrongResult {
            running: cow(running),
            offered: cow(offered),
        },
        SwapError::WrongMessages { running, offered } => SwapError::WrongMessages {
            running: cow(running),
            offered: cow(offered),
        },
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_peers_say_steers_a_terminal() {
        let wild = || "\u{1b}[2J\n".to_owned() + &"x".repeat(1 << 16);
        let tame = |shown: &str| !shown.contains(char::is_control) && shown.len() < 4096;
        let wild_codec = CodecError {
            action: wild(),
            type_name: wild(),
            reason: wild(),
        };
        assert!(tame(&codec(&wild_codec).to_string()));
        for error in [
            CarryError::Codec(wild_codec),
            CarryError::Disconnected(wild()),
        ] {
            assert!(tame(&carry(error).to_string()));
        }
        let types = || (Cow::Owned(wild()), Cow::Owned(wild()));
        let ((running, offered), (also_running, also_offered)) = (types(), types());
        for error in [
            SwapError::Refused(wild()),
            SwapError::Disconnected(wild()),
            SwapError::WrongResult { running, offered },
            SwapError::WrongMessages {
                running: also_running,
                offered: also_offered,
            },
        ] {
            assert!(tame(&swap(error).to_string()));
        }
        assert_eq!(text("läßt es"), "läßt es");
    }
}
