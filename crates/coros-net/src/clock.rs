//! The time, for state machines and for those who wait on their behalf: by tokio's clock, which tests
//! can pause.

use std::time::Instant;

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits until then, or for ever if there is nothing to wait for.
///
/// Cancel safe.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
