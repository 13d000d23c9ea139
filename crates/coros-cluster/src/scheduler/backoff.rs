//! How long something is left alone that was of no use: the longer, the more often that was so.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Backoff(Duration);

impl Backoff {
    /// How long now, given whether it has been of use since the last time.
    pub(super) fn pause(&mut self, useful: bool) -> Duration {
        self.0 = match useful {
            true => SHORTEST,
            false => (self.0 * 2).clamp(SHORTEST, LONGEST),
        };
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_a_minute_and_begins_anew_after_some_use() {
        let mut backoff = Backoff::default();
        let seconds = [1, 2, 4, 8, 16, 32, 60, 60].map(Duration::from_secs);
        assert_eq!(seconds.map(|_| backoff.pause(false)), seconds);
        assert_eq!(backoff.pause(true), SHORTEST);
        assert_eq!(backoff.pause(false), 2 * SHORTEST);
    }
}
