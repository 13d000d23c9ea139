//! What peers say in words: no longer than anybody reads, and, when it has come, with nothing in it that
//! steers a terminal or hides.
//!
//! The latter is done where it is decoded, so that whoever shows it need not think of it. What users'
//! programs say of themselves, as in [`Exit::Failed`], keeps its lines. Whoever says something cuts it to
//! what will be read of it, so that it fits into a frame.

use std::borrow::Cow;

use coros_core::remote::{
    CarryError, CodecError, MAX_TOLD, readable_lines_within, readable_within,
};
use coros_core::{Exit, SwapError};

/// In bytes, of what has many lines; all else has [`MAX_TOLD`].
const LONG: usize = 16 << 10;

/// As much of a text as is said.
pub(crate) fn cut(text: &str) -> &str {
    start(text, MAX_TOLD)
}

/// As much of an end as is said.
pub(crate) fn cut_exit(exit: &Exit) -> Exit {
    match exit {
        Exit::Failed(why) if why.len() > LONG => Exit::Failed(start(why, LONG).into()),
        Exit::Panicked(why) if why.len() > LONG => Exit::Panicked(start(why, LONG).into()),
        exit => exit.clone(),
    }
}

/// As much of an error as is said.
pub(crate) fn cut_carry(error: &CarryError) -> CarryError {
    let cut = |text: &str| cut(text).to_owned();
    match error {
        CarryError::Disconnected(why) => CarryError::Disconnected(Box::new(cut(why))),
        CarryError::Codec(error) => CarryError::Codec(error.map(cut)),
        error => error.clone(),
    }
}

fn start(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

pub(crate) fn text(of: &str) -> String {
    readable_within(of, MAX_TOLD)
}

/// What a program says that has ended.
pub(crate) fn exit(exit: Exit) -> Exit {
    let lines = |of: &str| readable_lines_within(of, LONG).into();
    match exit {
        Exit::Failed(why) => Exit::Failed(lines(&why)),
        Exit::Panicked(why) => Exit::Panicked(lines(&why)),
        exit => exit,
    }
}

pub(crate) fn codec(error: &CodecError) -> CodecError {
    error.map(text)
}

pub(crate) fn carry(error: CarryError) -> CarryError {
    match error {
        CarryError::Codec(error) => CarryError::Codec(codec(&error)),
        CarryError::Disconnected(why) => CarryError::Disconnected(Box::new(text(&why))),
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
        SwapError::UnknownFunction(name) => SwapError::UnknownFunction(text(&name)),
        SwapError::Ended(why) => SwapError::Ended(exit(why)),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use coros_core::is_readable;

    use super::*;

    #[test]
    fn nothing_that_peers_say_steers_a_terminal() {
        let wild = || "\u{1b}[2J\n\u{202e}".to_owned() + &"x".repeat(1 << 16);
        let tame = |shown: &str| is_readable(shown) && shown.len() < 3 * MAX_TOLD + 200;
        let wild_codec = CodecError::new(&wild(), &wild(), wild());
        assert!(tame(&codec(&wild_codec).to_string()));
        for error in [
            CarryError::Codec(wild_codec),
            CarryError::Disconnected(Box::new(wild())),
        ] {
            assert!(tame(&carry(error).to_string()));
        }
        let types = || (Cow::Owned(wild()), Cow::Owned(wild()));
        let ((running, offered), (also_running, also_offered)) = (types(), types());
        for error in [
            SwapError::Refused(wild()),
            SwapError::Disconnected(wild()),
            SwapError::UnknownFunction(wild()),
            SwapError::WrongResult { running, offered },
            SwapError::WrongMessages {
                running: also_running,
                offered: also_offered,
            },
        ] {
            assert!(tame(&swap(error).to_string()));
        }
        assert_eq!(text("läßt es"), "läßt es");
        assert_eq!(text(&text(&wild())), text(&wild()), "once is enough");
    }

    #[test]
    fn how_programs_end_keeps_its_lines() {
        let wild: Arc<str> = "left:\n  1\u{1b}[2J".into();
        for wild in [Exit::Failed(wild.clone()), Exit::Panicked(wild)] {
            let shown = exit(wild.clone()).to_string();
            assert!(shown.ends_with("left:\n  1\\u{1b}[2J"), "{shown}");
            let swap = swap(SwapError::Ended(wild)).to_string();
            assert!(swap.ends_with(&shown), "{swap}");
        }
        let long = exit(Exit::Failed("\u{1b}".repeat(1 << 20).into()));
        assert!(long.to_string().len() < LONG + 10);
    }
}
