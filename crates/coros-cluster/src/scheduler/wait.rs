//! How long nodes, or a service, are waited for: that is told early, and again when it is over.

use std::time::{Duration, Instant};

/// How long it takes until that somebody waits is worth a word: what is there is usually found sooner.
pub(super) const EARLY: Duration = Duration::from_secs(1);

/// Somebody waits, until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// When that is to be told, unless it has been.
    tell: Option<Instant>,
    until: Instant,
}

/// What is to be done about those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// It is to be told that they do.
    Told,
    /// They have waited for long enough.
    Over,
}

impl Wait {
    /// Somebody begins to wait, for so long at most.
    pub(super) fn new(now: Instant, limit: Duration) -> Self {
        Wait {
            tell: (limit > EARLY).then_some(now + EARLY),
            until: now + limit,
        }
    }

    /// What is waited for has come nearer: from now on it may take as long again.
    pub(super) fn extend(&mut self, now: Instant, limit: Duration) {
        let again = Wait::new(now, limit);
        self.until = again.until;
        self.tell = self.tell.and(again.tell);
    }

    /// When something is [due](Wait::due) next.
    pub(super) fn deadline(&self) -> Instant {
        self.tell.unwrap_or(self.until)
    }

    /// What is to be done now, if anything; that it is to be told, once.
    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        if self.until <= now {
            return Some(Due::Over);
        }
        let tell = self.tell.take_if(|tell| *tell <= now);
        tell.map(|_| Due::Told)
    }

    /// Whether it has been told.
    pub(super) fn is_told(&self) -> bool {
        self.tell.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn it_is_told_once_and_early_and_then_it_is_over() {
        let now = Instant::now();
        let mut wait = Wait::new(now, LIMIT);
        assert_eq!((wait.deadline(), wait.due(now)), (now + EARLY, None));
        assert!(!wait.is_told());
        assert_eq!(wait.due(now + EARLY), Some(Due::Told));
        assert!(wait.is_told());
        assert_eq!(
            (wait.deadline(), wait.due(now + EARLY)),
            (now + LIMIT, None)
        );
        assert_eq!(wait.due(now + LIMIT), Some(Due::Over));
    }

    #[test]
    fn progress_makes_it_longer_and_it_is_told_once_all_the_same() {
        let now = Instant::now();
        let mut wait = Wait::new(now, LIMIT);
        let later = now + EARLY / 2;
        wait.extend(later, LIMIT);
        assert_eq!(wait.due(now + EARLY), None);
        assert_eq!(wait.due(later + EARLY), Some(Due::Told));
        wait.extend(later + LIMIT / 2, LIMIT);
        assert_eq!(wait.deadline(), later + LIMIT / 2 + LIMIT);
    }

    #[test]
    fn what_is_over_soon_is_not_told_before() {
        let now = Instant::now();
        let wait = Wait::new(now, EARLY);
        assert_eq!(wait.deadline(), now + EARLY);
    }
}
