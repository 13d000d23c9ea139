//! Random numbers that a seed determines.

use std::ops::RangeInclusive;
use std::time::Duration;

/// SplitMix64: small, and good enough to choose delays.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// Another sequence, so that what one party draws changes nothing for the others.
    pub(super) fn fork(&mut self) -> Self {
        Random(self.next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn wide(&mut self) -> u128 {
        (u128::from(self.next()) << 64) | u128::from(self.next())
    }

    pub(super) fn within(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let span = range.end().saturating_sub(*range.start());
        // A fraction of 2^32: the top bits are as random as any.
        let part = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        *range.start() + span.mul_f64(f64::from(part) / f64::from(u32::MAX))
    }
}
