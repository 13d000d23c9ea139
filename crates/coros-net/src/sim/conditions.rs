//! How good the way between two hosts is.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The same both ways.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    pub(super) latency: RangeInclusive<Duration>,
    /// Bytes a second, of each connection each way.
    pub(super) bandwidth: Option<u64>,
}

impl Default for Conditions {
    fn default() -> Self {
        let latency = Duration::from_millis(1);
        Conditions {
            latency: latency..=latency,
            bandwidth: None,
        }
    }
}

impl Conditions {
    /// Of a host to itself.
    pub(super) const INSTANT: Self = Conditions {
        latency: Duration::ZERO..=Duration::ZERO,
        bandwidth: None,
    };

    /// How long it takes to send so many bytes.
    pub(super) fn sending(&self, length: usize) -> Duration {
        let Some(bandwidth) = self.bandwidth else {
            return Duration::ZERO;
        };
        let nanos = length as u128 * 1_000_000_000 / u128::from(bandwidth.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
