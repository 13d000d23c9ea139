//! Service hours: when a node lends its cores, by the time of the day.
//!
//! ```text
//!        from            until          kill-at            from
//!  ------->|----- open ---->|--- closing -->|---- closed ---->|---
//! ```
//!
//! Each of the three may be before or after midnight. Without `kill-at` closing goes on until
//! `from`.

use std::fmt;
use std::time::Duration;

use crate::flags::values::TimeOfDay;

const DAY: u32 = 24 * 60 * 60;
/// A clock may be set, forward or back: it is looked at so often at least.
const LOOK: Duration = Duration::from_secs(60);

/// What is done at some time of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Calls may begin.
    Open,
    /// None may begin, those that run go on.
    Closing,
    /// None runs.
    Closed,
}

/// When there is service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hours {
    from: TimeOfDay,
    /// What begins when, in seconds since midnight. Of two that begin at once the first is in force.
    changes: Vec<(u32, Service)>,
}

impl Hours {
    /// The hours that were given, if any were.
    pub(super) fn new(
        from: Option<TimeOfDay>,
        until: Option<TimeOfDay>,
        kill_at: Option<TimeOfDay>,
    ) -> Result<Option<Self>, String> {
        let (from, until) = match (from, until) {
            (Some(from), Some(until)) => (from, until),
            (None, None) if kill_at.is_none() => return Ok(None),
            _ => return Err("service hours need both --from and --until".into()),
        };
        if from == until {
            return Err(format!(
                "service from {from} until {until} is none: leave both out for all day"
            ));
        }
        let mut changes = Vec::new();
        if let Some(kill_at) = kill_at {
            let (from, until, at) = (seconds(from), seconds(until), seconds(kill_at));
            if ahead(until, at) >= ahead(until, from) {
                return Err(format!(
                    "--kill-at {kill_at} is not between the end of the service and its next beginning"
                ));
            }
            changes.push((at, Service::Closed));
        }
        changes.push((seconds(until), Service::Closing));
        changes.push((seconds(from), Service::Open));
        Ok(Some(Hours { from, changes }))
    }

    /// What there is at a time of the day, in seconds since midnight, and for how long.
    pub(super) fn at(&self, now: u32) -> (Service, Duration) {
        let last = self.changes.iter().min_by_key(|(at, _)| ahead(*at, now));
        let (_, service) = last.expect("there are two changes or three");
        let next = self.changes.iter().map(|(at, _)| match ahead(now, *at) {
            0 => DAY,
            seconds => seconds,
        });
        let next = next.min().unwrap_or(DAY);
        (*service, Duration::from_secs(next.into()))
    }

    /// When the service begins.
    pub(super) fn opens(&self) -> TimeOfDay {
        self.from
    }

