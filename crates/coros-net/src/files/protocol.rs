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
    /// Say whether the whole file has that hash; [`Giving::compared`] with the result.
    Compare(Hash),
    /// Send all of it, from the start.
    All,
    /// Send what is behind so many first bytes if they have that hash, otherwise all of it.
    Behind(u64, Hash),
    /// It has arrived, and is in its place.
    Arrived,
    /// It is not wanted.
    Stop(Refusal),
}

#[derive(Debug)]
enum Gives {
    Offered,
    Compares,
    Differs,
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
            (Gives::Offered, Heard::Say(Say::Have { hash })) => {
                (Give::Compare(*hash), Gives::Compares)
            }
            (Gives::Offered | Gives::Differs, Heard::Say(Say::Want { kept, hash })) => {
                if *kept > self.size {
                    let why = format!("{kept} bytes kept of a file of {}", self.size);
                    return Err(Violation(why));
                }
                match kept {
                    0 => (Give::All, Gives::Begun),
                    kept => (Give::Behind(*kept, *hash), Gives::Begun),
                }
            }
            (Gives::Ended, Heard::Say(Say::Done)) => (Give::Arrived, Gives::Over),
            _ => return Err(Violation::unexpected(heard)),
        };
        self.state = state;
        Ok(give)
    }

    /// It has been said whether the file is the same.
    pub(super) fn compared(&mut self, same: bool) {
        self.state = if same { Gives::Ended } else { Gives::Differs };
    }

    /// All bytes have been sent, and their hash.
    pub(super) fn ended(&mut self) {
        self.state = Gives::Ended;
    }
}

/// What who gets the file is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// The file that is there is the same.
    Keep,
    /// The file that is there is another.
    Differs,
    /// Go on behind the bytes that are kept.
    Continue,
    /// Forget the bytes that are kept.
    StartOver,
    /// Write the piece.
    Write,
    /// All is there: compare it, and put it in its place.
    Finish(Hash),
}

#[derive(Clone, Copy, Debug)]
enum Takes {
    Waits,
    Has,
    Wants { kept: u64 },
    At(u64),
}

/// The side that gets the file, from the offer on.
#[derive(Debug)]
pub(super) struct Taking {
    size: u64,
    state: Takes,
}

