//! The flags of a coroutine.

/// A set of flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Flags(pub(super) u32);

impl Flags {
    pub(crate) const NONE: Flags = Flags(0);
    /// Not to be polled until resumed.
    pub(crate) const SUSPENDED: Flags = Flags(1);
    /// Somebody asked it to terminate.
    pub(crate) const TERMINATING: Flags = Flags(1 << 1);
    /// To be dropped at the next suspension point.
    pub(crate) const KILLED: Flags = Flags(1 << 2);
    /// It wants to be told of `TERMINATING` and to clean up.
    pub(crate) const GRACEFUL: Flags = Flags(1 << 3);
    /// A swap has been offered and not been looked at.
    pub(crate) const OFFERED: Flags = Flags(1 << 4);
    /// An offered swap was accepted and is due.
    pub(crate) const ACCEPTED: Flags = Flags(1 << 5);
    /// Its function is being replaced at this moment.
    pub(crate) const SWAPPING: Flags = Flags(1 << 6);
    /// Nobody waits for its end when the program ends.
    pub(crate) const DAEMON: Flags = Flags(1 << 7);
    /// It has a name, so it can be looked at.
    pub(crate) const NAMED: Flags = Flags(1 << 8);
    /// It has ended...
    pub(crate) const ENDED: Flags = Flags(1 << 9);
    /// ...by returning.
    pub(crate) const FINISHED: Flags = Flags(1 << 10);

    /// Those that the engine must look at before it polls.
    pub(crate) const ATTENTION: Flags = Flags::SUSPENDED
        .and(Flags::KILLED)
        .and(Flags::OFFERED)
        .and(Flags::ACCEPTED);

    pub(crate) const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether any of `other` is set.
    #[inline]
    pub(crate) const fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }
}
