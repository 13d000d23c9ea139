//! Who waits for all workers that there may be: a state machine, without workers or clocks.
//!
//! Workers start when there is something to do, and nodes come one after the other. So whoever wants all of them waits
//! until each host has as many as it may have, and for a moment whether another host comes; or until none comes any
//! more, as where others have all slots. No wait is longer than one worker may take to start.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::core::HostId;
use super::super::target::Target;
use super::hosts::Host;
use super::nodes::Remote;
use super::{Phase, Shell};

/// How long after the last node or worker has come it is taken for the last.
const SETTLED: Duration = Duration::from_secs(1);
/// How long workers are waited for of which none is on its way.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Muster {
    waiting: Vec<oneshot::Sender<Vec<Target>>>,
    /// Since when the first of them waits.
    since: Instant,
    /// When a node or a worker has come last.
    news: Instant,
    /// No more nodes come than there are.
    closed: bool,
    /// How long anybody waits.
    longest: Duration,
}

/// The workers that there are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Strength {
    /// How many take calls.
    pub(super) ready: usize,
    /// How many may, on the hosts that are there.
    pub(super) most: usize,
    /// Some are about to come.
    pub(super) coming: bool,
}

impl Muster {
    pub(super) fn new(now: Instant, closed: bool, longest: Duration) -> Self {
        Muster {
            waiting: Vec::new(),
            since: now,
            news: now,
            closed,
            longest,
        }
    }

    pub(super) fn join(&mut self, now: Instant, reply: oneshot::Sender<Vec<Target>>) {
        if self.waiting.is_empty() {
            self.since = now;
        }
        self.waiting.push(reply);
    }

    /// Whether anybody waits.
    pub(super) fn is_on(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A node or a worker has come.
    pub(super) fn has_come(&mut self, now: Instant) {
        self.news = now;
    }

    /// When it is over, if nothing comes.
    pub(super) fn until(&self, strength: Strength) -> Instant {
        let Strength {
            ready,
            most,
            coming,
        } = strength;
        let longest = self.since + self.longest;
        let until = match ready >= most {
            true if self.closed => self.since,
            true => self.news + SETTLED,
            false if coming => longest,
            false => self.since.max(self.news) + QUIET,
        };
        until.min(longest)
    }

    pub(super) fn answer(&mut self, workers: &[Target]) {
        for reply in self.waiting.drain(..) {
            // Who has asked may have gone away.
            let _ = reply.send(workers.to_vec());
        }
    }
}

impl Shell {
    /// When all who wait for workers have them, if anybody does.
    pub(super) fn mustered_at(&self) -> Option<Instant> {
        let muster = &self.muster;
        muster.is_on().then(|| muster.until(self.strength()))
    }

    /// Tells those who wait for all workers which there are, if no more come.
    pub(super) fn look_whether_mustered(&mut self) {
        let ends = !matches!(self.phase, Phase::Open);
        if let Some(until) = self.mustered_at()
            && (ends || until <= Instant::now())
        {
            let there = self.mustered();
            self.muster.answer(&there);
        }
    }

    fn strength(&self) -> Strength {
        let mut ready: BTreeMap<HostId, usize> = BTreeMap::new();
        for worker in self.workers.values().filter(|it| it.takes_calls()) {
            *ready.entry(worker.host).or_default() += 1;
        }
        let mut strength = Strength::default();
        for (id, host) in &self.hosts {
            let most = self.most_workers(host);
            let ready = ready.get(id).copied().unwrap_or_default();
            strength.ready += ready.min(most);
            strength.most = strength.most.saturating_add(most);
            let receives = host.remote.as_ref().is_some_and(|it| !it.ready);
            strength.coming |= most > 0 && (receives || host.pool.is_starting());
        }
        let limit = self.cluster.as_ref().map(|it| it.usage.limit);
        strength.most = strength.most.min(limit.unwrap_or(usize::MAX));
        strength
    }

    /// How many workers a host may have at present.
    fn most_workers(&self, host: &Host) -> usize {
        let here = self.here.as_ref().map_or(0, |here| here.workers);
        let most = host.remote.as_ref().map_or(here, Remote::most_workers);
        if host.held || host.closing { 0 } else { most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(60);

    fn of(ready: usize, most: usize, coming: bool) -> Strength {
        Strength {
            ready,
            most,
            coming,
        }
    }

    /// Somebody waits since a minute after the beginning, when a node had come last.
    fn muster(closed: bool) -> (Muster, Instant) {
        let begin = Instant::now();
        let mut muster = Muster::new(begin, closed, LONGEST);
        let now = begin + Duration::from_secs(60);
        muster.join(now, oneshot::channel().0);
        (muster, now)
    }

    #[test]
    fn where_all_are_there_nobody_waits() {
        for closed in [false, true] {
            let (muster, now) = muster(closed);
            assert!(muster.until(of(2, 2, false)) <= now);
            assert!(muster.until(of(0, 0, false)) <= now);
        }
    }

    #[test]
    fn another_node_may_come_soon_after_the_last() {
        for (closed, pause) in [(false, SETTLED), (true, Duration::ZERO)] {
            let (mut muster, now) = muster(closed);
            muster.has_come(now);
            assert_eq!(muster.until(of(2, 2, false)), now + pause);
        }
    }

    #[test]
    fn those_that_do_not_come_are_waited_for_a_while() {
        let (mut muster, now) = muster(false);
        assert_eq!(muster.until(of(1, 2, false)), now + QUIET);
        let later = now + Duration::from_secs(1);
        muster.has_come(later);
        assert_eq!(muster.until(of(1, 2, false)), later + QUIET);
    }

    #[test]
    fn those_that_are_coming_are_waited_for_until_they_should_be_there() {
        let (mut muster, now) = muster(false);
        assert_eq!(muster.until(of(1, 2, true)), now + LONGEST);
        // However many come and go.
        muster.has_come(now + LONGEST);
        for strength in [of(1, 2, true), of(1, 2, false), of(2, 2, false)] {
            assert_eq!(muster.until(strength), now + LONGEST);
        }
    }

    #[test]
    fn all_who_wait_are_told_and_wait_no_longer() {
        let now = Instant::now();
        let mut muster = Muster::new(now, true, LONGEST);
        let (one, mut first) = oneshot::channel();
        let (other, mut second) = oneshot::channel();
        muster.join(now, one);
        muster.join(now + QUIET, other);
        assert_eq!(muster.until(of(0, 1, false)), now + QUIET, "of the first");
        let there = [Target::worker("w1")];
        muster.answer(&there);
        assert!(!muster.is_on());
        for told in [&mut first, &mut second] {
            assert_eq!(told.try_recv().unwrap(), there);
        }
    }
}