impl Taking {
    pub(super) fn new(size: u64) -> Self {
        let state = Takes::Waits;
        Taking { size, state }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// It has been said that there is such a file already.
    pub(super) fn has(&mut self) {
        self.state = Takes::Has;
    }

    /// It has been said that so many bytes are kept.
    pub(super) fn wants(&mut self, kept: u64) {
        self.state = Takes::Wants { kept };
    }

    /// The inner error is what the other side says.
    pub(super) fn heard(&mut self, heard: &Heard) -> Result<Result<Take, Refusal>, Violation> {
        let (take, state) = match (self.state, heard) {
            (_, Heard::Say(Say::Refused(why))) => return Ok(Err(why.clone())),
            (Takes::Has, Heard::Say(Say::Same(true))) => (Take::Keep, Takes::Waits),
            (Takes::Has, Heard::Say(Say::Same(false))) => (Take::Differs, Takes::Waits),
            (Takes::Wants { kept }, Heard::Say(Say::From { offset })) => {
                let take = match *offset {
                    offset if offset == kept => Take::Continue,
                    0 => Take::StartOver,
                    _ => return Err(Violation::unexpected(heard)),
                };
                (take, Takes::At(*offset))
            }
            (Takes::At(at), Heard::Piece(bytes)) => {
                let at = at + bytes.len() as u64;
                if at > self.size {
                    let why = format!("more than the {} bytes that it announced", self.size);
                    return Err(Violation(why));
                }
                (Take::Write, Takes::At(at))
            }
            (Takes::At(at), Heard::Say(Say::End { hash })) if at == self.size => {
                (Take::Finish(*hash), Takes::Waits)
            }
            (Takes::At(at), Heard::Say(Say::End { .. })) => {
                let why = format!("{at} of the {} bytes that it announced", self.size);
                return Err(Violation(why));
            }
            _ => return Err(Violation::unexpected(heard)),
        };
        self.state = state;
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

    const HASH: Hash = [1; 32];

    fn wanting(size: u64, kept: u64) -> Taking {
        let mut taking = Taking::new(size);
        taking.wants(kept);
        taking
    }

    #[test]
    fn taking_counts_what_comes() {
        let end = say(Say::End { hash: HASH });
        let mut taking = wanting(10, 4);
        let from = |offset| say(Say::From { offset });
        assert_eq!(taking.heard(&from(4)), Ok(Ok(Take::Continue)));
        assert_eq!(taking.heard(&piece(6)), Ok(Ok(Take::Write)));
        assert!(taking.heard(&piece(1)).is_err(), "more than announced");
        assert_eq!(taking.heard(&end), Ok(Ok(Take::Finish(HASH))));
        assert!(taking.heard(&end).is_err(), "over");

        let mut over = wanting(10, 4);
        assert_eq!(over.heard(&from(0)), Ok(Ok(Take::StartOver)));
        assert_eq!(over.heard(&piece(6)), Ok(Ok(Take::Write)));
        assert!(over.heard(&end).is_err(), "less than announced");
        assert_eq!(
            over.heard(&say(Say::Refused(Refusal::Changed))),
            Ok(Err(Refusal::Changed))
        );
    }

    #[test]
    fn taking_compares_what_is_there() {
        let mut taking = Taking::new(10);
        assert!(taking.heard(&say(Say::Same(true))).is_err(), "nobody asked");
        taking.has();
        assert!(taking.heard(&say(Say::From { offset: 0 })).is_err());
        assert_eq!(taking.heard(&say(Say::Same(false))), Ok(Ok(Take::Differs)));
        taking.has();
        assert_eq!(taking.heard(&say(Say::Same(true))), Ok(Ok(Take::Keep)));
        assert!(taking.heard(&say(Say::Same(true))).is_err(), "over");
    }

    #[test]
    fn taking_refuses_what_is_out_of_turn() {
        for heard in [
            piece(1),
            say(Say::End { hash: HASH }),
            say(Say::From { offset: 3 }),
            say(Say::Same(true)),
            say(Say::Done),
        ] {
            assert!(wanting(10, 4).heard(&heard).is_err(), "{heard:?}");
        }
        let mut begun = wanting(10, 4);
        assert!(begun.heard(&say(Say::From { offset: 4 })).is_ok());
        assert!(begun.heard(&say(Say::From { offset: 4 })).is_err());
    }

    #[test]
    fn giving_follows_the_answers() {
        let want = |kept| say(Say::Want { kept, hash: HASH });
        let mut giving = Giving::new(10);
        assert_eq!(giving.heard(&want(10)), Ok(Give::Behind(10, HASH)));
        assert!(giving.heard(&say(Say::Done)).is_err(), "not all is sent");
        giving.ended();
        assert_eq!(giving.heard(&say(Say::Done)), Ok(Give::Arrived));
        assert!(giving.heard(&say(Say::Done)).is_err(), "over");

        let have = say(Say::Have { hash: HASH });
        let mut same = Giving::new(10);
        assert_eq!(same.heard(&have), Ok(Give::Compare(HASH)));
        assert!(same.heard(&want(0)).is_err(), "before it is compared");
        same.compared(true);
        assert_eq!(same.heard(&say(Say::Done)), Ok(Give::Arrived));
        let mut other = Giving::new(10);
        assert_eq!(other.heard(&have), Ok(Give::Compare(HASH)));
        other.compared(false);
        assert!(other.heard(&have).is_err(), "once is enough");
        assert_eq!(other.heard(&want(0)), Ok(Give::All));

        assert!(Giving::new(10).heard(&want(11)).is_err());
        for heard in [piece(1), say(Say::Done), say(Say::Same(true))] {
            assert!(Giving::new(10).heard(&heard).is_err(), "{heard:?}");
        }
        let refused = say(Say::Refused(Refusal::Exists));
        assert_eq!(
            Giving::new(10).heard(&refused),
            Ok(Give::Stop(Refusal::Exists))
        );
    }
}
