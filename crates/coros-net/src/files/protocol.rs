//! The two sides of a transfer: what may be said when, and what it means.
//!
//! Sans-io: no files, sockets or clocks. Who has a file is a [`Giving`], who gets it a
//! [`Taking`], whichever of them dialled.

use super::refusal::Refusal;
use super::wire::{Hash, Heard, Say};

/// What was said may not be said now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Violation(String);

impl Violation {
    fn unexpected(heard: &Heard) -> Self {
        Violation(match heard {
            Heard::Piece(bytes) => format!("{} bytes of a file that nobody waits for", bytes.len()),
            Heard::Say(say) => format!("{say:?} at this point"),
        })
    }
}

/// What who has the file is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Give {
    /// The same content is there.
    Skip,
    /// Send all of it, from the start.
    All,
    /// Compare the hash of so many first bytes; [`Giving::starts`] with the result.
    Compare(u64, Hash),
    /// It has arrived, and is in its place.
    Arrived,
    /// It is not wanted.
    Stop(Refusal),
}

#[derive(Debug)]
enum Gives {
    Offered,
    Begun,
    Ended,
    Over,
}

/// The side that has the file, from its offer on.
#[derive(Debug)]
pub(super) struct Giving {
    size: u64,
    state: Gives,
}

impl Giving {
    pub(super) fn new(size: u64) -> Self {
        let state = Gives::Offered;
        Giving { size, state }
    }

    pub(super) fn heard(&mut self, heard: &Heard) -> Result<Give, Violation> {
        let (give, state) = match (&self.state, heard) {
            (Gives::Over, _) => return Err(Violation::unexpected(heard)),
            (_, Heard::Say(Say::Refused(why))) => (Give::Stop(why.clone()), Gives::Over),
            (Gives::Offered, Heard::Say(Say::Have)) => (Give::Skip, Gives::Over),
            (Gives::Offered, Heard::Say(Say::Want { kept, hash })) => {
                if *kept > self.size {
                    let why = format!("{kept} bytes kept of a file of {}", self.size);
                    return Err(Violation(why));
                }
                match kept {
                    0 => (Give::All, Gives::Begun),
                    kept => (Give::Compare(*kept, *hash), Gives::Begun),
                }
            }
            (Gives::Ended, Heard::Say(Say::Done)) => (Give::Arrived, Gives::Over),
            _ => return Err(Violation::unexpected(heard)),
        };
        self.state = state;
        Ok(give)
    }

    /// All bytes have been sent.
    pub(super) fn ended(&mut self) {
        self.state = Gives::Ended;
    }
}

/// What who gets the file is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// Go on behind the bytes that are kept.
    Continue,
    /// Forget the bytes that are kept.
    StartOver,
    /// Write the piece.
    Write,
    /// All is there: check it, and put it in its place.
    Finish,
}

/// The side that gets the file, from its `want` on.
#[derive(Debug)]
pub(super) struct Taking {
    size: u64,
    kept: u64,
    at: Option<u64>,
}

impl Taking {
    pub(super) fn new(size: u64, kept: u64) -> Self {
        let at = None;
        Taking { size, kept, at }
    }

    /// The inner error is what the other side says.
    pub(super) fn heard(&mut self, heard: &Heard) -> Result<Result<Take, Refusal>, Violation> {
        let take = match (self.at, heard) {
            (_, Heard::Say(Say::Refused(why))) => return Ok(Err(why.clone())),
            (None, Heard::Say(Say::From { offset })) => {
                self.at = Some(*offset);
                match *offset {
                    offset if offset == self.kept => Take::Continue,
                    0 => Take::StartOver,
                    _ => return Err(Violation::unexpected(heard)),
                }
            }
            (Some(at), Heard::Piece(bytes)) => {
                let at = at + bytes.len() as u64;
                if at > self.size {
                    let why = format!("more than the {} bytes that it announced", self.size);
                    return Err(Violation(why));
                }
                self.at = Some(at);
                Take::Write
            }
            (Some(at), Heard::Say(Say::End)) if at == self.size => Take::Finish,
            (Some(at), Heard::Say(Say::End)) => {
                let why = format!("{at} of the {} bytes that it announced", self.size);
                return Err(Violation(why));
            }
            _ => return Err(Violation::unexpected(heard)),
        };
        Ok(Ok(take))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(say: Say) -> Heard {
        Heard::Say(say)
    }

    fn piece(length: usize) -> Heard {
        Heard::Piece(vec![0; length])
    }

    #[test]
    fn taking_counts_what_comes() {
        let mut taking = Taking::new(10, 4);
        assert_eq!(
            taking.heard(&say(Say::From { offset: 4 })),
            Ok(Ok(Take::Continue))
        );
        assert_eq!(taking.heard(&piece(6)), Ok(Ok(Take::Write)));
        assert_eq!(taking.heard(&say(Say::End)), Ok(Ok(Take::Finish)));
        assert!(taking.heard(&piece(1)).is_err(), "more than announced");

        let mut over = Taking::new(10, 4);
        assert_eq!(
            over.heard(&say(Say::From { offset: 0 })),
            Ok(Ok(Take::StartOver))
        );
        assert_eq!(over.heard(&piece(6)), Ok(Ok(Take::Write)));
        assert!(over.heard(&say(Say::End)).is_err(), "less than announced");
        assert_eq!(
            over.heard(&say(Say::Refused(Refusal::Changed))),
            Ok(Err(Refusal::Changed))
        );
    }

    #[test]
    fn taking_refuses_what_is_out_of_turn() {
        for heard in [
            piece(1),
            say(Say::End),
            say(Say::From { offset: 3 }),
            say(Say::Done),
        ] {
            assert!(Taking::new(10, 4).heard(&heard).is_err(), "{heard:?}");
        }
        let mut begun = Taking::new(10, 4);
        assert!(begun.heard(&say(Say::From { offset: 4 })).is_ok());
        assert!(begun.heard(&say(Say::From { offset: 4 })).is_err());
    }

    #[test]
    fn giving_follows_the_answers() {
        let hash = [1; 32];
        let mut giving = Giving::new(10);
        let want = |kept| say(Say::Want { kept, hash });
        assert_eq!(giving.heard(&want(10)), Ok(Give::Compare(10, hash)));
        assert!(giving.heard(&say(Say::Done)).is_err(), "not all is sent");
        giving.ended();
        assert_eq!(giving.heard(&say(Say::Done)), Ok(Give::Arrived));
        assert!(giving.heard(&say(Say::Done)).is_err(), "over");

        assert!(Giving::new(10).heard(&want(11)).is_err());
        assert_eq!(Giving::new(10).heard(&want(0)), Ok(Give::All));
        assert_eq!(Giving::new(10).heard(&say(Say::Have)), Ok(Give::Skip));
        for heard in [piece(1), say(Say::Done), say(Say::End)] {
            assert!(Giving::new(10).heard(&heard).is_err(), "{heard:?}");
        }
        let refused = say(Say::Refused(Refusal::Exists));
        assert_eq!(
            Giving::new(10).heard(&refused),
            Ok(Give::Stop(Refusal::Exists))
        );
    }
}
