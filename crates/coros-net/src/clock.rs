//! The time, for state machines and for those who wait on their behalf: by tokio's clock, which tests
//! can pause.

use std::time::{Duration, Instant, SystemTime};

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits until then, or for ever if there is nothing to wait for.
///
/// Cancel safe.
pub async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// So often it is looked at the calendar: another clock, which may be set, and goes on while the
/// machine sleeps.
const LOOK: Duration = Duration::from_secs(600);

/// Waits until a time of the calendar has passed, as far from now as that says it is. It does so
/// however busy the task is that waits, which may be made to use up tokio's budget at every turn.
///
/// Cancel safe.
pub(crate) async fn passed(time: SystemTime) {
    let left = || time.duration_since(SystemTime::now());
    let Ok(mut rest) = left() else { return };
    while !rest.is_zero() && left().is_ok() {
        let step = rest.min(LOOK);
        tokio::task::unconstrained(tokio::time::sleep(step)).await;
        rest -= step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_time_of_the_calendar_comes_and_may_have_been() {
        let (before, day) = (now(), Duration::from_secs(24 * 3600));
        passed(SystemTime::now() - day).await;
        assert_eq!(now(), before);
        passed(SystemTime::now() + day).await;
        let second = Duration::from_secs(1);
        assert!((day - second..=day + second).contains(&(now() - before)));
    }

    #[tokio::test]
    async fn a_time_of_the_calendar_comes_in_a_task_that_is_never_idle() {
        let waiting = tokio::spawn(async {
            let busy = async {
                loop {
                    tokio::task::consume_budget().await;
                }
            };
            tokio::select! {
                biased;
                () = busy => {}
                () = passed(SystemTime::now() + Duration::from_millis(10)) => {}
            }
        });
        let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        waited.expect("it comes").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn it_stands_still_with_tokio_and_waits_as_told() {
        let begun = now();
        let year = Duration::from_secs(365 * 24 * 3600);
        let nothing = tokio::time::timeout(year, until(None)).await;
        assert!(nothing.is_err(), "nothing is waited for");
        assert!(now() >= begun + year);
        let second = Duration::from_secs(1);
        let then = now() + second;
        until(Some(then)).await;
        assert!(now() >= then && now() < then + second);
    }
}