    /// Tells the service at present and each change of it, for ever, by a clock that gives the seconds
    /// since midnight.
    pub(super) async fn follow(&self, clock: impl Fn() -> u32, mut tell: impl FnMut(Service)) {
        let mut told = None;
        loop {
            let (service, left) = self.at(clock());
            if told.replace(service) != Some(service) {
                tell(service);
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, service) in self.changes.iter().rev() {
            let what = match service {
                Service::Open => "from",
                Service::Closing => " until",
                Service::Closed => ", what still runs is killed at",
            };
            write!(f, "{what} {:02}:{:02}", at / 3600, at / 60 % 60)?;
        }
        Ok(())
    }
}

/// The local time, in seconds since midnight.
pub(super) fn local_time() -> u32 {
    let now = jiff::ZonedDateTime::now().time();
    let part = |n: i8| u32::try_from(n).unwrap_or(0);
    (part(now.hour()) * 60 + part(now.minute())) * 60 + part(now.second())
}

fn seconds(time: TimeOfDay) -> u32 {
    (u32::from(time.hour) * 60 + u32::from(time.minute)) * 60
}

/// How long it is from one time of the day to the next time that it is another.
fn ahead(from: u32, to: u32) -> u32 {
    (to + DAY - from) % DAY
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::*;

    fn time(text: &str) -> u32 {
        seconds(text.parse().unwrap())
    }

    fn hours(from: &str, until: &str, kill_at: Option<&str>) -> Result<Hours, String> {
        let [from, until] = [from, until].map(|text| Some(text.parse().unwrap()));
        let kill_at = kill_at.map(|text| text.parse().unwrap());
        Hours::new(from, until, kill_at).map(Option::unwrap)
    }

    #[test]
    fn a_night_spans_midnight() {
        let night = hours("20:00", "06:00", Some("08:00")).unwrap();
        for (now, service, hours) in [
            ("20:00", Service::Open, 10),
            ("23:00", Service::Open, 7),
            ("00:00", Service::Open, 6),
            ("06:00", Service::Closing, 2),
            ("07:00", Service::Closing, 1),
            ("08:00", Service::Closed, 12),
            ("19:00", Service::Closed, 1),
        ] {
            let left = Duration::from_secs(hours * 3600);
            assert_eq!(night.at(time(now)), (service, left), "at {now}");
        }
        assert_eq!(
            night.to_string(),
            "from 20:00 until 06:00, what still runs is killed at 08:00"
        );
        let gentle = hours("20:00", "06:00", None).unwrap();
        assert_eq!(gentle.at(time("19:00")).0, Service::Closing);
        let strict = hours("09:00", "17:00", Some("17:00")).unwrap();
        assert_eq!(strict.at(time("17:00")).0, Service::Closed);
    }

    #[test]
    fn hours_that_make_no_sense_are_refused() {
        assert!(hours("09:00", "09:00", None).is_err());
        for kill_at in ["09:00", "12:00", "16:59"] {
            let error = hours("09:00", "17:00", Some(kill_at)).unwrap_err();
            assert!(error.contains(kill_at), "{error}");
        }
        let nine = Some("09:00".parse().unwrap());
        assert!(Hours::new(nine, None, None).is_err());
        assert!(Hours::new(None, nine, None).is_err());
        assert!(Hours::new(None, None, nine).is_err());
        assert_eq!(Hours::new(None, None, None), Ok(None));
    }

    proptest! {
        /// As somebody would who looks at the clock each second of two days.
        #[test]
        fn what_is_in_force_is_what_began_last(
            minutes in prop::collection::btree_set(0u32..24 * 60, 3),
            first in 0usize..3,
            killing: bool,
            now in 0..DAY,
        ) {
            let mut minutes: Vec<_> = minutes.into_iter().collect();
            minutes.rotate_left(first);
            let times = minutes.iter().map(|m| TimeOfDay {
                hour: (m / 60) as u8,
                minute: (m % 60) as u8,
            });
            let [from, until, kill_at] = times.collect::<Vec<_>>().try_into().unwrap();
            let kill_at = Some(kill_at).filter(|_| killing);
            let hours = Hours::new(Some(from), Some(until), kill_at).unwrap().unwrap();

            let begins = |second: u32| match second % DAY {
                s if s == seconds(from) => Some(Service::Open),
                s if s == seconds(until) => Some(Service::Closing),
                s if kill_at.map(seconds) == Some(s) => Some(Service::Closed),
                _ => None,
            };
            let in_force = (0..=DAY + now).rev().find_map(begins).unwrap();
            let next = (now + 1..).find(|second| begins(*second).is_some()).unwrap();
            let left = Duration::from_secs((next - now).into());
            prop_assert_eq!(hours.at(now), (in_force, left));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_change_is_told_once_also_when_the_clock_is_set() {
        let hours = hours("20:00", "06:00", Some("08:00")).unwrap();
        let begun = Instant::now();
        let set = AtomicU32::new(time("19:59"));
        let clock = || {
            let passed = u32::try_from(begun.elapsed().as_secs()).unwrap();
            (set.load(Ordering::Relaxed) + passed) % DAY
        };
        let told = Mutex::new(Vec::new());
        let tell = |service| {
            let at = begun.elapsed().as_secs();
            told.lock().unwrap().push((service, at));
        };
        let follow = hours.follow(clock, tell);
        let setting = async {
            let minutes = |n: u64| Duration::from_secs(n * 60);
            tokio::time::sleep(minutes(30)).await;
            // Whoever set it forward to half past six finds out within a minute.
            set.store(time("06:00"), Ordering::Relaxed);
            tokio::time::sleep(minutes(120)).await;
        };
        tokio::select! {
            () = follow => {}
            () = setting => {}
        }
        let told = told.into_inner().unwrap();
        let [closed, open, closing, again] = told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(closed, (Service::Closed, 0));
        assert_eq!(open, (Service::Open, 60));
        assert_eq!(closing.0, Service::Closing);
        assert!((30 * 60..=31 * 60).contains(&closing.1), "{told:?}");
        assert_eq!(again, (Service::Closed, 120 * 60));
    }
}
