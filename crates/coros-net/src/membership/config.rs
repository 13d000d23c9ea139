//! How often members are looked after, and how long they may be silent.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use super::packet::MAX_PACKET;

/// How long a member that is down is remembered, and sought in case that it was only cut off.
pub(super) const REMEMBERED: Duration = Duration::from_secs(600);

/// How often some members are asked who else there is, for those that no gossip told of.
const ASK: Duration = Duration::from_secs(30);

/// What is chosen for a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How often a node looks after one of the others.
    pub(crate) period: Duration,
    /// How many members, present and past, a node remembers.
    pub(crate) limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            period: Duration::from_secs(1),
            limit: 10_000,
        }
    }
}

/// How long a member is suspected before it counts as down: long enough that it hears of the
/// suspicion and contradicts, which takes the longer the more members there are.
pub(super) fn suspicion(period: Duration, members: usize) -> Duration {
    period.mul_f64(3.0 * magnitude(members))
}

/// What foca is told for so many members.
pub(super) fn config(period: Duration, members: usize) -> foca::Config {
    let one = NonZeroUsize::MIN;
    // At most 4 * log10(usize::MAX): it fits.
    let transmissions = NonZeroU8::new((4.0 * magnitude(members)).ceil() as u8);
    foca::Config {
        probe_period: period,
        probe_rtt: period / 2,
        num_indirect_probes: one.saturating_add(2),
        max_transmissions: transmissions.unwrap_or(NonZeroU8::MAX),
        suspect_to_down_after: suspicion(period, members),
        remove_down_after: Some(REMEMBERED),
        max_packet_size: NonZeroUsize::new(MAX_PACKET).expect("it is not 0"),
        notify_down_members: true,
        periodic_announce: Some(foca::PeriodicParams {
            frequency: ASK,
            num_members: one,
        }),
        // Both by `Membership` itself: also when no member is left, and over links that there are.
        periodic_announce_to_down_members: None,
        periodic_gossip: None,
    }
}

fn magnitude(members: usize) -> f64 {
    // So many members that this is not exact are more than there can be.
    (members as f64 + 1.0).log10().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_with_the_logarithm() {
        let second = Duration::from_secs(1);
        assert_eq!(suspicion(second, 0), 3 * second);
        assert_eq!(suspicion(second, 9), 3 * second);
        assert_eq!(suspicion(second, 999), 9 * second);
        assert_eq!(config(second, 9_999).max_transmissions.get(), 16);
        assert_eq!(
            config(second, usize::MAX).suspect_to_down_after.as_secs(),
            57
        );
    }
}
